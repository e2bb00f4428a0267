//! `zcrxd replay`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnose::{Wall, exit, verdict};
use super::{Exit, complain, print};
use crate::diagnose::facts::{Change, Placement};
use crate::diagnose::{Event, Needs, Outcome, TriedSizes, WhatIf, replay, write_what_if};
use crate::export::recording::{Entry, Recording};
use crate::model::{Cause, Episode, QueueSample};

const AFTER_HELP: &str = "\
With --what-if, a model of the queue counts the recorded arrivals and returns. What the recording does not show, such as what
happened between two samples, is a bound: between the bounds the answer is 'unknown'.

Exit codes:
  0  no problem is recorded; with --what-if: the queue would not have starved
  1  a problem is recorded; with --what-if: the queue would have starved, or the recording does not show it
  2  the recording cannot be read, or does not show the sizes of a queue";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Recording of an episode
    file: PathBuf,
    /// Say whether the queue would have starved with these sizes instead: area in buffers, refill ring in entries
    #[arg(long, value_name = "area=BUFFERS,refill=ENTRIES")]
    what_if: Option<TriedSizes>,
}

/// Prints the samples, the events between them, and the verdict, which is computed from the samples.
pub(super) fn run(args: &Args) -> Exit {
    let recording = match Recording::read(&args.file) {
        Ok(recording) => recording,
        Err(error) => {
            complain(&error);
            return Exit::Usage;
        }
    };
    if let Some(sizes) = &args.what_if {
        return try_sizes(&args.file, &recording, sizes);
    }
    let mut events = Vec::new();
    let queues = replay(&mut recording.samples(), recording.header.window, |sample, event| {
        events.push((sample.at, event.clone()));
    });
    // Writing to a String cannot fail.
    let mut text = String::new();
    let _: std::fmt::Result = timeline(&mut text, &recording, &events);
    text.push('\n');
    print(&(text + &verdict(&queues, recording.torn, Wall::of(&recording.header))));
    exit(&queues)
}

/// Prints whether each recorded queue would have starved with other sizes.
fn try_sizes(file: &Path, recording: &Recording, sizes: &TriedSizes) -> Exit {
    let mut needs: BTreeMap<_, Needs> = BTreeMap::new();
    for sample in recording.samples() {
        needs.entry((sample.key.clone(), sample.generation)).or_default().take(sample);
    }
    let mut answers = Vec::new();
    for ((key, _), needs) in &needs {
        answers.extend(needs.need().map(|need| (key, WhatIf::of(&need, sizes))));
    }
    if answers.is_empty() {
        let file = file.display();
        complain(&format!(
            "{file}: no two samples show the area and the refill ring of a queue: --what-if needs a recording of a queue with snapshots"
        ));
        return Exit::Usage;
    }
    let mut text = String::new();
    for (key, answer) in &answers {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(text, "{key} ").and_then(|()| write_what_if(&mut text, answer));
    }
    print(&text);
    let carried = answers.iter().all(|(_, answer)| answer.outcome == Outcome::NotStarved);
    if carried { Exit::Done } else { Exit::Bad }
}

fn timeline(text: &mut String, recording: &Recording, events: &[(Duration, Event)]) -> std::fmt::Result {
    let header = &recording.header;
    writeln!(text, "{} on Linux {}, recorded by zcrxd {}", header.key, header.kernel, header.zcrxd)?;
    writeln!(
        text,
        "{:>9}  {:>5} {:>5} {:>5} {:>7} {:>7} {:>7} {:>9} {:>8} {:>8}",
        "time", "free", "held", "unread", "socket", "CQ", "refill", "MB/s", "failed", "dropped"
    )?;
    let Some(begin) = recording.samples().next().map(|sample| sample.at) else { return Ok(()) };
    let mut before: Option<&QueueSample> = None;
    for sample in recording.samples() {
        row(text, begin, before, sample)?;
        for (_, event) in events.iter().filter(|(at, _)| *at == sample.at) {
            writeln!(text, "{:>9}  {}", "", describe(event))?;
        }
        before = Some(sample);
    }
    if recording.entries.contains(&Entry::Full) {
        writeln!(text, "{:>9}  the recording reached its largest size here: later samples are left out", "")?;
    }
    Ok(())
}

/// Where the buffers are, in percent of the area, and what happened since the row before.
fn row(
    text: &mut String,
    begin: Duration,
    before: Option<&QueueSample>,
    sample: &QueueSample,
) -> std::fmt::Result {
    let placement = Placement::of(sample);
    let change = before.map_or_else(Change::default, |before| Change::between(before, sample));
    let percent = |buffers| placement.share(buffers).map(|share| format!("{:.0}%", share * 100.0));
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    let megabytes = change.rate(change.bytes).map(|bytes| format!("{:.1}", bytes / 1e6));
    let said = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    writeln!(
        text,
        "{:>8.1}s  {:>5} {:>5} {:>5} {:>7} {:>7} {:>7} {:>9} {:>8} {:>8}",
        sample.at.saturating_sub(begin).as_secs_f64(),
        said(percent(placement.free)),
        said(percent(placement.held)),
        said(percent(placement.completed)),
        said(percent(placement.sockets)),
        said(count(placement.cq_depth)),
        said(count(placement.refill_depth)),
        said(megabytes),
        said(count(change.failures)),
        said(count(change.drops)),
    )
}

fn describe(event: &Event) -> String {
    let cause = |episode: &Episode| episode.cause().map_or("unknown", Cause::name);
    match event {
        Event::Began(episode) => {
            format!("episode begins: {}, cause {}", episode.trouble.name(), cause(episode))
        }
        Event::Reconsidered(episode) => format!("cause is rather {}", cause(episode)),
        Event::Ended(episode) => format!("episode has ended, cause {}", cause(episode)),
    }
}
