//! One starvation, from its cause to its end.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::daemon::{Daemon, FORWARD};
use super::report::{Report, count, size};
use super::stream::{self, Reader};
use super::wait;
use xtask_tools::scrape::Scrape;

/// More than the area and every socket buffer between sender and reader hold.
const BYTES: u64 = 96 << 20;

/// How long each phase may take.
const PHASE_LIMIT: Duration = Duration::from_secs(30);

/// What zcrxd may call a destination that does not read: the sink blocks, so the owner of the buffers is slow.
const EXPECTED_CAUSES: [&str; 2] = ["sink_blocked", "slow_consumer"];

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
    let starved = wait(PHASE_LIMIT, || {
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
    report.check(starved, || format!("no starvation came in {} s: {seen}", PHASE_LIMIT.as_secs()));

    if starved {
        diagnose(daemon, report)?;
    }

    reader.open();
    let arrived = wait(PHASE_LIMIT, || Ok(reader.bytes() == BYTES))?;
    let recovered = wait(PHASE_LIMIT, || {
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

/// Waits until zcrxd names a cause, prints its verdict and compares it with what the demo did.
fn diagnose(daemon: &Daemon, report: &mut Report) -> Result<()> {
    let begin = Instant::now();
    let mut first = None;
    let right = wait(PHASE_LIMIT, || {
        first = daemon.first_cause(FORWARD)?;
        Ok(first.as_deref().is_some_and(|cause| EXPECTED_CAUSES.contains(&cause)))
    })?;
    let took = begin.elapsed();
    println!("\nWhat the person on call sees:\n");
    daemon.print_diagnosis(FORWARD)?;
    println!();
    let named = first.unwrap_or_else(|| "no cause".to_owned());
    report.check(right, || {
        format!("the demo blocked the destination of the sink; zcrxd names {named} as the first cause")
    });
    report.say("verdict", format!("{named}, {:.1} s after the queue starved", took.as_secs_f64()));
    Ok(())
}

/// A metric's value, or that there is none.
fn shown(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), count)
}
