//! `cargo xtask demo --lab` in the guest: zero copy on zcrxd's queue, and another process whose queue starves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::{Demo, Message};

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::receiver::settled;
use crate::harness::traffic::Traffic;
use crate::harness::{self, eventually, program};
use crate::init;
use crate::results::Results;

/// The guest's address on QEMU's user network, where forwarded ports lead to.
const HOST_NETWORK_ADDRESS: &str = "10.0.2.15/24";
/// Hard stop of each step.
const STEP_LIMIT: Duration = Duration::from_mins(2);
/// Bytes of each transfer to zcrxd.
const BYTES: u64 = 32 << 20;
/// The queue of the faulty application, and the port whose flows are steered to it.
const FAULTY_QUEUE: u32 = 2;
const FAULTY_PORT: &str = "9998";
/// The cause that the faulty application makes: it returns no buffer.
const FAULT_CAUSE: &str = "never_returned";

/// Runs rounds for so many seconds, sends the summary and ends the machine; never returns.
pub(crate) fn run(seconds: u64) -> Result<()> {
    init::set_path();
    let ran = init::mount_all().and_then(|()| {
        let mut demo = Report { results: Results::port()? };
        if let Err(error) = rounds(&mut demo, Duration::from_secs(seconds)) {
            demo.send(Demo::Wrong(format!("{error:#}")))?;
        }
        demo.results.say(&Message::Done { left: Vec::new() })
    });
    if let Err(error) = ran {
        println!("zcrx-lab: {error:#}");
    }
    init::power_off()
}

/// The way to the host.
struct Report {
    results: Results,
}

impl Report {
    fn send(&mut self, demo: Demo) -> Result<()> {
        self.results.say(&Message::Demo(demo))
    }

    fn line(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Demo::Line(text.into()))
    }

    fn summary(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Demo::Summary(text.into()))
    }
}

fn rounds(report: &mut Report, time: Duration) -> Result<()> {
    for module in ["failover", "net_failover", "virtio_net"] {
        nic::insert(&program("net").join(module).with_extension("ko"), "")?;
    }
    let host_network = eventually("the guest has an interface to the host", STEP_LIMIT, nic::other)?;
    let nic = Nic::pair()?;
    let queue = FAULTY_QUEUE.to_string();
    nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", FAULTY_PORT, "action", &queue])?;
    nic.rx.adopt(&host_network)?;
    nic.rx.run("ip", &["addr", "add", HOST_NETWORK_ADDRESS, "dev", &host_network])?;
    nic.rx.run("ip", &["link", "set", &host_network, "up"])?;
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let arguments = ["--listen", &listen, "--interface", nic::RX, "--queue", &queue, "--backend", "device"];
    let mut daemon = Daemon::start_public(&nic.rx, &[&arguments[..], &["--sink", "verify"]].concat())?;
    let (kernel, driver) = (harness::kernel_release(), Driver::of_this_guest()?.name());
    report.line(format!("Linux {kernel}, driver {driver}: zcrxd receives on {}:{queue}", nic::RX))?;
    report.send(Demo::Ready)?;

    let begin = Instant::now();
    let mut verdicts = Vec::new();
    let written_before = nic.stat_if_counted(WRITTEN)?;
    while verdicts.is_empty() || begin.elapsed() < time {
        daemon.process().alive()?;
        let before = nic.stat_if_counted(WRITTEN)?;
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(STEP_LIMIT)?;
        let written = written_since(&nic, before)?;
        report.line(format!("\nround {}: {BYTES} bytes sent and verified{written}", verdicts.len() + 1))?;
        verdicts.push(starve(&nic, &daemon, report)?);
    }

    let metrics = settled(&mut daemon)?;
    let verified = metrics.count("zcrxd_receiver_verified_bytes_total")?;
    let mismatched = metrics.count("zcrxd_receiver_mismatched_bytes_total")?;
    let copied = metrics.count("zcrxd_receiver_kernel_copied_bytes_total")?;
    let written = written_since(&nic, written_before)?;
    daemon.stop()?;
    report.summary(format!(
        "zero copy    {verified} bytes verified, {mismatched} wrong, {copied} copied{written}"
    ))?;
    report.summary("buffers      all returned, none held")?;
    for (round, took) in verdicts.iter().enumerate() {
        report.summary(format!(
            "verdict      round {}: {FAULT_CAUSE}, {:.1} s after the first failed allocation",
            round + 1,
            took.as_secs_f64()
        ))?;
    }
    let sent = BYTES * verdicts.len() as u64;
    ensure!(
        verified == sent && mismatched == 0,
        "{sent} bytes were sent; {verified} were verified, {mismatched} are wrong"
    );
    Ok(())
}

/// The receiving NIC's count of bytes that it wrote into the area of zcrxd's queue, where it has one.
const WRITTEN: &str = "rx1_niov_bytes";

fn written_since(nic: &Nic, before: Option<u64>) -> Result<String> {
    let now = nic.stat_if_counted(WRITTEN)?;
    let written = now.zip(before).map(|(now, before)| now - before);
    Ok(written.map_or_else(String::new, |bytes| format!("; the NIC wrote {bytes} bytes into the area")))
}

/// Lets another process's queue starve, shows zcrxd's verdict and lets the queue recover; how long the verdict took.
fn starve(nic: &Nic, daemon: &Daemon<'_>, report: &mut Report) -> Result<Duration> {
    let (queue, listen) = (FAULTY_QUEUE.to_string(), format!("{}:{FAULTY_PORT}", nic::RX_ADDRESS));
    let arguments =
        ["--interface", nic::RX, "--queue", &queue, "--listen", &listen, "--fault", "never-return"];
    let mut application = Foreign::start(&nic.rx, &arguments)?;
    let counter = format!("rx{queue}_alloc_fail");
    let before = nic.stat(&counter)?;
    let traffic = Traffic::start(&nic.tx, &listen, BYTES / 4, &[])?;
    eventually("the application's queue starves", STEP_LIMIT, || {
        Ok((nic.stat(&counter)? > before).then_some(()))
    })?;
    let begin = Instant::now();
    let held = number(&application.truth()?, "held_buffers")?;
    report.line(format!("an application returns no buffer: it holds {held}, and queue {queue} starves"))?;

    let mut named = "no cause".to_owned();
    let verdict = eventually("zcrxd names the cause", STEP_LIMIT, || {
        let answer =
            serde_json::from_str(&daemon.page("/diagnose.json")?).context("/diagnose.json is not JSON")?;
        first_cause(&answer, FAULTY_QUEUE).unwrap_or("no cause").clone_into(&mut named);
        Ok((named == FAULT_CAUSE).then(|| begin.elapsed()))
    });
    let key = format!("{}:{queue}", nic::RX);
    report.line(format!("\nWhat the person on call sees:\n\n$ zcrxd diagnose --queue {key}"))?;
    report.line(daemon.diagnose(&key)?)?;
    let took = verdict.with_context(|| {
        format!("the application returns no buffer ({FAULT_CAUSE}); zcrxd names {named} as the first cause")
    })?;

    application.order("resume")?;
    traffic.finish(STEP_LIMIT)?;
    application.quit()?;
    report.line("the application has returned its buffers, and its transfer has reached its verified end")?;
    Ok(took)
}

/// The first cause of the queue's open episode.
fn first_cause(answer: &Value, queue: u32) -> Option<&str> {
    let reports = answer["queues"].as_array()?;
    let episode =
        reports.iter().map(|report| &report["episode"]).find(|episode| episode["key"]["queue"] == queue)?;
    episode["diagnosis"]["causes"][0]["cause"].as_str()
}
