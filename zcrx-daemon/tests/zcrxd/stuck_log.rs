//! A log that is never read: zcrxd receives, answers and ends as if it were read.

use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Outcome, TestDirectory, WAIT_LIMIT, output, zcrxd};

/// The smallest pipe that Linux makes.
const PIPE_BYTES: i32 = 4096;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn get(web: SocketAddr, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(web)?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn full_stderr_pipe_stops_neither_scrapes_nor_traffic_nor_the_end() -> Outcome {
    let place = TestDirectory::new("stuck-log")?;
    let dir = place.path().join("run").display().to_string();
    let (reader, writer) = pipe()?;
    // SAFETY: sets the capacity of a pipe that this test made.
    let resized = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
    assert!(resized > 0);
    let mut command = zcrxd(&["run", "--no-probes", "--listen", "127.0.0.1:0", "--sink", "verify"]);
    command.args(["--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"]);
    let mut daemon = Killed(command.stdout(Stdio::null()).stderr(writer).spawn()?);
    // The command holds a copy of the writer.
    drop(command);

    let mut lines = BufReader::new(reader);
    let (mut web, mut listen) = (None, None);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err("zcrxd ended before it was ready".into());
        }
        if let Some((_, rest)) = line.split_once("http://") {
            web = Some(rest.trim().trim_end_matches('/').parse()?);
        }
        if let Some((address, _)) =
            line.split_once(" receives on ").and_then(|(_, rest)| rest.split_once(" with backend "))
        {
            listen = Some(address.to_owned());
        }
        if line.trim_end().ends_with("ready") {
            break;
        }
    }
    // From here on the pipe is not read.
    let (web, listen) = (web.ok_or("no web address")?, listen.ok_or("no listener")?);
    let pid = Pid::from_raw(daemon.0.id() as i32);
    for _ in 0..80 {
        kill(pid, Signal::SIGHUP)?;
        thread::sleep(Duration::from_millis(10));
    }
    // Receive threads log too.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&listen)?;
        stream.write_all(&[7; 1000])?;
        let stream = socket2::Socket::from(stream);
        stream.set_linger(Some(Duration::ZERO))?;
    }
    assert!(get(web, "/healthz")?.starts_with("HTTP/1.1 200"));
    assert!(get(web, "/metrics")?.contains("zcrxd_log_dropped_lines_total "));
    let sent = output(zcrxd(&["send", "--to", &listen, "--bytes", "1MiB"]))?;
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));

    kill(pid, Signal::SIGTERM)?;
    let end = Instant::now() + WAIT_LIMIT;
    let status = loop {
        if let Some(status) = daemon.0.try_wait()? {
            break status;
        }
        assert!(Instant::now() < end, "zcrxd does not end on SIGTERM");
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    Ok(())
}
