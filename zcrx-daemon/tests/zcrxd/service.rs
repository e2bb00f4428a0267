//! zcrxd as a service: notifications, watchdog, reload, capabilities.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::harness::{Daemon, Outcome, TestDirectory, WAIT_LIMIT, zcrxd};

/// The receiving end of a service manager.
struct Manager(UnixDatagram);

impl Manager {
    /// Binds the notify socket and names it in the environment of the command.
    fn listen(place: &TestDirectory, command: &mut Command) -> Outcome<Self> {
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        command.env("NOTIFY_SOCKET", path);
        Ok(Self(socket))
    }

    /// The next message; `None` if none comes in time.
    fn receive(&self, limit: Duration) -> Outcome<Option<String>> {
        self.0.set_read_timeout(Some(limit))?;
        let mut message = [0; 4096];
        match self.0.recv(&mut message) {
            Ok(length) => Ok(Some(String::from_utf8(message[..length].to_vec())?)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a message with this line.
    fn wait_for(&self, line: &str) -> Outcome<String> {
        let end = Instant::now() + WAIT_LIMIT;
        while let Some(message) =
            self.receive(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))?
        {
            if message.lines().any(|found| found.starts_with(line)) {
                return Ok(message);
            }
        }
        Err(format!("never received {line}").into())
    }
}

fn run(place: &TestDirectory, args: &[&str]) -> Command {
    let dir = place.path().join("run").display().to_string();
    let base = ["run", "--runtime-dir", &dir, "--no-probes", "--web.listen-address", "127.0.0.1:0"];
    zcrxd(&[&base, args].concat())
}

#[test]
fn systemd_is_notified_of_each_state() -> Outcome {
    let place = TestDirectory::new("service-notify")?;
    let mut command = run(&place, &["--listen", "127.0.0.1:0", "--backend", "copy"]);
    let manager = Manager::listen(&place, &mut command)?;
    let daemon = Daemon::spawn(command, place)?;
    let ready = manager.wait_for("READY=1")?;
    assert!(ready.contains("\nSTATUS=receiving on 1 queues"), "{ready}");
    daemon.signal(Signal::SIGHUP)?;
    let reloading = manager.wait_for("RELOADING=1")?;
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(at.is_some_and(|at| at.parse::<u64>().is_ok_and(|at| at > 0)), "{reloading}");
    manager.wait_for("READY=1")?;
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    manager.wait_for("STOPPING=1")?;
    Ok(())
}

/// A busy manager, as at the boot of a host, must not block clients of zcrxd.
#[test]
fn manager_that_does_not_read_blocks_nothing() -> Outcome {
    let place = TestDirectory::new("service-deaf")?;
    let mut command = run(&place, &["--listen", "127.0.0.1:0", "--backend", "copy"]);
    command.env("WATCHDOG_USEC", "6000000");
    let manager = Manager::listen(&place, &mut command)?;
    let other = UnixDatagram::unbound()?;
    other.set_nonblocking(true)?;
    other.connect(place.path().join("notify"))?;
    while other.send(b"X_OTHER=1").is_ok() {}
    let mut daemon = Daemon::spawn(command, place)?;
    daemon.wait_for("notify socket is full")?;
    assert_eq!(daemon.get("/readyz")?.status, 200);
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for("applied the new configuration: 1 queues unchanged, 0 started, 0 stopped")?;
    assert_eq!(daemon.get("/metrics")?.status, 200);
    // It reads again, and hears what happened in the meantime, in that order.
    manager.wait_for("READY=1")?;
    manager.wait_for("RELOADING=1")?;
    manager.wait_for("READY=1")?;
    manager.wait_for("WATCHDOG=1")?;
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    Ok(())
}

/// The watchdog's time is short here; a machine that is too slow for it would show as a thread that does not answer.
#[test]
fn watchdog_is_fed_until_a_thread_hangs() -> Outcome {
    for (fault, thread) in [("hang-receive-thread", "receive software"), ("hang-sampler", "sampler")] {
        let place = TestDirectory::new(&format!("service-{fault}"))?;
        let mut command = run(
            &place,
            &["--listen", "127.0.0.1:0", "--backend", "copy", "--fault", fault, "--log.format", "json"],
        );
        command.env("WATCHDOG_USEC", "6000000");
        let manager = Manager::listen(&place, &mut command)?;
        let mut daemon = Daemon::spawn(command, place)?;
        for _ in 0..3 {
            manager.wait_for("WATCHDOG=1")?;
        }
        daemon.signal(Signal::SIGUSR1)?;
        let line = daemon.wait_for("\"event\":\"thread_silent\"")?;
        assert!(line.contains(thread), "{line}");
        // Whatever came before that is no matter.
        while manager.receive(Duration::from_millis(1))?.is_some() {}
        assert_eq!(manager.receive(Duration::from_secs(4))?, None, "{fault}: the watchdog is not fed");
        // The endpoint goes on answering, and says so.
        assert_eq!(daemon.get("/healthz")?.status, 200);
        let series = format!("zcrxd_thread_responsive{{thread=\"{thread}");
        if fault == "hang-receive-thread" {
            assert_eq!(daemon.metric(&series)?, Some(0.0));
        }
        daemon.end(Signal::SIGKILL)?;
    }
    Ok(())
}

fn queue(port: u16, more: &str) -> String {
    format!("[[queue]]\nlisten = [\"127.0.0.1:{port}\"]\nbackend = \"copy\"\n{more}\n")
}

/// Ports that were free a moment ago.
fn ports<const N: usize>() -> Outcome<[u16; N]> {
    let mut listeners = Vec::new();
    for _ in 0..N {
        listeners.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let ports: Result<Vec<_>, _> =
        listeners.iter().map(|listener| listener.local_addr().map(|at| at.port())).collect();
    Ok(ports?.try_into().map_err(|_| "not that many")?)
}

/// The configuration changes around a queue on which data flows: the same connection, not a byte lost.
#[test]
fn new_configuration_keeps_unchanged_queues() -> Outcome {
    let [one, two, three] = ports()?;
    let place = TestDirectory::new("service-reload")?;
    let steady = queue(one, "sink = \"verify\"");
    let file = place.file("zcrxd.toml", &format!("{}{steady}", queue(two, "")))?;
    let command = run(&place, &["--config", &file]);
    let mut daemon = Daemon::spawn(command, place)?;
    let mut idle = TcpStream::connect(("127.0.0.1", one))?;
    idle.write_all(b"zcrxpat1\0\0\0\0")?;
    let mut sender = zcrxd(&["send", "--to", &format!("127.0.0.1:{one}"), "--bytes", "256MiB"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let bytes = "zcrxd_receiver_received_bytes_total{interface=\"software\",queue=\"1\"";
    daemon.wait_metric(bytes, |bytes| bytes > 1e6)?;
    for (text, words) in [
        // Another one goes, comes, and changes; the steady one changes its position.
        (steady.clone(), "applied the new configuration: 1 queues unchanged, 0 started, 1 stopped"),
        (
            format!("{steady}{}", queue(three, "")),
            "applied the new configuration: 1 queues unchanged, 1 started, 0 stopped",
        ),
        (
            format!("{}{steady}", queue(three, "area = \"1MiB\"")),
            "applied the new configuration: 1 queues unchanged, 1 started, 1 stopped",
        ),
    ] {
        std::fs::write(&file, text)?;
        daemon.signal(Signal::SIGHUP)?;
        daemon.wait_for(words)?;
        assert_eq!(daemon.metric("zcrxd_config_last_reload_successful")?, Some(1.0));
    }
    let sent = sender.wait()?;
    let mut said = String::new();
    sender.stdout.take().ok_or("no output")?.read_to_string(&mut said)?;
    assert!(sent.success() && said.ends_with("; 1 verified\n"), "{said}");
    // The connection from the start still is the one it was.
    idle.write_all(&[0; 4])?;
    idle.shutdown(std::net::Shutdown::Write)?;
    let mut verdict = String::new();
    idle.read_to_string(&mut verdict)?;
    assert!(verdict.starts_with("ok "), "{verdict}");
    assert_eq!(
        daemon.metric("zcrxd_receiver_accepted_connections_total{interface=\"software\",queue=\"1\"")?,
        Some(2.0)
    );
    assert_eq!(
        daemon.metric("zcrxd_receiver_mismatched_bytes_total{interface=\"software\",queue=\"1\"")?,
        Some(0.0)
    );
    Ok(())
}

#[test]
fn invalid_configuration_is_refused_and_the_old_one_stays() -> Outcome {
    let [one] = ports()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let place = TestDirectory::new("service-refused")?;
    let good = queue(one, "");
    let file = place.file("zcrxd.toml", &good)?;
    let command = run(&place, &["--config", &file]);
    let mut daemon = Daemon::spawn(command, place)?;
    let mut client = TcpStream::connect(("127.0.0.1", one))?;
    let bytes = "zcrxd_receiver_received_bytes_total{interface=\"software\",queue=\"0\"";
    let mut written = 0;
    for (text, words) in [
        ("[[queue]\n".to_owned(), "zcrxd.toml:1:"),
        (queue(one, "area = 17"), "area 17 is not a multiple of the page size"),
        // Good as a text, and nothing that this host can do.
        (format!("{good}{}", queue(taken.local_addr()?.port(), "")), "Address already in use"),
        (format!("{good}[[queue]]\ninterface = \"no-such-if0\"\nlisten = [\":0\"]\n"), "no-such-if0"),
    ] {
        std::fs::write(&file, text)?;
        daemon.signal(Signal::SIGHUP)?;
        let line = daemon.wait_for("the new configuration is refused")?;
        assert!(line.contains(words), "{line}");
        daemon.wait_metric("zcrxd_config_last_reload_successful", |successful| successful == 0.0)?;
        client.write_all(&[7; 1000])?;
        written += 1000;
        daemon.wait_metric(bytes, |bytes| bytes >= f64::from(written))?;
        assert_eq!(
            daemon.metric("zcrxd_receiver_accepted_connections_total{interface=\"software\",queue=\"0\"")?,
            Some(1.0)
        );
    }
    std::fs::write(&file, &good)?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for("applied the new configuration: 1 queues unchanged, 0 started, 0 stopped")?;
    daemon.wait_metric("zcrxd_config_last_reload_successful", |successful| successful > 0.5)?;
    Ok(())
}

/// The effective and permitted capabilities of every thread, as bits.
fn capabilities(pid: u32) -> Outcome<Vec<u64>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else { continue };
        for line in status.lines() {
            if let Some(bits) = line.strip_prefix("CapEff:").or_else(|| line.strip_prefix("CapPrm:")) {
                found.push(u64::from_str_radix(bits.trim(), 16)?);
            }
        }
    }
    Ok(found)
}

#[test]
fn every_thread_drops_unneeded_capabilities() -> Outcome {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_PTRACE: u64 = 1 << 19;
    if !geteuid().is_root() {
        println!("skipped: only root has anything to give up");
        return Ok(());
    }
    let own = capabilities(std::process::id())?.into_iter().fold(0, |all, some| all | some);
    for (queues, kept) in [
        (String::new(), SYS_PTRACE),
        ("[[queue]]\nlisten = [\"127.0.0.1:0\"]\n".to_owned(), SYS_PTRACE | NET_ADMIN),
    ] {
        let place = TestDirectory::new(&format!("service-caps-{kept}"))?;
        let file = place.file("zcrxd.toml", &format!("[privileges]\ndrop = true\n{queues}"))?;
        let dir = place.path().join("run").display().to_string();
        let command =
            zcrxd(&["run", "--runtime-dir", &dir, "--config", &file, "--web.listen-address", "127.0.0.1:0"]);
        let daemon = Daemon::spawn(command, place)?;
        // A scrape brings up the threads that answer.
        assert_eq!(daemon.get("/metrics")?.status, 200);
        let found = capabilities(daemon.pid())?;
        assert!(found.len() > 2, "more than one thread");
        // Threads that need none have none: the one that writes the log among them.
        assert!(found.iter().all(|bits| *bits == kept & own || *bits == 0), "{found:x?}");
        assert!(found.contains(&(kept & own)), "{found:x?}");
    }
    Ok(())
}

#[test]
fn endpoint_listens_on_a_unix_socket() -> Outcome {
    let place = TestDirectory::new("service-unix")?;
    let path = place.path().join("web.sock");
    let address = format!("unix:{}", path.display());
    // Left by one that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path)?);
    let daemon = Daemon::spawn(run(&place, &["--web.listen-address", &address]), place)?;
    let mut stream = UnixStream::connect(&path)?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("alive\n"), "{answer}");
    daemon.end(Signal::SIGTERM)?;
    assert!(!path.exists());
    Ok(())
}

/// A queue that would quietly get less than it could have had is refused instead.
#[test]
fn configuration_that_needs_dropped_capabilities_is_refused() -> Outcome {
    if !geteuid().is_root() {
        println!("skipped: only root has anything to give up");
        return Ok(());
    }
    let place = TestDirectory::new("service-given-up")?;
    let file = place.file("zcrxd.toml", "[privileges]\ndrop = true\n")?;
    let command = run(&place, &["--config", &file]);
    let mut daemon = Daemon::spawn(command, place)?;
    std::fs::write(&file, "[privileges]\ndrop = true\n[[queue]]\nlisten = [\"127.0.0.1:0\"]\n")?;
    daemon.signal(Signal::SIGHUP)?;
    let line = daemon.wait_for("the new configuration is refused")?;
    assert!(line.contains("CAP_NET_ADMIN") && line.contains("`keep` under [privileges]"), "{line}");
    assert_eq!(daemon.metric("zcrxd_config_last_reload_successful")?, Some(0.0));
    Ok(())
}
