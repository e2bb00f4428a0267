//! `cargo xtask demo`: the real daemon receives real TCP data while one watches, starves once, and accounts for it.

pub(crate) mod daemon;
mod registration;
mod report;
mod starvation;
mod stream;
mod traffic;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;

use self::daemon::{Daemon, FORWARD, VERIFY};
use self::report::{Report, count};
use self::stream::Reader;
use crate::setup;
use xtask_tools::cache::Cache;
use xtask_tools::command::{find, output};
use xtask_tools::deb::ensure_lab;
use xtask_tools::scrape::Scrape;
use zcrx_lab_host as lab;

/// How the demo runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long to send data
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Leave zcrxd running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Show it in a virtual machine instead, on a kernel and a NIC that can do zero copy
    #[arg(long, conflicts_with = "keep")]
    lab: bool,
    /// NIC of the virtual machine: gve where it is available, else the lab's software NIC, if none is named
    #[arg(long, value_enum, requires = "lab")]
    nic: Option<lab::NicKind>,
}

/// What the daemon's end may take.
const END: Duration = Duration::from_secs(1);

/// Runs the demo; fails if a byte, a buffer or a verdict is wrong.
pub(crate) fn run(cache: &Cache, options: &Options) -> Result<()> {
    if options.lab {
        section("Set-up");
        ensure_lab(cache)?;
        if let Err(error) = setup::run(cache) {
            println!("{error:#}\ngoing on without: zcrxd will have no kernel probes");
        }
        return lab::demo(Duration::from_secs(options.seconds), options.nic);
    }
    section("Set-up");
    if let Err(error) = setup::run(cache) {
        println!("{error:#}\ngoing on without: zcrxd will have no kernel probes");
    }
    let program = Daemon::build()?;

    section("What this kernel allows to probe");
    print!("{}", output(Command::new(&program).arg("probes"))?);
    if !nix::unistd::geteuid().is_root() {
        println!(
            "As root (or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN) zcrxd would also try what needs privilege."
        );
    }

    let mut report = Report::default();
    let reader = Reader::listen()?;
    let mut daemon = Daemon::start(program, reader.address)?;
    section("zcrxd");
    println!("Page for people: http://{}/   metrics: http://{}/metrics", daemon.web, daemon.web);
    daemon.said("queue software:").iter().for_each(|line| println!("{line}"));
    let scrape = Scrape::fetch(daemon.web)?;
    for queue in [VERIFY, FORWARD] {
        report.say("queue", backend(&scrape, queue));
    }

    section(&format!("Real TCP data for {} s, every byte compared with what was sent", options.seconds));
    traffic::run(&daemon, Duration::from_secs(options.seconds), &mut report)?;

    section("A starvation: the reader behind queue 1 stops reading");
    starvation::run(&daemon, reader, &mut report)?;

    section("A registration that the kernel refuses");
    refused_registration(&daemon, &mut report)?;

    section("The end");
    let last = Scrape::fetch(daemon.web)?;
    account(&last, &mut report);
    metrics_form(&last, &mut report)?;
    if options.keep {
        print!("\n{report}");
        return keep(daemon, &report);
    }
    let (status, took) = daemon.stop()?;
    println!("zcrxd {}", daemon.totals());
    report.check(status.success(), || format!("zcrxd ended with {status}:\n{}", daemon.last_words()));
    report.check(took <= END, || format!("zcrxd took {:.1} s to end, more than 1 s", took.as_secs_f64()));
    report.say("end", format!("{:.2} s after SIGTERM", took.as_secs_f64()));
    print!("\n{report}");
    report.verdict()?;
    daemon.forget()
}

fn section(title: &str) {
    println!("\n== {title} ==");
}

/// What a queue runs on, and what refused to carry it.
fn backend(scrape: &Scrape, queue: u32) -> String {
    let index = queue.to_string();
    let of_queue = |name| scrape.all(name).filter(|series| series.label("queue") == index);
    let info = of_queue("zcrxd_receiver_info").next();
    let mut text = format!(
        "{queue}: sink {}, backend {}",
        info.map_or("unknown", |info| info.label("sink")),
        info.map_or("unknown", |info| info.label("backend"))
    );
    for refused in of_queue("zcrxd_receiver_backend_refused_info") {
        let errno = Some(refused.label("errno")).filter(|errno| !errno.is_empty());
        text += "; ";
        text += refused.label("backend");
        text += " refused: ";
        text += errno.unwrap_or("not possible as configured");
    }
    text
}

/// Asks the kernel for something it must refuse, and looks whether the probe saw it.
fn refused_registration(daemon: &Daemon, report: &mut Report) -> Result<()> {
    if Scrape::fetch(daemon.web)?.all("zcrx_registrations_total").next().is_none() {
        println!("The registration probe is not attached here: nothing to see.");
        report.say("registration", "not probed");
        return Ok(());
    }
    let errno = format!("{:?}", Errno::from_raw(registration::refused()?));
    let pid = std::process::id().to_string();
    let mut seen = String::new();
    let found = wait(Duration::from_secs(5), || {
        let scrape = Scrape::fetch(daemon.web)?;
        let last = scrape.all("zcrx_last_registration_info").next();
        seen = last
            .map_or_else(String::new, |last| format!("pid {}, {}", last.label("pid"), last.label("errno")));
        Ok(last.is_some_and(|last| last.label("pid") == pid && last.label("errno") == errno))
    })?;
    println!("This process (pid {pid}) asked for a queue and got {errno}; zcrxd saw: {seen}");
    report.check(found, || {
        format!("the registration by pid {pid} that failed with {errno} was not seen, but: {seen}")
    });
    report.say("registration", format!("refused with {errno}, seen with its pid"));
    Ok(())
}

/// Every buffer is accounted for.
fn account(last: &Scrape, report: &mut Report) {
    for queue in [VERIFY, FORWARD] {
        let value = |name| last.queue(queue, name);
        let (Some(delivered), Some(returned), Some(held)) = (
            value("zcrxd_receiver_delivered_buffers_total"),
            value("zcrxd_receiver_returned_buffers_total"),
            value("zcrxd_receiver_held_buffers"),
        ) else {
            report.check(false, || format!("queue {queue} has no account of its buffers"));
            continue;
        };
        let line = format!(
            "{queue}: delivered {} = returned {} + held {}",
            count(delivered),
            count(returned),
            count(held)
        );
        println!("Buffers of queue {line}");
        // Nothing is under way any more, so nothing may be held.
        report.check(delivered > 0 && delivered == returned && held == 0, || {
            format!("the buffers of queue {line} do not add up with nothing under way")
        });
        report.say("buffers", line);
    }
}

/// What Prometheus' own tool says about the metrics.
fn metrics_form(last: &Scrape, report: &mut Report) -> Result<()> {
    let Some(promtool) = find("promtool") else {
        println!("promtool is not installed: the form of the metrics was not checked.");
        return Ok(());
    };
    let complaints = complaints(&promtool, &last.text)?;
    report.check(complaints.is_empty(), || format!("promtool complains about the metrics:\n{complaints}"));
    report.say(
        "metrics",
        format!("{} lines; promtool has nothing to complain about", last.text.lines().count()),
    );
    Ok(())
}

fn complaints(promtool: &std::path::Path, text: &str) -> Result<String> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .context("cannot start promtool")?;
    let stdin = child.stdin.take().context("promtool has an input")?;
    std::io::Write::write_all(&mut { stdin }, text.as_bytes()).context("cannot write to promtool")?;
    let output = child.wait_with_output().context("cannot wait for promtool")?;
    let mut said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.is_empty() {
        said = output.status.to_string();
    }
    Ok(said)
}

/// Leaves the daemon running until Ctrl-C, which reaches it too.
fn keep(mut daemon: Daemon, report: &Report) -> Result<()> {
    println!("\nzcrxd goes on: http://{}/   (Ctrl-C ends it)", daemon.web);
    println!("verified traffic goes to {}, as in: {}", daemon.verify, daemon.example());
    // SAFETY: ignoring a signal has no preconditions; the daemon was started before and still ends on it.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let status = daemon.wait()?;
    println!("zcrxd {}", daemon.totals());
    if !status.success() {
        bail!("zcrxd ended with {status}:\n{}", daemon.last_words());
    }
    report.verdict()?;
    daemon.forget()
}

/// Waits until something holds, asking often; returns whether it came to hold.
fn wait(limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begin = Instant::now();
    loop {
        if holds()? {
            return Ok(true);
        }
        if begin.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
