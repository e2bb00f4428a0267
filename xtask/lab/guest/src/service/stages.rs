//! The service: it receives, reloads, restarts, and is started again by the watchdog.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::Step;
use crate::harness::metrics::{Metrics, get};
use crate::harness::{eventually, output};

/// Limit of each wait. Attaching probes to an emulated kernel on a busy machine takes a minute.
pub(super) const LIMIT: Duration = Duration::from_mins(3);

pub(super) const CONFIGURATION: &str = "/etc/zcrxd/zcrxd.toml";

/// Directory of the lab's changes to the unit.
const DROP_IN: &str = "/run/systemd/system/zcrxd.service.d";

/// Seconds that a start may take here: as long as [`LIMIT`].
const SLOW_START: &str = "[Service]\nTimeoutStartSec=180\n";

/// Pause between two attempts to connect. Listening sockets keep few connections while no zcrxd accepts.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Payload of each transfer, bytes.
const BYTES: u64 = 4 << 20;

/// Connections to each queue across a restart, and the payload of each in bytes.
const CROWD: u32 = 200;
const CROWD_BYTES: u64 = 1 << 20;

/// Two queues that verify: one software interface queue, one zcrx queue without a device.
pub(super) const GOOD: &str = r#"
[[queue]]
listen = ["127.0.0.1:7000"]
backend = "copy"
sink = "verify"

[[queue]]
listen = ["127.0.0.1:7001"]
backend = "nodev"
sink = "verify"
"#;

pub(super) const RECEIVES: Step = Step {
    name: "service-receives",
    about: "the service receives on a software queue and on a zcrx queue, and the kernel's side of the latter is seen",
    limit: 300,
    run: || {
        configure(GOOD)?;
        // zcrxd dropped CAP_NET_ADMIN while it only observed: queues need a restart.
        systemctl(&["restart", "zcrxd.service"])?;
        ready()?;
        send()?;
        // The snapshot probe sees the queue long after zcrxd dropped the capabilities for attaching the probe.
        eventually("the kernel's side of the zcrx queue is in the metrics", LIMIT, || {
            Ok(metrics()?.sum("zcrx_queue_area_buffers").filter(|buffers| *buffers > 0.0))
        })?;
        let verified = metrics()?.count("zcrxd_receiver_verified_bytes_total")?;
        ensure!(verified == 2 * BYTES, "{verified} bytes are verified of {}", 2 * BYTES);
        Ok(())
    },
};

pub(super) const RELOADED: Step = Step {
    name: "service-reloaded",
    about: "a wrong configuration is refused and the old one stays in use; a good one is applied",
    limit: 300,
    run: || {
        let pid = property("MainPID")?;
        let good = "zcrxd_config_last_reload_successful";
        configure("[[queue]]\nlisten = 3\n")?;
        systemctl(&["reload", "zcrxd.service"])?;
        eventually("the configuration is refused", LIMIT, || {
            Ok((metrics()?.need(good)? == 0.0).then_some(()))
        })?;
        send()?;
        configure(&GOOD.replace("127.0.0.1:7001", "127.0.0.1:7002"))?;
        systemctl(&["reload", "zcrxd.service"])?;
        eventually("the configuration is applied", LIMIT, || {
            Ok((metrics()?.need(good)? > 0.5).then_some(()))
        })?;
        ready()?;
        transfer(7002)?;
        configure(GOOD)?;
        systemctl(&["reload", "zcrxd.service"])?;
        eventually("the old address is back", LIMIT, || Ok(transfer(7001).ok()))?;
        ensure!(property("MainPID")? == pid, "a reload restarted zcrxd");
        Ok(())
    },
};

pub(super) const RESTARTED: Step = Step {
    name: "service-restarted",
    about: "a restart refuses no connection and ends none, the service is back after it and after it was killed, and the counts of the \
            probes go on",
    limit: 300,
    run: || {
        let received = || metrics()?.count("zcrxd_receiver_received_bytes_total");
        let before = received()?;
        let senders =
            [7000, 7001].map(|port| transfer_by(port, CROWD_BYTES, CROWD).stdout(Stdio::piped()).spawn());
        eventually("data arrives", LIMIT, || Ok((received()? > before + CROWD_BYTES).then_some(())))?;
        while_connecting(|| systemctl(&["restart", "zcrxd.service"]).map(drop))?;
        ready()?;
        for sender in senders {
            let output = sender.context("cannot start zcrxd send")?.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(
                output.status.success() && said.contains(&format!("{CROWD} verified")),
                "connections did not outlive the restart: {said}"
            );
        }
        let journal = || output(Command::new("journalctl").args(["--no-pager", "--unit=zcrxd.service"]));
        let said = journal()?;
        for words in [
            "new connections wait for the next zcrxd",
            "connections go on in the next zcrxd",
            "connections of the zcrxd before wait in systemd's store",
        ] {
            ensure!(said.contains(words), "zcrxd did not say {words:?}");
        }
        let counts_kept = |journal: &str| journal.matches("queues go on from the zcrxd before").count();
        let kept = counts_kept(&said);
        ensure!(kept > 0, "the counts of the probes did not outlive the restart");
        let pid = property("MainPID")?;
        let restarts = property("NRestarts")?;
        systemctl(&["kill", "--signal=SIGKILL", "zcrxd.service"])?;
        another(&pid, &restarts)?;
        ensure!(counts_kept(&journal()?) > kept, "the counts of the probes did not outlive SIGKILL");
        send()
    },
};

pub(super) const WATCHED: Step = Step {
    name: "service-watched",
    about: "a receive thread that hangs lets the watchdog expire, and the service is started again",
    limit: 300,
    run: || {
        let drop_in = format!("{DROP_IN}/fault.conf");
        // The watchdog is the package's own.
        let text = "[Service]\nExecStart=\nExecStart=/usr/bin/zcrxd run --config /etc/zcrxd/zcrxd.toml --fault \
                    hang-receive-thread\n";
        fs::write(&drop_in, text).with_context(|| format!("cannot write {drop_in}"))?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["restart", "zcrxd.service"])?;
        ready()?;
        let pid = property("MainPID")?;
        let restarts = property("NRestarts")?;
        systemctl(&["kill", "--kill-whom=main", "--signal=SIGUSR1", "zcrxd.service"])?;
        another(&pid, &restarts)?;
        let journal = output(Command::new("journalctl").args(["--no-pager", "--unit=zcrxd.service"]))?;
        ensure!(
            journal.contains("Watchdog timeout"),
            "systemd started zcrxd again, but not because of the watchdog"
        );
        fs::remove_file(&drop_in).with_context(|| format!("cannot remove {drop_in}"))?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["restart", "zcrxd.service"])?;
        ready()?;
        send()
    },
};

/// Connects to both queues again and again during a task. Fails if a connect does.
pub(super) fn while_connecting(task: impl FnOnce() -> Result<()>) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut connected = 0_u32;
            while !over.load(Ordering::Relaxed) {
                for port in [7000, 7001] {
                    TcpStream::connect(("127.0.0.1", port))
                        .with_context(|| format!("after {connected} connections to zcrxd"))?;
                    connected += 1;
                }
                thread::sleep(CONNECT_PAUSE);
            }
            Ok(())
        });
        let done = task();
        over.store(true, Ordering::Relaxed);
        let connected = connecting.join().map_err(|_| anyhow!("the client panicked"))?;
        done.and(connected)
    })
}

/// Raises the limit for the start of the service: attaching probes to an emulated kernel is slow.
pub(super) fn allow_slow_starts() -> Result<()> {
    fs::create_dir_all(DROP_IN).with_context(|| format!("cannot make {DROP_IN}"))?;
    let path = format!("{DROP_IN}/emulated.conf");
    fs::write(&path, SLOW_START).with_context(|| format!("cannot write {path}"))
}

/// Runs systemctl and returns its output.
pub(super) fn systemctl(arguments: &[&str]) -> Result<String> {
    output(Command::new("systemctl").arg("--no-pager").args(arguments))
}

/// Returns a property of the service.
pub(super) fn property(name: &str) -> Result<String> {
    let said = systemctl(&["show", "--value", "--property", name, "zcrxd.service"])?;
    Ok(said.trim().to_owned())
}

/// Writes the service's configuration. The web endpoint keeps its default address.
pub(super) fn configure(queues: &str) -> Result<()> {
    fs::write(CONFIGURATION, queues).with_context(|| format!("cannot write {CONFIGURATION}"))
}

pub(super) fn web() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9965))
}

/// Waits until `/readyz` answers 200.
pub(super) fn ready() -> Result<()> {
    let mut said = String::new();
    let ready = eventually("zcrxd is ready", LIMIT, || {
        Ok(match get(web(), "/readyz") {
            Ok((200, _)) => Some(()),
            Ok((_, body)) => {
                said = body;
                None
            }
            Err(error) => {
                said = format!("{error:#}");
                None
            }
        })
    });
    ready.with_context(|| format!("/readyz says {said}"))
}

/// Scrapes the service, and keeps the scrape as an artefact.
pub(super) fn metrics() -> Result<Metrics> {
    let metrics = Metrics::scrape(web())?;
    fs::write(crate::harness::artefacts().join("metrics.prom"), &metrics.text)
        .context("cannot keep the metrics")?;
    Ok(metrics)
}

/// Waits until systemd has started another process in place of `pid`.
fn another(pid: &str, restarts: &str) -> Result<()> {
    eventually("systemd starts it again", LIMIT, || {
        let now = property("MainPID")?;
        Ok((now != pid && now != "0" && property("ActiveState")? == "active").then_some(()))
    })?;
    ensure!(property("NRestarts")? != restarts, "systemd does not count it as a restart");
    ready()
}

/// Sends data to both verifying queues.
pub(super) fn send() -> Result<()> {
    transfer(7000)?;
    transfer(7001)
}

fn transfer(port: u16) -> Result<()> {
    output(&mut transfer_by(port, BYTES, 1)).map(drop)
}

/// A client with this many connections, which sends so many bytes on each.
fn transfer_by(port: u16, bytes: u64, connections: u32) -> Command {
    let mut command = Command::new("zcrxd");
    command.args(["send", "--to", &format!("127.0.0.1:{port}"), "--bytes", &bytes.to_string()]);
    command.args(["--connections", &connections.to_string()]);
    command
}
