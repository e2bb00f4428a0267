//! Verified traffic: zcrxd's own sender, round after round, with the daemon's own account after each.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::daemon::{Daemon, VERIFY};
use super::report::{Report, count, size};
use super::wait;
use xtask_tools::command::output;
use xtask_tools::scrape::Scrape;

/// Payload of the first round; the others are sized to take about a second.
const FIRST: u64 = 16 << 20;

/// Rounds stay below this, so that a fast machine does not send for long after the time is up.
const LARGEST: u64 = 8 << 30;

/// Sends for so long, and checks what arrived.
pub(super) fn run(daemon: &Daemon, time: Duration, report: &mut Report) -> Result<()> {
    let begin = Instant::now();
    let mut sent = 0;
    let mut round = FIRST;
    while begin.elapsed() < time {
        let round_begin = Instant::now();
        // Its exit says whether the verifier found every byte as it was sent.
        if let Err(error) = output(&mut daemon.send(round)) {
            report.check(false, || format!("{error:#}"));
            return Ok(());
        }
        let took = round_begin.elapsed().as_secs_f64();
        sent += round;
        let rate = round as f64 / took;
        let scrape = Scrape::fetch(daemon.web)?;
        let value = |name| scrape.queue(VERIFY, name).unwrap_or(0);
        println!(
            "{:4.0} s  {:>10} verified  {:>10}/s  {} bytes wrong  {} of {} buffers held",
            begin.elapsed().as_secs_f64(),
            size(value("zcrxd_receiver_verified_bytes_total")),
            size(rate as u64),
            value("zcrxd_receiver_mismatched_bytes_total"),
            value("zcrxd_receiver_held_buffers"),
            value("zcrxd_receiver_area_buffers"),
        );
        round = (rate as u64).clamp(1 << 20, LARGEST);
    }
    let took = begin.elapsed().as_secs_f64();
    // The last connection may still be closing.
    let mut account = (None, None);
    let right = wait(Duration::from_secs(5), || {
        let scrape = Scrape::fetch(daemon.web)?;
        account = (
            scrape.queue(VERIFY, "zcrxd_receiver_verified_bytes_total"),
            scrape.queue(VERIFY, "zcrxd_receiver_mismatched_bytes_total"),
        );
        Ok(account == (Some(sent), Some(0)) && scrape.queue(VERIFY, "zcrxd_receiver_connections") == Some(0))
    })?;
    report.check(right, || format!("{sent} bytes were sent; zcrxd says (verified, wrong): {account:?}"));
    report.say(
        "verified",
        format!(
            "{} bytes sent and found the same byte for byte, {}/s",
            count(sent),
            size((sent as f64 / took) as u64)
        ),
    );
    Ok(())
}
