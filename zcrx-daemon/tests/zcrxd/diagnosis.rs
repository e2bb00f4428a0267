//! A queue that starves, and its report as text, JSON and metrics.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Daemon, Outcome, TestDirectory, output, zcrxd};

/// Sends until the other side closes, or it is dropped.
struct Sender {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    fn start(to: SocketAddr) -> Outcome<Self> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_write_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                // A write that finds no room is what is wanted here.
                stream.write_all(&[7; 16384]).ok();
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the sender does not panic");
        }
    }
}

/// Exit code and first line of what `zcrxd diagnose` hears from that daemon.
fn diagnose(daemon: &Daemon, args: &[&str]) -> Outcome<(Option<i32>, String)> {
    let dir = daemon.runtime_dir();
    let output = output(zcrxd(&[&["diagnose", "--runtime-dir", &dir], args].concat()))?;
    let said = String::from_utf8([output.stdout, output.stderr].concat())?;
    Ok((output.status.code(), said.lines().next().unwrap_or_default().to_owned()))
}

#[test]
fn missing_queue_is_an_error_naming_the_others() -> Outcome {
    let daemon = Daemon::start("diagnosis-nobody", &["--no-probes", "--listen", "127.0.0.1:0"])?;
    daemon.wait_metric("zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}", |active| {
        active == 0.0
    })?;
    let (code, said) = diagnose(&daemon, &["--queue", "eth0:3"])?;
    assert_eq!(
        (code, said.as_str()),
        (Some(2), "zcrxd: this host: there is no queue eth0:3, but software:0")
    );
    Ok(())
}

#[test]
fn files_of_a_killed_daemon_do_not_disturb_the_next() -> Outcome {
    let place = TestDirectory::new("diagnosis-killed")?;
    let dir = place.path().join("run").display().to_string();
    let start = || -> Outcome<Daemon> {
        let args = ["run", "--no-probes", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"];
        Daemon::spawn(zcrxd(&args), TestDirectory::new("diagnosis-killed-too")?)
    };
    start()?.end(Signal::SIGKILL)?;
    let socket = place.path().join("run/zcrxd.sock");
    assert!(socket.exists());
    let next = start()?;
    let output = output(zcrxd(&["diagnose", "--runtime-dir", &dir]))?;
    assert_eq!(String::from_utf8(output.stdout)?, "There is no zcrx queue on this host.\n");
    assert_eq!(std::fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    next.end(Signal::SIGTERM)?;
    assert!(!socket.exists());
    Ok(())
}

/// With its defaults, zcrxd copies out what a slow sink holds, and pauses the connection when the memory for copies is used up: the
/// area never runs dry.
#[test]
fn destination_that_does_not_read_blocks_the_sink() -> Outcome {
    const ACTIVE: &str = "zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}";
    let destination = TcpListener::bind("127.0.0.1:0")?;
    let sink = format!("forward:{}", destination.local_addr()?);
    let arguments = ["--no-probes", "--listen", "127.0.0.1:0", "--backend", "copy", "--sink", &sink];
    let daemon = Daemon::start("diagnosis-blocked", &arguments)?;
    let sender = Sender::start(daemon.listen[0])?;
    let (mut blocked, _) = destination.accept()?;
    let cause =
        "zcrx_queue_cause_contribution_ratio{interface=\"software\",queue=\"0\",cause=\"sink_blocked\"";
    daemon.wait_metric(cause, |effect| effect > 0.5)?;
    let (code, verdict) = diagnose(&daemon, &["--queue", "software:0"])?;
    assert!(code == Some(1) && verdict.starts_with("software:0 SINK BLOCKED "), "{code:?} {verdict}");
    assert!(daemon.get("/")?.body.contains("Sink blocked"));

    drop(sender);
    thread::spawn(move || std::io::copy(&mut blocked, &mut std::io::sink()));
    daemon.wait_metric(ACTIVE, |active| active == 0.0)?;
    let ended = "zcrx_queue_episodes_total{interface=\"software\",queue=\"0\",cause=\"sink_blocked\"}";
    daemon.wait_metric(ended, |episodes| episodes > 0.0)?;
    let metrics = daemon.get("/metrics")?.body;
    let others = metrics
        .lines()
        .filter(|line| line.starts_with("zcrx_queue_episodes_total{") && !line.contains("sink_blocked"));
    let others: Vec<_> = others.filter(|line| !line.ends_with(" 0")).collect();
    assert!(others.is_empty(), "nothing else is named: {others:?}");
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    Ok(())
}

/// Without memory for copies, as the hold limit is the whole area, the sink holds every buffer.
#[test]
fn destination_that_does_not_read_is_a_slow_consumer_if_the_sink_may_hold_the_area() -> Outcome {
    let destination = TcpListener::bind("127.0.0.1:0")?;
    let place = TestDirectory::new("diagnosis-recordings")?;
    let directory = place.path().join("recordings").display().to_string();
    let sink = format!("forward:{}", destination.local_addr()?);
    let listen = ["--no-probes", "--listen", "127.0.0.1:0", "--backend", "copy", "--area", "1MiB"];
    let how = [
        "--sink",
        &sink,
        "--hold-limit",
        "1MiB",
        "--observe.interval",
        "250ms",
        "--recordings.directory",
        &directory,
    ];
    let mut daemon = Daemon::start("diagnosis", &[&listen[..], &how].concat())?;
    daemon.wait_metric("zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}", |active| {
        active == 0.0
    })?;
    let (code, said) = diagnose(&daemon, &[])?;
    assert!(code == Some(0) && said.starts_with("software:0 OK: "), "{code:?} {said}");
    assert!(!place.path().join("recordings").exists(), "nothing is written before the first episode");

    let sender = Sender::start(daemon.listen[0])?;
    let (mut blocked, _) = destination.accept()?;
    daemon.wait_metric("zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}", |active| {
        active > 0.0
    })?;
    let cause =
        "zcrx_queue_cause_contribution_ratio{interface=\"software\",queue=\"0\",cause=\"slow_consumer\"";
    daemon.wait_metric(cause, |effect| effect > 0.5)?;
    assert!(daemon.get("/")?.body.contains("Slow consumer"));
    let (code, verdict) = diagnose(&daemon, &["--queue", "software:0"])?;
    assert!(
        code == Some(1) && verdict.starts_with("software:0 ") && verdict.contains(" of 256 buffers free"),
        "{code:?} {verdict}"
    );
    let (code, json) = diagnose(&daemon, &["--format", "json"])?;
    assert!(code == Some(1) && json.starts_with('{'), "{code:?} {json}");
    daemon.wait_for("queue software:0: recording the episode in ")?;
    let files: Vec<_> = std::fs::read_dir(&directory)?.collect::<Result<_, _>>()?;
    assert_eq!(files.len(), 1);

    drop(sender);
    thread::spawn(move || std::io::copy(&mut blocked, &mut std::io::sink()));
    let ended = "zcrx_queue_episodes_total{interface=\"software\",queue=\"0\",cause=\"slow_consumer\"}";
    daemon.wait_metric(ended, |episodes| episodes > 0.0)?;
    daemon.wait_metric("zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}", |active| {
        active == 0.0
    })?;
    assert!(daemon.get("/")?.body.contains("Episodes that are over"));
    let recording = std::fs::read_to_string(files[0].path())?;
    assert!(recording.lines().last().is_some_and(|line| line.starts_with("{\"ended\":")), "{recording}");
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    Ok(())
}
