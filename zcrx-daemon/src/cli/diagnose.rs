//! `zcrxd diagnose`.

use std::fmt::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Exit, complain, print};
use crate::diagnose::{Replayed, replay, write_episode, write_report};
use crate::export::recording::{Header, ReadError, Recording};
use crate::kernel::Kernel;
use crate::model::{ProbeStatus, QueueKey, QueueSample};
use crate::net::Netlink;
use crate::observe::{Join, NicSample};
use crate::probe::Probes;

const AFTER_HELP: &str = "\
Exit codes:
  0  nothing is wrong
  1  a queue starves, or starved in the time looked at
  2  the recording cannot be read, or there is no such queue
  3  this host does not show its queues: the reasons are told";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Look at a recording of an episode, and not at this host
    #[arg(long, value_name = "FILE", conflicts_with = "watch_for")]
    recording: Option<PathBuf>,
    /// How many seconds to look at this host
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=600))]
    watch_for: u64,
    /// Only this queue, such as `eth0:3`, or `software:0` for one without a device
    #[arg(long, value_name = "IF:N", value_parser = queue_key)]
    queue: Option<QueueKey>,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// How often queues are looked at: often enough to have several samples of a two seconds' trouble.
const CADENCE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: one object
    Json,
}

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    /// Absent for this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<&'a Header>,
    torn: bool,
    queues: &'a [Replayed],
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum DiagnoseError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{place}: there is no queue {asked}, but {there}")]
    NoSuchQueue { place: String, asked: QueueKey, there: String },
    #[error("{0}: holds no samples")]
    Empty(String),
    #[error("this host does not show its queues: {0}; `zcrxd probes` tells what would mend it")]
    NoSnapshot(String),
    #[error("the answer cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(args: &Args) -> Exit {
    match answer(args) {
        Ok((text, exit)) => {
            print(&text);
            exit
        }
        Err(error) => {
            complain(&error);
            if matches!(error, DiagnoseError::NoSnapshot(_)) { Exit::Host } else { Exit::Usage }
        }
    }
}

fn answer(args: &Args) -> Result<(String, Exit), DiagnoseError> {
    let recording = args.recording.as_deref().map(Recording::read).transpose()?;
    let place =
        args.recording.as_ref().map_or_else(|| "this host".to_owned(), |file| file.display().to_string());
    let mut queues = if let Some(recording) = &recording {
        replay(&mut recording.samples(), recording.header.window, |_, _| {})
    } else {
        let samples = look(Duration::from_secs(args.watch_for))?;
        replay(&mut samples.iter(), samples.len(), |_, _| {})
    };
    if queues.is_empty() && recording.is_some() {
        return Err(DiagnoseError::Empty(place));
    }
    if let Some(asked) = &args.queue {
        let there: Vec<_> = queues.iter().map(|queue| queue.key.to_string()).collect();
        queues.retain(|queue| queue.key == *asked);
        if queues.is_empty() {
            let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
            return Err(DiagnoseError::NoSuchQueue { place, asked: asked.clone(), there });
        }
    }
    let torn = recording.as_ref().is_some_and(|recording| recording.torn);
    let text = match args.format {
        Format::Text if queues.is_empty() => "There is no zcrx queue on this host.\n".to_owned(),
        Format::Text => verdict(&queues, torn),
        Format::Json => {
            let header = recording.as_ref().map(|recording| &recording.header);
            serde_json::to_string_pretty(&Answer { recording: header, torn, queues: &queues })? + "\n"
        }
    };
    Ok((text, exit(&queues)))
}

/// Samples every queue of this host for so long.
fn look(time: Duration) -> Result<Vec<QueueSample>, DiagnoseError> {
    let probes = Probes::attach(&Kernel::inspect());
    let (mut netlink, mut join) = (Netlink::new(), Join::default());
    let mut samples = Vec::new();
    let begin = Instant::now();
    loop {
        let probed = probes.sample();
        let Some(snapshot) = probed.snapshot else {
            return Err(DiagnoseError::NoSnapshot(refusals(&probed.probes)));
        };
        let nic = NicSample::read(&mut netlink, Some(&snapshot));
        samples.extend(join.samples(snapshot.began, &[], Some(&snapshot), &nic));
        if begin.elapsed() >= time {
            return Ok(samples);
        }
        thread::sleep(CADENCE);
    }
}

/// Why there is no snapshot, as its probe was told.
fn refusals(probes: &[ProbeStatus]) -> String {
    let probe = probes.iter().find(|probe| probe.name == "snapshot");
    let words: Vec<_> = probe
        .map(|probe| {
            probe.refused.iter().map(|attempt| format!("{}: {}", attempt.target, attempt.error)).collect()
        })
        .unwrap_or_default();
    if words.is_empty() { "there is no snapshot".to_owned() } else { words.join("; ") }
}

/// What was found, in words: every episode, and how each queue stands at the end.
pub(super) fn verdict(queues: &[Replayed], torn: bool) -> String {
    let mut text = String::new();
    for queue in queues {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = describe(&mut text, queue);
    }
    if torn {
        text += "The recording's last line is torn: whoever wrote it was killed.\n";
    }
    text
}

fn describe(text: &mut String, queue: &Replayed) -> std::fmt::Result {
    for episode in queue.episodes.iter().filter(|episode| episode.ended.is_some()) {
        write_episode(text, episode, queue.report.at)?;
        writeln!(text)?;
    }
    write!(text, "At the end, ")?;
    write_report(text, &queue.report)
}

/// Scripts want to know whether anybody was harmed.
pub(super) fn exit(queues: &[Replayed]) -> Exit {
    let harmed = queues.iter().any(|queue| queue.report.troubled() || !queue.episodes.is_empty());
    if harmed { Exit::Bad } else { Exit::Done }
}

/// A queue as it is displayed.
fn queue_key(text: &str) -> Result<QueueKey, String> {
    let wrong = || format!("'{text}' is not INTERFACE:INDEX, such as eth0:3 or software:0");
    let (interface, queue) =
        text.rsplit_once(':').filter(|(interface, _)| !interface.is_empty()).ok_or_else(wrong)?;
    let queue = queue.parse().map_err(|_| wrong())?;
    let interface = (interface != "software").then(|| interface.to_owned());
    Ok(QueueKey { interface, queue })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_as_they_are_written() {
        for interface in [Some("eth0".to_owned()), Some("a:b".to_owned()), None] {
            let key = QueueKey { interface, queue: 3 };
            assert_eq!(queue_key(&key.to_string()), Ok(key));
        }
        for wrong in ["eth0", "eth0:", ":3", "eth0:x", "eth0:-1"] {
            let said = queue_key(wrong).err();
            assert!(said.is_some_and(|said| said.contains("is not INTERFACE:INDEX")), "{wrong}");
        }
    }
}
