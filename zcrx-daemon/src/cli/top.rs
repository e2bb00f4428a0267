//! `zcrxd top`.

mod source;
mod terminal;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::diagnose::queue_key;
use super::{Exit, complain, print};
use crate::model::QueueKey;
use crate::view::top::{About, Look, Page, Screen, Sort, ViewState, render};

use source::{Source, SourceError};

const AFTER_HELP: &str = "\
Asks the running zcrxd, if there is one; else it attaches probes of its own. `?` shows the keys.
Without colour if NO_COLOR is set, in ASCII unless the locale is UTF-8. In a terminal that cannot move its cursor, and in
scripts, `zcrxd top --once` prints one frame, and `zcrxd diagnose` the verdict.

Exit codes:
  0  quit by the user; with --once, no queue has a problem
  1  with --once: a queue has a problem
  2  the recording cannot be read, there is no such queue, or this is no terminal
  3  the queues of this host cannot be read, or the running zcrxd does not answer; standard error says why";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Step through a recording of an episode, and do not look at this host
    #[arg(long, value_name = "FILE", conflicts_with_all = ["alone", "runtime_dir", "interval"])]
    recording: Option<PathBuf>,
    /// Attach probes, and do not ask the running zcrxd
    #[arg(long, conflicts_with = "runtime_dir")]
    alone: bool,
    /// Runtime directory of the zcrxd to ask [default: as `zcrxd run` has it]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Seconds between two samples
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Print one frame as plain text and leave
    #[arg(long, visible_alias = "batch")]
    once: bool,
    /// Begin with this queue in full, such as `eth0:3`, or `software:0` for one without a device
    #[arg(long, value_name = "IF:N", value_parser = queue_key)]
    queue: Option<QueueKey>,
    /// Order of the queues
    #[arg(long, value_name = "COLUMN", default_value = "urgency")]
    sort: Sort,
    /// Only queues whose name, owner, cgroup or cause has these words
    #[arg(long, value_name = "WORDS", default_value = "")]
    filter: String,
    /// Draw with ASCII only
    #[arg(long)]
    ascii: bool,
    /// Draw without colours
    #[arg(long)]
    no_color: bool,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("there is no queue {asked}, but {there}")]
    NoSuchQueue { asked: QueueKey, there: String },
    #[error("{0}: `zcrxd top --once` prints one frame, `zcrxd diagnose` reports problems")]
    NoTerminal(&'static str),
    #[error("the terminal fails: {0}")]
    Terminal(#[from] io::Error),
}

pub(super) fn run(args: &Args) -> Exit {
    let done = if args.once { once(args) } else { watch(args) };
    done.unwrap_or_else(|error| {
        complain(&error);
        match error {
            TopError::Source(SourceError::Live(_)) | TopError::Terminal(_) => Exit::Host,
            _ => Exit::Usage,
        }
    })
}

fn watch(args: &Args) -> Result<Exit, TopError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(TopError::NoTerminal("input and output are no terminal"));
    }
    if env::var("TERM").is_ok_and(|term| term == "dumb") {
        return Err(TopError::NoTerminal("this terminal cannot move its cursor (TERM is \"dumb\")"));
    }
    let mut source = open(args)?;
    // Whatever has to be said against it is said before the screen is taken.
    source.next(Duration::ZERO)?;
    let view = view(args, &source)?;
    let colour = !args.no_color && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let look = Look { colour, unicode: !args.ascii && utf8() };
    terminal::run(source, view, look, args.interval)?;
    Ok(Exit::Done)
}

fn once(args: &Args) -> Result<Exit, TopError> {
    let mut source = open(args)?;
    source.next(super::live::OBSERVE)?;
    let view = view(args, &source)?;
    let look = Look { colour: false, unicode: !args.ascii && utf8() };
    let about = About { interactive: false, ..source.about(look) };
    let width = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100);
    // Room for all there can be; what stays empty is not printed.
    let height = if args.queue.is_some() { 400 } else { source.host().queues.len().min(1000) as u16 + 20 };
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    render(&Screen { host: source.host(), view: &view, about: &about }, area, &mut buffer);
    print(&text(&buffer));
    Ok(if source.host().troubled() { Exit::Bad } else { Exit::Done })
}

fn open(args: &Args) -> Result<Source, TopError> {
    Ok(match &args.recording {
        Some(file) => Source::recording(file)?,
        None => Source::live(args.runtime_dir.as_deref(), args.alone),
    })
}

fn view(args: &Args, source: &Source) -> Result<ViewState, TopError> {
    let page = if args.queue.is_some() { Page::One } else { Page::All };
    if let Some(asked) = &args.queue {
        let keys: Vec<&QueueKey> = source.host().queues.iter().map(|report| &report.key).collect();
        if !keys.contains(&asked) {
            let there: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
            return Err(TopError::NoSuchQueue { asked: asked.clone(), there });
        }
    }
    Ok(ViewState {
        page,
        queue: args.queue.clone(),
        sort: args.sort,
        filter: args.filter.clone(),
        ..ViewState::default()
    })
}

/// The frame's lines, without blanks at their ends and without empty lines at its end.
fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let lines = buffer.content.chunks(width).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    let text: String = lines.map(|line| line + "\n").collect();
    text.trim_end().to_owned() + "\n"
}

/// Whether the locale can show more than ASCII.
fn utf8() -> bool {
    let set = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "not a number of seconds from 0.1 to 3600".to_owned())
}
