//! A new user: from the package to a first alert by the quick start alone. Each command is read from the document.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Step;
use super::document;
use super::monitoring::{SHORTER, WEBHOOK, find};
use super::shell::Shell;
use super::stages::{allow_slow_starts, systemctl};
use super::webhook;
use crate::harness::{artefacts, facts};

/// The document, as the host has it.
const DOCUMENT: &str = "/lab/quick-start.md";

/// How long one command may take. Starting zcrxd in an emulated machine takes half a minute, on a busy host several.
const COMMAND_LIMIT: Duration = Duration::from_mins(5);

/// The command after which Prometheus has its configuration.
const CONFIGURED: &str = "systemctl restart prometheus";

/// Files of the servers that hold times, as the document has them installed.
const TIMED: [&str; 4] = [
    "/etc/prometheus/prometheus.yml",
    "/etc/prometheus/alertmanager.yml",
    "/etc/prometheus/zcrx/alerts.yml",
    "/etc/prometheus/zcrx/recording.yml",
];

/// A command that takes the screen until a key is pressed, what it shows, and the key.
const FULL_SCREEN: (&str, &str, &str) = ("zcrxd top", "zcrxd", "q");

/// A command whose exit status says what it found on the host: the guest lacks what a real host has.
const JUDGES: &str = "zcrxd check";

pub(super) const FOLLOWED: Step = Step {
    name: "quick-start",
    about: "a new user gets from the package to a first alert, and to its end, by the commands of docs/quick-start.md alone",
    limit: 1500,
    run: || {
        allow_slow_starts()?;
        let text = fs::read_to_string(DOCUMENT).with_context(|| format!("cannot read {DOCUMENT}"))?;
        let blocks = document::blocks(&text)?;
        let notifications = webhook::listen(WEBHOOK)?;
        let mut shell = Shell::start("/root")?;
        let ran = follow(&mut shell, &blocks);
        fs::write(artefacts().join("terminal.txt"), shell.text()).context("cannot keep the terminal")?;
        facts::add("commands of the quick start", &ran?.to_string())?;

        // What the last block repaired reaches the pager too.
        let deadline = Instant::now() + COMMAND_LIMIT;
        let mut notices = Vec::new();
        while find(&notices, "firing").is_none() || find(&notices, "resolved").is_none() {
            ensure!(Instant::now() < deadline, "the pager got {notices:?}");
            notices.extend(notifications.recv_timeout(Duration::from_millis(500)));
        }
        Ok(())
    },
};

/// Types every line of every block; how many commands that were.
fn follow(shell: &mut Shell, blocks: &[Vec<&str>]) -> Result<usize> {
    let mut commands = 0;
    for block in blocks {
        for line in block {
            // The comment behind a command is for readers; bash would skip it.
            let bare = line.split(" #").next().unwrap_or_default().trim_end();
            let (command, shows, key) = FULL_SCREEN;
            if bare == command {
                shell.full_screen(line, shows, key, COMMAND_LIMIT)?;
                commands += 1;
                continue;
            }
            let (status, printed) = shell.line(line, COMMAND_LIMIT)?;
            let Some(status) = status else { continue };
            let good = status == 0 || (bare == JUDGES && status == 1);
            ensure!(good, "`{line}` ended with {status}:\n{printed}");
            commands += 1;
            if bare.starts_with(CONFIGURED) {
                shorten()?;
            }
        }
    }
    Ok(commands)
}

/// Shortens the times that would take minutes, in the files that the commands installed. Nothing else is changed.
fn shorten() -> Result<()> {
    for path in TIMED {
        let text = fs::read_to_string(path).with_context(|| format!("the quick start installs no {path}"))?;
        let text = SHORTER.iter().fold(text, |text, (long, short)| text.replace(long, short));
        fs::write(path, text).with_context(|| format!("cannot write {path}"))?;
    }
    systemctl(&["restart", "prometheus.service", "prometheus-alertmanager.service"]).map(drop)
}
