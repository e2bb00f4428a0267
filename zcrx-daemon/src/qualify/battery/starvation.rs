//! Starves the queue on purpose, and watches how it receives again.

use std::time::{Duration, Instant};

use super::{Battery, SMALL, Step, Stop, TRANSFER_LIMIT, sample_of, skips_for_steering};
use crate::check::Verdict;
use crate::qualify::consumer::Consumer;
use crate::qualify::counters::Counters;
use crate::qualify::peer::Transfer;
use crate::qualify::report::{QualifyReport, Restart};
use crate::receive::{Destination, Receiver, SinkConfig};

/// No byte for so long while a transfer runs: the queue is starved.
const STILL: Duration = Duration::from_secs(2);
/// How long a queue may take to receive again after its buffers are back.
const RESTART_LIMIT: Duration = Duration::from_secs(30);

impl Battery<'_> {
    /// A consumer that takes nothing: the queue starves. Then the consumer reads, and the queue has to go on.
    pub(super) fn starvation(&mut self, report: &mut QualifyReport) -> Step {
        if skips_for_steering(report, "starvation") {
            return Ok(());
        }
        let consumer = Consumer::start()?;
        let sink = SinkConfig::Forward(Destination::Unix(consumer.path()));
        let receiver = self.receive(&sink)?;
        let before = Counters::read(&self.target);
        let seed = 1;
        let bytes = 4 * self.area_bytes();
        self.peer.ask(Transfer { port: self.target.port, bytes, seed, verified: false })?;
        let Some(starved_at) = self.wait_until_still(&receiver)? else {
            report.add("starvation", Verdict::Skip, "the queue did not starve: everything arrived");
            return Ok(());
        };
        report.moved_counters = Counters::read(&self.target).since(&before);
        let (verdict, found) = match report.moved_counters.len() {
            _ if before.is_empty() => (
                Verdict::Skip,
                "unknown: neither ethtool -S nor the kernel reports counters of this queue".to_owned(),
            ),
            0 => (Verdict::Warn, "no counter changed: nothing reports the packets that were lost".to_owned()),
            moved => (Verdict::Pass, format!("{moved} counters changed (list below)")),
        };
        report.add("starvation_counted", verdict, found);
        consumer.open();
        let begun = Instant::now();
        let by_itself = self.wait(RESTART_LIMIT, |_| {
            Ok(sample_of(&receiver).is_some_and(|sample| sample.bytes > starved_at).then(|| begun.elapsed()))
        })?;
        if let Some(after) = by_itself {
            let after_ms = after.as_millis() as u64;
            report.restart = Some(Restart::ByItself { after_ms });
            let outcome = self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))?;
            return match outcome {
                Some(Ok(())) => {
                    let found =
                        format!("receives again by itself, {after_ms} ms after the first buffer came back");
                    report.add("restart", Verdict::Pass, found);
                    Ok(())
                }
                Some(Err(why)) => Err(Stop::Failed(format!("the transfer failed after the restart: {why}"))),
                None => Err(Stop::Failed("the transfer did not end after the restart".to_owned())),
            };
        }
        drop(receiver);
        // The transfer fails with its connection.
        self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))?;
        let receiver = self.receive(&SinkConfig::Verify)?;
        let again = self.transfer(SMALL.1, seed, true);
        drop(receiver);
        let (restart, verdict, found) = match again {
            Ok(()) => (
                Restart::ByRegistration,
                Verdict::Warn,
                "does not receive again although every buffer came back; a new registration revives it",
            ),
            Err(Stop::Interrupted) => return Err(Stop::Interrupted),
            Err(Stop::Failed(_)) => {
                (Restart::Never, Verdict::Fail, "does not receive again, not even after a new registration")
            }
        };
        report.restart = Some(restart);
        report.add("restart", verdict, found);
        Ok(())
    }

    /// Waits until nothing has arrived for a while although the transfer is not over. Returns the bytes received so far;
    /// `None` if the transfer ended.
    fn wait_until_still(&mut self, receiver: &Receiver) -> Step<Option<u64>> {
        let (mut seen, mut since) = (0, Instant::now());
        let still = self.wait(TRANSFER_LIMIT, |battery| {
            if let Some(outcome) = battery.peer.outcome()? {
                return outcome.map(|()| Some(None)).map_err(Stop::Failed);
            }
            let bytes = sample_of(receiver).map_or(0, |sample| sample.bytes);
            if bytes != seen {
                (seen, since) = (bytes, Instant::now());
            }
            Ok((seen > 0 && since.elapsed() >= STILL).then_some(Some(seen)))
        })?;
        still.ok_or_else(|| Stop::Failed("nothing arrived".to_owned()))
    }
}
