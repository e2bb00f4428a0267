//! Process 1: prepares the machine, runs scenarios one after another, leaves nothing of one to the next.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::{Message, Outcome};

use crate::harness::features::{self, Place};
use crate::harness::scenario::{SKIPPED, Scenario};
use crate::harness::{self, nic, page_pool};
use crate::kmsg::{Kmsg, complaint};
use crate::results::Results;
use crate::scenarios;

/// The KVM probe looks for this on the console.
const MARKER: &str = "zcrx-lab: this machine boots";

/// How long processes may take to die, interfaces to come back and page pools to drain once a scenario is over.
const SETTLE: Duration = Duration::from_secs(30);

/// How long a machine waits for the host to end it. What was written to the virtio-serial port last may be in QEMU's hands for as
/// long as the host reads slowly, and is lost if the machine ends itself.
const UNTIL_ENDED: Duration = Duration::from_mins(2);

/// Runs scenarios and reports; in a guest, never returns.
pub(crate) fn run(place: Place, names: &[String]) -> Result<()> {
    match place {
        Place::Guest => {
            set_path();
            let served = mount_all().and_then(|()| serve(Results::port()?, place, names));
            match served {
                Ok(()) => std::thread::sleep(UNTIL_ENDED),
                Err(error) => println!("zcrx-lab: {error:#}"),
            }
            power_off()
        }
        Place::Host => {
            // The pid namespace needs a /proc of its own.
            mount("proc", "/proc", "proc", "")?;
            harness::link_up("lo")?;
            serve(Results::standard_output(), place, names)
        }
    }
}

/// Answers the question whether this way of running machines works at all.
pub(crate) fn hello() -> Result<()> {
    println!("{MARKER}");
    power_off()
}

/// An interactive shell on the console, with everything mounted.
pub(crate) fn shell() -> Result<()> {
    set_path();
    mount_all()?;
    println!(
        "\nzcrxd's lab on Linux {}. Programs are in /lab; `guest list` shows scenarios, `guest scenario NAME` runs \
         one.\nLeave with `exit`.\n",
        harness::kernel_release()
    );
    let status = Command::new("/bin/busybox")
        .args(["setsid", "/bin/busybox", "cttyhack", "/bin/sh"])
        .env("HOME", "/root")
        .env("PS1", "lab# ")
        .current_dir(harness::work())
        .status();
    if let Err(error) = status {
        println!("zcrx-lab: no shell: {error}");
    }
    power_off()
}

/// The kernel gives process 1 no PATH.
pub(crate) fn set_path() {
    // SAFETY: process 1 has only this thread yet.
    unsafe { std::env::set_var("PATH", "/lab:/bin:/sbin") };
}

fn serve(mut results: Results, place: Place, names: &[String]) -> Result<()> {
    let needs = features::needs(place);
    results.say(&Message::Hello { release: harness::kernel_release(), needs: needs.clone() })?;
    let mut names = names.iter();
    for name in names.by_ref() {
        let started = Instant::now();
        let unmet = |scenario: &Scenario| scenario.needs.iter().find_map(|need| needs.get(need)?.clone());
        let (outcome, dirty) = match scenarios::find(name).map(|scenario| (scenario, unmet(scenario))) {
            None => (Outcome::Failed(format!("there is no scenario {name}")), false),
            Some((_, Some(reason))) => (Outcome::Skipped(reason), false),
            Some((scenario, None)) => {
                results.say(&Message::Begin { scenario: name.clone() })?;
                run_one(scenario, &mut results)?
            }
        };
        let milliseconds = started.elapsed().as_millis() as u64;
        results.say(&Message::End { scenario: name.clone(), outcome, milliseconds })?;
        if dirty {
            break;
        }
    }
    results.say(&Message::Done { left: names.cloned().collect() })
}

/// Runs a scenario. Returns its outcome, and whether it left the kernel in a state that no other should start from.
fn run_one(scenario: &Scenario, results: &mut Results) -> Result<(Outcome, bool)> {
    harness::clear_work()?;
    let mut kmsg = Kmsg::from_now()?;
    let ended = supervise(scenario)?;
    let mut failures = match ended {
        Ended::Skipped(reason) => {
            settle()?;
            return Ok((Outcome::Skipped(reason), false));
        }
        Ended::Passed => Vec::new(),
        Ended::Failed(why) => vec![why],
    };
    if let Err(error) = settle() {
        failures.push(format!("{error:#}"));
    }
    let said = kmsg.read()?;
    if let Some(complaint) = complaint(&said) {
        failures.push(format!("the kernel complained: {complaint}"));
    }
    fs::write(harness::artefacts().join("kernel.log"), said).context("cannot keep the kernel's log")?;
    for fact in harness::facts::take()? {
        results.say(&fact)?;
    }
    hand_over(scenario, results)?;
    if failures.is_empty() {
        return Ok((Outcome::Passed, false));
    }
    Ok((Outcome::Failed(failures.join("; ")), true))
}

enum Ended {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs the scenario in a process of its own, because it may hang, panic or be killed.
fn supervise(scenario: &Scenario) -> Result<Ended> {
    let log = File::create(harness::artefacts().join("scenario.log")).context("cannot make scenario.log")?;
    let also = log.try_clone().context("cannot share scenario.log")?;
    let mut child = Command::new(harness::program("guest"))
        .args(["scenario", scenario.name])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also)
        .spawn()
        .context("cannot start a scenario")?;
    let verdict = || fs::read_to_string(harness::verdict()).ok().filter(|text| !text.is_empty());
    Ok(match wait(&mut child, Duration::from_secs(scenario.limit))? {
        None => Ended::Failed(format!("did not end within {} s", scenario.limit)),
        Some(status) if status.success() => Ended::Passed,
        Some(status) if status.code() == Some(SKIPPED) => Ended::Skipped(verdict().unwrap_or_default()),
        Some(status) => Ended::Failed(verdict().unwrap_or_else(|| describe(status))),
    })
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("the scenario was ended by signal {signal}"),
        None => format!("the scenario ended with {status} and said nothing"),
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("cannot wait for a process")? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

/// Ends every process and takes the NIC away; fails if anything of the scenario outlives it.
fn settle() -> Result<()> {
    // SAFETY: kill takes no pointers. From process 1 it reaches everything in this pid namespace but ourselves.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    let deadline = Instant::now() + SETTLE;
    loop {
        // SAFETY: waitpid may be given no place for the status.
        let reaped = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        if reaped < 0 {
            break;
        }
        if Instant::now() > deadline {
            anyhow::bail!("processes outlived SIGKILL by {} s", SETTLE.as_secs());
        }
        if reaped == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    nic::remove(SETTLE)?;
    page_pool::wait_until_none(SETTLE)
}

fn hand_over(scenario: &Scenario, results: &mut Results) -> Result<()> {
    let directory = harness::artefacts();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry.context("cannot read the artefacts")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        results.file(scenario.name, &name, &content)?;
    }
    Ok(())
}

pub(crate) fn mount_all() -> Result<()> {
    for (kind, target, options) in [
        ("proc", "/proc", ""),
        ("sysfs", "/sys", ""),
        ("devtmpfs", "/dev", ""),
        ("tmpfs", "/tmp", "mode=1777"),
        ("tmpfs", "/run", "mode=755"),
        ("tmpfs", "/work", "mode=755"),
        ("tracefs", "/sys/kernel/tracing", ""),
        ("debugfs", "/sys/kernel/debug", ""),
        ("bpf", "/sys/fs/bpf", ""),
        ("cgroup2", "/sys/fs/cgroup", ""),
    ] {
        if !target.starts_with("/sys/") {
            fs::create_dir_all(target).with_context(|| format!("cannot make {target}"))?;
        }
        // A kernel without one of these is a kernel to be observed all the same.
        if let Err(error) = mount(kind, target, kind, options) {
            println!("zcrx-lab: {error:#}");
        }
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        let link = Path::new("/dev").join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(target, &link)
                .with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    harness::clear_work()?;
    harness::link_up("lo")
}

fn mount(source: &str, target: &str, kind: &str, options: &str) -> Result<()> {
    let text = |text: &str| std::ffi::CString::new(text).context("a mount's words hold no NUL");
    let (source, directory, kind, options) = (text(source)?, text(target)?, text(kind)?, text(options)?);
    // SAFETY: four NUL-terminated strings that outlive the call.
    let result = unsafe {
        libc::mount(source.as_ptr(), directory.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error()).with_context(|| format!("cannot mount {target}"))
    }
}

/// Ends the machine. QEMU ends instead of starting it again, which is faster than powering off.
pub(crate) fn power_off() -> Result<()> {
    // SAFETY: both calls take no pointers.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_AUTOBOOT);
    }
    Err(io::Error::last_os_error()).context("cannot restart the machine")
}
