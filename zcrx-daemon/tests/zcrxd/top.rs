//! The terminal view in a real terminal, and its one frame for scripts.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Daemon, Outcome, WAIT_LIMIT, output, refusal, zcrxd};

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnose/slow_consumer-destination_blocks.zcrx.jsonl");

const QUEUE: [&str; 7] = ["--no-probes", "--listen", "127.0.0.1:0", "--backend", "copy", "--area", "1MiB"];

/// Exit code and standard output.
fn once(args: &[&str]) -> Outcome<(Option<i32>, String)> {
    let mut command = zcrxd(&[&["top", "--once"], args].concat());
    command.env("LC_ALL", "C.UTF-8").env("COLUMNS", "100");
    let output = output(command)?;
    Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

#[test]
fn frame_of_a_healthy_daemon_reports_no_problem() -> Outcome {
    let daemon = Daemon::start("top-once", &QUEUE)?;
    daemon.wait_metric("zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}", |active| {
        active == 0.0
    })?;
    let dir = daemon.runtime_dir();
    let (code, said) = once(&["--runtime-dir", &dir])?;
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("zcrxd top · ") && lines[0].contains("by the running zcrxd"), "{said}");
    assert_eq!(lines[1], "1 queue, no problem");
    assert!(lines[3].trim_start().starts_with("software:0") && lines[3].contains("100%"), "{said}");
    let (code, said) = once(&["--runtime-dir", &dir, "--queue", "eth0:3"])?;
    assert_eq!((code, said.as_str()), (Some(2), "zcrxd: there is no queue eth0:3, but software:0\n"));
    let (code, said) = once(&["--runtime-dir", &dir, "--queue", "software:0", "--ascii"])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.is_ascii() && said.contains("Where the buffers are"), "{said}");
    Ok(())
}

#[test]
fn frame_of_a_recording_shows_its_problem() -> Outcome {
    let (code, said) = once(&["--recording", RECORDING])?;
    assert_eq!(code, Some(1), "{said}");
    for words in
        ["the only queue has a problem", "!software:0", "slow consumer", "Cause: Slow consumer", "do: "]
    {
        assert!(said.contains(words), "{words}:\n{said}");
    }
    Ok(())
}

#[test]
fn without_a_terminal_top_names_alternatives() -> Outcome {
    let (code, said) = refusal(zcrxd(&["top", "--recording", RECORDING]))?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("are no terminal") && said.contains("zcrxd diagnose"), "{said}");
    Ok(())
}

/// A terminal of 80 by 24 with a program in it.
struct Terminal {
    server: String,
}

impl Terminal {
    /// `None` where there is no tmux.
    fn start(name: &str, environment: &[&str], args: &[&str]) -> Outcome<Option<Self>> {
        let terminal = Self { server: format!("zcrxd-{name}-{}", std::process::id()) };
        // What it says last must be readable after its end.
        let program = format!("{} top {}", env!("CARGO_BIN_EXE_zcrxd"), args.join(" "));
        let command =
            format!("env {} {program}; echo it ended with $?; exec sleep 600", environment.join(" "));
        let mut tmux =
            terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &command]);
        // Without it, tmux takes its own word for it that the outside is not UTF-8.
        tmux.env("LC_ALL", "C.UTF-8");
        match tmux.status() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("skipped: tmux is not installed (Debian: apt-get install tmux)");
                Ok(None)
            }
            Err(error) => Err(error.into()),
            Ok(status) if status.success() => Ok(Some(terminal)),
            Ok(status) => Err(format!("tmux ended with {status}").into()),
        }
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.server]).args(args).env_remove("TMUX");
        command
    }

    fn press(&self, keys: &[&str]) -> Outcome {
        let status = self.tmux(&[&["send-keys"], keys].concat()).status()?;
        if status.success() { Ok(()) } else { Err("the keys do not reach the terminal".into()) }
    }

    /// What is on the screen, with its colours if so wanted.
    fn screen(&self, colours: bool) -> Outcome<String> {
        let how: &[&str] = if colours { &["capture-pane", "-p", "-e"] } else { &["capture-pane", "-p"] };
        Ok(String::from_utf8(self.tmux(how).output()?.stdout)?)
    }

    /// Waits until all of these words are on the screen.
    fn until(&self, words: &[&str]) -> Outcome<String> {
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            let shown = self.screen(false)?;
            if words.iter().all(|words| shown.contains(words)) {
                return Ok(shown);
            }
            if Instant::now() > end {
                return Err(format!("{words:?} do not all appear on:\n{shown}").into());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]).status().ok();
    }
}

#[test]
fn keys_open_close_filter_and_quit_in_a_real_terminal() -> Outcome {
    let daemon = Daemon::start("top", &QUEUE)?;
    daemon.wait_metric("zcrx_queue_episode_active{interface=\"software\",queue=\"0\"}", |active| {
        active == 0.0
    })?;
    let dir = daemon.runtime_dir();
    let args = ["--runtime-dir", dir.as_str(), "--interval", "0.2"];
    let Some(terminal) = Terminal::start("top-keys", &["LC_ALL=C.UTF-8"], &args)? else { return Ok(()) };
    let shown = terminal.until(&["zcrxd top · ", "1 queue, no problem", "software:0", "q quit"])?;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    terminal.press(&["Enter"])?;
    terminal.until(&["Where the buffers are", "free or in flight"])?;
    terminal.press(&["Escape"])?;
    terminal.until(&["QUEUE", "AREA", "CAUSE"])?;
    terminal.press(&["?"])?;
    terminal.until(&["Keys", "filter by queue"])?;
    terminal.press(&["x"])?;
    terminal.press(&["/", "n", "o", "n", "e"])?;
    terminal.until(&["filter: none", "No queue is like that"])?;
    terminal.press(&["Escape"])?;
    terminal.until(&["software:0"])?;
    // A daemon that goes away leaves what was last known, and it says that it is old.
    daemon.end(Signal::SIGTERM)?;
    terminal.until(&["OLD: the running zcrxd does not answer", "software:0"])?;
    terminal.press(&["q"])?;
    let shown = terminal.until(&["it ended with 0"])?;
    assert!(!shown.contains("QUEUE"), "the screen is given back as it was:\n{shown}");
    Ok(())
}

#[test]
fn recording_is_stepped_through_without_colour_and_unicode() -> Outcome {
    let environment = ["NO_COLOR=1", "LC_ALL=C"];
    let Some(terminal) = Terminal::start("top-plain", &environment, &["--recording", RECORDING])? else {
        return Ok(());
    };
    let shown = terminal.until(&["the only queue has a problem", "!software:0", "[####"])?;
    assert!(shown.is_ascii(), "{shown}");
    let colours = terminal.screen(true)?;
    assert!(
        !["\u{1b}[3", "\u{1b}[4"].iter().any(|colour| {
            colours
                .split(colour)
                .skip(1)
                .any(|rest| rest.starts_with(|digit: char| ('0'..='8').contains(&digit)))
        }),
        "{colours:?}"
    );
    let clock = |shown: &str| shown.lines().next().unwrap_or_default().trim_end().to_owned();
    let before = clock(&shown);
    terminal.press(&["Left"])?;
    let end = Instant::now() + WAIT_LIMIT;
    while clock(&terminal.screen(false)?) == before {
        assert!(Instant::now() < end, "time does not go back: {before}");
        thread::sleep(Duration::from_millis(50));
    }
    terminal.press(&["q"])?;
    terminal.until(&["it ended with 0"])?;
    Ok(())
}

#[test]
fn top_ends_with_its_terminal() -> Outcome {
    let Some(terminal) = Terminal::start("top-gone", &["LC_ALL=C"], &["--recording", RECORDING])? else {
        return Ok(());
    };
    terminal.until(&["the only queue has a problem"])?;
    let shell = String::from_utf8(terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]).output()?.stdout)?;
    let children = format!("/proc/{0}/task/{0}/children", shell.trim());
    let child = std::fs::read_to_string(children)?;
    let child = std::path::Path::new("/proc").join(child.trim());
    assert!(child.join("stat").exists(), "{}", child.display());
    drop(terminal);
    let end = Instant::now() + WAIT_LIMIT;
    // Its new parent may reap it late: a zombie has ended.
    while std::fs::read_to_string(child.join("stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < end, "it goes on without a terminal");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn dumb_terminal_is_refused_with_alternatives() -> Outcome {
    let Some(terminal) = Terminal::start("top-dumb", &["TERM=dumb"], &["--recording", RECORDING])? else {
        return Ok(());
    };
    terminal.until(&["TERM is \"dumb\"", "zcrxd diagnose", "it ended with 2"])?;
    Ok(())
}
