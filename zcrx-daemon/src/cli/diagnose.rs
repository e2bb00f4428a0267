//! `zcrxd diagnose`.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Exit, complain, print};
use crate::diagnose::{Replayed, replay, write_episode, write_report, write_what_if};
use crate::export::recording::{Header, ReadError, Recording};
use crate::kernel::clock;
use crate::model::QueueKey;
use crate::view::format;

use super::live::{Live, LiveError};

const AFTER_HELP: &str = "\
Asks the running zcrxd if there is one; otherwise attaches probes and observes the host for a few seconds.

Exit codes:
  0  no queue has a problem
  1  a queue has a problem, or had one in the observed time (with a running zcrxd: in the last minute)
  2  the recording cannot be read, or there is no such queue
  3  the queues of this host cannot be read, or the running zcrxd does not answer; standard error says why";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Look at a recording of an episode, and not at this host
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch_for", "watch"])]
    recording: Option<PathBuf>,
    /// Look at this host for so many seconds, and do not ask the running zcrxd [default without one: 4]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    watch_for: Option<u64>,
    /// Say it again every two seconds, until interrupted
    #[arg(long)]
    watch: bool,
    /// Runtime directory of the zcrxd to ask [default: as `zcrxd run` has it]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["watch_for", "recording"])]
    runtime_dir: Option<PathBuf>,
    /// Only this queue, such as `eth0:3`, or `software:0` for one without a device
    #[arg(long, value_name = "IF:N", value_parser = queue_key)]
    queue: Option<QueueKey>,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// How often `--watch` says it.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: one object, with `--watch` one on each line
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
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("the answer cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(args: &Args) -> Exit {
    let done = match &args.recording {
        Some(file) => of_recording(args, file),
        None => of_host(args),
    };
    done.unwrap_or_else(|error| {
        complain(&error);
        match error {
            DiagnoseError::Live(_) => Exit::Host,
            _ => Exit::Usage,
        }
    })
}

fn of_recording(args: &Args, file: &Path) -> Result<Exit, DiagnoseError> {
    let recording = Recording::read(file)?;
    let queues = replay(&mut recording.samples(), recording.header.window, |_, _| {});
    let place = file.display().to_string();
    if queues.is_empty() {
        return Err(DiagnoseError::Empty(place));
    }
    let queues = asked_for(args, &place, queues)?;
    print(&match args.format {
        Format::Text => verdict(&queues, recording.torn, Wall::of(&recording.header)),
        Format::Json => {
            let answer = Answer { recording: Some(&recording.header), torn: recording.torn, queues: &queues };
            serde_json::to_string_pretty(&answer)? + "\n"
        }
    });
    Ok(exit(&queues))
}

fn of_host(args: &Args) -> Result<Exit, DiagnoseError> {
    let mut live = Live::find(args.runtime_dir.as_deref(), args.watch_for.is_some());
    let time = args.watch_for.map(Duration::from_secs);
    let queues = asked_for(args, "this host", live.diagnose(time)?)?;
    print(&said(args, &queues)?);
    if !args.watch {
        return Ok(exit(&queues));
    }
    loop {
        live.pause(AGAIN);
        // A queue that was there may go and come back.
        let mut queues = live.diagnose(Some(AGAIN))?;
        queues.retain(|queue| args.queue.as_ref().is_none_or(|asked| queue.key == *asked));
        let text = said(args, &queues)?;
        let separated = if matches!(args.format, Format::Text) { format!("\n{text}") } else { text };
        if io::Write::write_all(&mut io::stdout(), separated.as_bytes()).is_err() {
            // The reader has closed the pipe.
            return Ok(exit(&queues));
        }
    }
}

/// The queues, or the one that was asked for, which must be there.
fn asked_for(args: &Args, place: &str, mut queues: Vec<Replayed>) -> Result<Vec<Replayed>, DiagnoseError> {
    let Some(asked) = &args.queue else { return Ok(queues) };
    let there: Vec<_> = queues.iter().map(|queue| queue.key.to_string()).collect();
    queues.retain(|queue| queue.key == *asked);
    if queues.is_empty() {
        let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
        return Err(DiagnoseError::NoSuchQueue { place: place.to_owned(), asked: asked.clone(), there });
    }
    Ok(queues)
}

fn said(args: &Args, queues: &[Replayed]) -> Result<String, DiagnoseError> {
    let answer = Answer { recording: None, torn: false, queues };
    Ok(match args.format {
        Format::Text if queues.is_empty() => "There is no zcrx queue on this host.\n".to_owned(),
        Format::Text => summary(queues) + &words(queues, "", Wall::now()),
        Format::Json if args.watch => serde_json::to_string(&answer)? + "\n",
        Format::Json => serde_json::to_string_pretty(&answer)? + "\n",
    })
}

/// Findings of a recording as text: every episode, and the state of each queue at the end.
pub(super) fn verdict(queues: &[Replayed], torn: bool, wall: Wall) -> String {
    let mut text = words(queues, "At the end, ", wall);
    if torn {
        text += "The last line of the recording is incomplete: its writer was killed.\n";
    }
    text
}

/// Time of day at the zero of CLOCK_MONOTONIC, since the Unix epoch; `None` if unknown.
#[derive(Clone, Copy)]
pub(super) struct Wall(Option<Duration>);

impl Wall {
    /// By the clocks of this host, as they are now.
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(wall.ok().and_then(|wall| wall.checked_sub(clock::monotonic())))
    }

    /// By the clocks of the host that wrote it.
    pub(super) fn of(header: &Header) -> Self {
        let wall = header.written.duration_since(SystemTime::UNIX_EPOCH).ok();
        Self(wall.and_then(|wall| wall.checked_sub(header.monotonic)))
    }

    fn say(self, monotonic: Duration) -> Option<String> {
        Some(format::utc(self.0? + monotonic))
    }
}

/// Number of queues with a problem, for several queues; each report follows after an empty line.
fn summary(queues: &[Replayed]) -> String {
    if queues.len() < 2 {
        return String::new();
    }
    let alarmed = queues.iter().filter(|queue| queue.report.troubled()).count();
    format!("queues with a problem: {alarmed} of {}\n\n", queues.len())
}

/// Queues with a problem first.
fn words(queues: &[Replayed], when: &str, wall: Wall) -> String {
    let (troubled, calm): (Vec<_>, Vec<_>) = queues.iter().partition(|queue| queue.report.troubled());
    let reports = troubled.into_iter().chain(calm).map(|queue| {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _: std::fmt::Result = describe(&mut text, queue, when, wall);
        text
    });
    reports.collect::<Vec<_>>().join("\n")
}

fn describe(text: &mut String, queue: &Replayed, when: &str, wall: Wall) -> std::fmt::Result {
    let time = |monotonic| wall.say(monotonic);
    for episode in queue.episodes.iter().filter(|episode| episode.ended.is_some()) {
        write_episode(text, episode, queue.report.at, &time)?;
        writeln!(text)?;
    }
    write!(text, "{when}")?;
    write_report(text, &queue.report, &time)?;
    if let Some(answer) = &queue.recommended {
        write!(text, "  on this recording the queue ")?;
        write_what_if(text, answer)?;
    }
    Ok(())
}

/// Exit code for scripts: whether a queue has or had a problem.
pub(super) fn exit(queues: &[Replayed]) -> Exit {
    let harmed = queues.iter().any(|queue| queue.report.troubled() || !queue.episodes.is_empty());
    if harmed { Exit::Bad } else { Exit::Done }
}

/// A queue as it is displayed.
pub(super) fn queue_key(text: &str) -> Result<QueueKey, String> {
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
