//! A real zcrxd, started and stopped by a test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Generous, since a loaded machine is no failure. Tests wait for a state, never for a time.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_mins(1);

/// The binary under test, without environment variables that change its behaviour.
pub(crate) fn zcrxd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zcrxd"));
    command.args(args).stdin(Stdio::null());
    for variable in
        ["RUST_LOG", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET", "FDSTORE", "JOURNAL_STREAM"]
    {
        command.env_remove(variable);
    }
    command
}

/// Directory of one test, removed at its end.
pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub(crate) fn new(name: &str) -> Outcome<Self> {
        let dir = std::env::temp_dir().join(format!("zcrxd-{name}-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o755).create(&dir)?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file there and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> Outcome<String> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A running daemon; killed when dropped unless the test has stopped it.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    pub(crate) web: SocketAddr,
    pub(crate) listen: Vec<SocketAddr>,
    /// Further headers of each request, each with its line's end.
    pub(crate) headers: String,
    place: TestDirectory,
}

impl Daemon {
    /// Starts `zcrxd run` on ports of its own, with a runtime directory of its own, and waits until it is ready.
    pub(crate) fn start(name: &str, args: &[&str]) -> Outcome<Self> {
        let place = TestDirectory::new(name)?;
        let dir = place.path().join("run").display().to_string();
        let base = ["run", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"];
        Self::spawn(zcrxd(&[&base, args].concat()), place)
    }

    /// Starts a command that is a daemon, and waits until it is ready.
    pub(crate) fn spawn(mut command: Command, place: TestDirectory) -> Outcome<Self> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon = Self {
            child,
            lines,
            said: Vec::new(),
            web: nowhere,
            listen: Vec::new(),
            headers: String::new(),
            place,
        };
        daemon.wait_for("ready")?;
        for line in &daemon.said {
            if let Some((_, rest)) = line.split_once("web endpoint on http")
                && let Some((_, rest)) = rest.split_once("://")
            {
                daemon.web = rest.split('/').next().ok_or("no address")?.parse()?;
            }
            if let Some((addresses, _)) =
                line.split_once(" receives on ").and_then(|(_, rest)| rest.split_once(" with backend "))
            {
                for address in addresses.split(", ") {
                    daemon.listen.push(address.parse()?);
                }
            }
        }
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its lock and its socket are.
    pub(crate) fn runtime_dir(&self) -> String {
        self.place.path().join("run").display().to_string()
    }

    /// Waits for a log line that contains these words.
    pub(crate) fn wait_for(&mut self, words: &str) -> Outcome<String> {
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return Ok(line);
                    }
                }
                Err(_) => return Err(format!("never said {words:?}, but:\n{}", self.said.join("\n")).into()),
            }
        }
    }

    /// Whether it has said these words before it was ready.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        self.said.iter().any(|line| line.contains(words))
    }

    /// Signals it and waits for its end; gives how it ended and all it said.
    pub(crate) fn end(self, signal: Signal) -> Outcome<(ExitStatus, String)> {
        self.signal(signal)?;
        self.wait()
    }

    /// Waits for its end; gives how it ended and all it said.
    pub(crate) fn wait(mut self) -> Outcome<(ExitStatus, String)> {
        let status = wait(&mut self.child)?;
        // The pipe closes with the process.
        self.said.extend(self.lines.iter());
        Ok((status, self.said.join("\n")))
    }

    /// The body of a page, whatever its status.
    pub(crate) fn get(&self, path: &str) -> Outcome<Answer> {
        let headers = &self.headers;
        request(
            self.web,
            &format!("GET {path} HTTP/1.1\r\nHost: zcrxd\r\n{headers}Connection: close\r\n\r\n"),
        )
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?)
    }

    /// The value of the one series whose line begins with these words; `None` if there is no such series.
    pub(crate) fn metric(&self, series: &str) -> Outcome<Option<f64>> {
        let text = self.get("/metrics")?.body;
        let mut values = text.lines().filter(|line| line.starts_with(series));
        let value = values.next().and_then(|line| line.rsplit(' ').next()).map(str::parse).transpose()?;
        assert!(values.next().is_none(), "more than one series begins with {series}");
        Ok(value)
    }

    /// Waits until that series has a value that will do.
    pub(crate) fn wait_metric(&self, series: &str, will_do: impl Fn(f64) -> bool) -> Outcome<f64> {
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            let value = self.metric(series)?;
            match value {
                Some(value) if will_do(value) => return Ok(value),
                _ if Instant::now() > end => return Err(format!("{series} stays at {value:?}").into()),
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends these bytes and reads until the other side closes.
pub(crate) fn request(address: SocketAddr, bytes: &str) -> Outcome<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    stream.write_all(bytes.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no HTTP answer: {text:?}"))?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// Runs to the end, which must come by itself.
pub(crate) fn output(mut command: Command) -> Outcome<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let status = wait(&mut child)?;
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    child.stdout.take().ok_or("no standard output")?.read_to_end(&mut output.stdout)?;
    child.stderr.take().ok_or("no standard error")?.read_to_end(&mut output.stderr)?;
    Ok(output)
}

/// Exit code, and standard error as text, of a command that must fail by itself.
pub(crate) fn refusal(command: Command) -> Outcome<(Option<i32>, String)> {
    let output = output(command)?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

fn wait(child: &mut Child) -> Outcome<ExitStatus> {
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Err("it did not end by itself".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
