//! A program of the project under test, with its output kept as an artefact.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::eventually;

/// A running program. Left running when dropped: the end of the scenario ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    /// Orders to it.
    input: Option<ChildStdin>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts it; its outputs become the artefacts `NAME-N.out` and `NAME-N.err`.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(1);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let path = |suffix: &str| super::artefacts().join(format!("{name}-{number}.{suffix}"));
        let create =
            |path: &PathBuf| File::create(path).with_context(|| format!("cannot make {}", path.display()));
        let (stdout, stderr) = (path("out"), path("err"));
        command.stdin(Stdio::piped()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let input = child.stdin.take();
        Ok(Self { child, name: name.to_owned(), input, stdout, stderr })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The way to give it orders.
    pub(crate) fn input(&mut self) -> Result<&mut ChildStdin> {
        self.input.as_mut().context("the program's input is closed")
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Fails if it has ended: it should be running.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, last_lines(&self.stderr())),
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        // SAFETY: kill takes no pointers; the child has not been waited for, so its id is its own.
        if unsafe { libc::kill(self.child.id() as i32, signal) } != 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot signal {}", self.name));
        }
        Ok(())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        let ended = eventually(&format!("{name} ends"), limit, || self.ended());
        // Where in the kernel it hangs, if it does.
        ended.with_context(|| match fs::read_to_string(format!("/proc/{}/stack", self.id())) {
            Ok(stack) => format!("{name} is in {}", stack.lines().collect::<Vec<_>>().join(" ")),
            Err(error) => format!("where {name} is in the kernel cannot be read: {error}"),
        })
    }

    /// Waits for its end and fails if that is not a good one.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<String> {
        let status = self.wait(limit)?;
        if !status.success() {
            bail!("{} ended with {status}: {}", self.name, last_lines(&self.stderr()));
        }
        Ok(self.stdout())
    }

    /// Kills it, as the kernel would when memory is short, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.signal(libc::SIGKILL)?;
        let status = self.wait(Duration::from_secs(30))?;
        if status.signal() != Some(libc::SIGKILL) {
            bail!("{} had ended before it was killed: {status}: {}", self.name, last_lines(&self.stderr()));
        }
        Ok(())
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
