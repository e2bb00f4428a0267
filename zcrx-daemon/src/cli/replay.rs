//! `zcrxd replay`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::diagnose::{Wall, exit, verdict};
use super::{Exit, complain, print};
use crate::diagnose::facts::{Change, Placement};
use crate::diagnose::{Event, replay};
use crate::export::recording::{Entry, Recording};
use crate::model::{Cause, Episode, QueueSample};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Recording of an episode
    file: PathBuf,
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
