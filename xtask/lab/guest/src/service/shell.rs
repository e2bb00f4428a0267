//! A person at a terminal: one interactive bash on a pseudo-terminal, which is given one line after another.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::harness::eventually;

/// What bash prints when it waits for a command: the number is the exit status of the one before.
const READY: &str = "<ready:";
/// What bash prints when a command goes on in the next line, as a here-document does.
const MORE: &str = "<more>";

/// The terminal, and everything that was printed on it.
pub(super) struct Shell {
    bash: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Shell {
    /// Starts bash as root in a directory.
    pub(super) fn start(directory: &str) -> Result<Self> {
        // script makes the terminal; without --echo, what is typed is not printed twice.
        let mut command = Command::new("script");
        command
            .args([
                "--quiet",
                "--flush",
                "--command",
                "exec bash --noediting --noprofile --norc -i",
                "/dev/null",
            ])
            .current_dir(directory)
            .env("HOME", "/root")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut bash = command.spawn().context("cannot start a terminal")?;
        let keyboard = bash.stdin.take().context("the terminal has no keyboard")?;
        let mut output = bash.stdout.take().context("the terminal has no screen")?;
        let screen = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_str(&text);
            }
        });
        let mut shell = Self { bash, keyboard, screen };
        // Split, so that the echo of this line is not taken for a prompt.
        shell.press("stty -echo rows 24 cols 80; PS1='<rea''dy:$?>' PS2='<mo''re>'\n")?;
        shell.prompt(0, Duration::from_mins(1))?;
        Ok(shell)
    }

    /// Types a line and waits for the next prompt. Returns the command's exit status, or `None` if the command goes on in
    /// the next line; and what the command printed.
    pub(super) fn line(&mut self, line: &str, limit: Duration) -> Result<(Option<i32>, String)> {
        let from = self.text().len();
        self.press(&format!("{line}\n"))?;
        self.prompt(from, limit).with_context(|| format!("no end of `{line}`"))
    }

    /// Types a line whose command takes the whole screen, and ends the command with a key.
    pub(super) fn full_screen(&mut self, line: &str, shows: &str, key: &str, limit: Duration) -> Result<()> {
        let from = self.text().len();
        self.press(&format!("{line}\n"))?;
        eventually(&format!("`{line}` shows {shows}"), limit, || {
            Ok(self.text()[from..].contains(shows).then_some(()))
        })?;
        self.press(key)?;
        match self.prompt(from, limit)? {
            (Some(0), _) => Ok(()),
            (status, printed) => bail!("`{line}` ended with {status:?}:\n{printed}"),
        }
    }

    /// Everything that was printed.
    pub(super) fn text(&self) -> String {
        self.screen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("the terminal takes no input")?;
        self.keyboard.flush().context("the terminal takes no input")
    }

    /// Waits for a prompt after what was printed up to `from`.
    fn prompt(&mut self, from: usize, limit: Duration) -> Result<(Option<i32>, String)> {
        eventually("bash waits for a line", limit, || {
            if let Some(status) = self.bash.try_wait().context("cannot wait for the terminal")? {
                bail!("the terminal ended: {status}");
            }
            let printed = self.text()[from..].to_owned();
            if printed.ends_with(MORE) {
                return Ok(Some((None, printed)));
            }
            let Some((before, after)) = printed.rsplit_once(READY) else { return Ok(None) };
            // The prompt ends with the bracket: anything behind the bracket is a message about a background job.
            let Some((status, _)) = after.split_once('>') else { return Ok(None) };
            let status = status.parse().with_context(|| format!("no exit status: {status:?}"))?;
            Ok(Some((Some(status), before.to_owned())))
        })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.bash.kill().ok();
        self.bash.wait().ok();
    }
}
