//! `zcrxd diagnose`.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::{Exit, complain, print};
use crate::diagnose::{Replayed, replay, write_episode, write_report};
use crate::export::recording::{Header, ReadError, Recording};
use crate::model::QueueKey;

const AFTER_HELP: &str = "\
Exit codes:
  0  nothing is wrong
  1  a queue starves, or starved in the time looked at
  2  the recording cannot be read, or holds no such queue";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Recording of an episode
    #[arg(long, value_name = "FILE")]
    recording: PathBuf,
    /// Only this queue, such as `eth0:3`, or `software:0` for one without a device
    #[arg(long, value_name = "IF:N", value_parser = queue_key)]
    queue: Option<QueueKey>,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

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
    recording: &'a Header,
    torn: bool,
    queues: &'a [Replayed],
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum DiagnoseError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{file}: holds no samples of queue {asked}, but of {there}")]
    NoSuchQueue { file: String, asked: QueueKey, there: String },
    #[error("{0}: holds no samples")]
    Empty(String),
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
            Exit::Usage
        }
    }
}

fn answer(args: &Args) -> Result<(String, Exit), DiagnoseError> {
    let recording = Recording::read(&args.recording)?;
    let file = args.recording.display().to_string();
    let mut queues = replay(&mut recording.samples(), recording.header.window, |_, _| {});
    if queues.is_empty() {
        return Err(DiagnoseError::Empty(file));
    }
    if let Some(asked) = &args.queue {
        let there: Vec<_> = queues.iter().map(|queue| queue.key.to_string()).collect();
        queues.retain(|queue| queue.key == *asked);
        if queues.is_empty() {
            return Err(DiagnoseError::NoSuchQueue { file, asked: asked.clone(), there: there.join(", ") });
        }
    }
    let text = match args.format {
        Format::Text => verdict(&queues, recording.torn),
        Format::Json => {
            let answer = Answer { recording: &recording.header, torn: recording.torn, queues: &queues };
            serde_json::to_string_pretty(&answer)? + "\n"
        }
    };
    Ok((text, exit(&queues)))
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
    write!(text, "At the end of the recording, ")?;
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
