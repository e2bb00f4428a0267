//! One starvation, from its cause to its end.

use std::time::Duration;

use anyhow::Result;

use super::daemon::{Daemon, FORWARD};
use super::report::{Report, count, size};
use super::stream::{self, Reader};
use super::wait;
use xtask_tools::scrape::Scrape;

/// More than the area and every socket buffer between sender and reader hold.
const BYTES: u64 = 96 << 20;

/// How long each phase may take.
const PATIENCE: Duration = Duration::from_secs(30);

const STARVATIONS: &str = "zcrxd_receiver_starvations_total";
const STARVING: &str = "zcrxd_receiver_starving";
const HELD: &str = "zcrxd_receiver_held_buffers";
const BUFFERS: &str = "zcrxd_receiver_area_buffers";

/// Sends to a reader that does not read until every buffer is held, then lets it read.
pub(super) fn run(daemon: &Daemon, reader: Reader, report: &mut Report) -> Result<()> {
    let before = Scrape::fetch(daemon.web)?.queue(FORWARD, STARVATIONS).unwrap_or(0);
    let sender = stream::send(daemon.forward, BYTES);

    let mut seen = String::new();
    let mut held = None;
    let starved = wait(PATIENCE, || {
        let scrape = Scrape::fetch(daemon.web)?;
        let value = |name| scrape.queue(FORWARD, name);
        held = value(HELD);
        seen = format!(
            "{} of {} buffers held, {STARVING} {}, {STARVATIONS} {}",
            shown(held),
            shown(value(BUFFERS)),
            shown(value(STARVING)),
            shown(value(STARVATIONS))
        );
        let all_held = held.is_some() && held == value(BUFFERS);
        Ok(all_held && value(STARVING) == Some(1) && value(STARVATIONS) > Some(before))
    })?;
    println!("The reader does not read: {seen}");
    report.check(starved, || format!("no starvation came in {} s: {seen}", PATIENCE.as_secs()));

    reader.open();
    let arrived = wait(PATIENCE, || Ok(reader.bytes() == BYTES))?;
    let recovered = wait(PATIENCE, || {
        let scrape = Scrape::fetch(daemon.web)?;
        let value = |name| scrape.queue(FORWARD, name);
        seen = format!("{} buffers held, {STARVING} {}", shown(value(HELD)), shown(value(STARVING)));
        Ok(value(HELD) == Some(0) && value(STARVING) == Some(0))
    })?;
    println!("It reads again: {} arrived, {seen}", size(reader.bytes()));
    let read = reader.bytes();
    report.check(arrived, || format!("{read} of {BYTES} bytes came out of the starved queue"));
    report.check(recovered, || format!("the queue did not recover: {seen}"));
    if let Err(error) = reader.end() {
        report.check(false, || format!("{error:#}"));
    }
    if arrived && let Err(error) = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))? {
        report.check(false, || format!("{error:#}"));
    }
    report.say(
        "starvation",
        format!("all {} buffers held by a reader that stood still; recovered when it read on", shown(held)),
    );
    report.say("forwarded", format!("{} bytes, the same byte for byte", count(read)));
    Ok(())
}

/// A metric's value, or that there is none.
fn shown(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), count)
}
