//! Takes the interface down and up under a transfer.

use std::thread;
use std::time::{Duration, Instant};

use super::{Battery, LARGE, Step, Stop, TRANSFER_LIMIT, judge, sample_of, skips_for_steering};
use crate::check::Verdict;
use crate::net;
use crate::qualify::peer::{TRANSFER_BYTES, Transfer};
use crate::qualify::report::QualifyReport;
use crate::receive::{Receiver, SinkConfig};

const NAME: &str = "interface_down";
/// How long the interface stays down.
const DOWN: Duration = Duration::from_millis(500);

impl Battery<'_> {
    /// The interface goes down in the middle of a transfer and comes back: the queue goes on by itself, and no byte is wrong.
    pub(super) fn interface_down(&mut self, report: &mut QualifyReport) -> Step {
        if !self.target.link_down {
            report.add(NAME, Verdict::Skip, "not requested (--link-down)");
            return Ok(());
        }
        if skips_for_steering(report, NAME) {
            return Ok(());
        }
        let receiver = self.receive(&SinkConfig::Verify)?;
        // A fast NIC is through with a small transfer before the interface is down.
        let (mut bytes, mut sent) = (LARGE, LARGE);
        let mut after = self.over_interface_down(&receiver, bytes)?;
        while after.is_none() && bytes < TRANSFER_BYTES {
            bytes = (16 * bytes).min(TRANSFER_BYTES);
            after = self.over_interface_down(&receiver, bytes)?;
            sent += bytes;
        }
        let sample = self.settle(&receiver)?;
        drop(receiver);
        match after {
            Some(after) => {
                let note = format!(", the first {after} ms after the interface came up");
                judge(report, NAME, &sample, sent, &note);
            }
            None => {
                report.add(NAME, Verdict::Warn, format!("unknown: {bytes} bytes arrived before it was down"));
            }
        }
        Ok(())
    }

    /// A transfer with the interface down for a while. Returns the milliseconds from up to the next
    /// byte; `None` if the transfer was over before the interface was down.
    fn over_interface_down(&mut self, receiver: &Receiver, bytes: u64) -> Step<Option<u128>> {
        let all = || sample_of(receiver).map_or(0, |sample| sample.bytes);
        let before = all();
        let received = || all() - before;
        self.peer.ask(Transfer { port: self.target.port, bytes, seed: 1, verified: true })?;
        let begun = self.wait(TRANSFER_LIMIT, |_| Ok((received() > 0).then_some(())))?;
        begun.ok_or_else(|| Stop::Failed("nothing arrived".to_owned()))?;
        let interface = &self.target.interface;
        net::set_up(interface, false).map_err(|error| Stop::Failed(error.to_string()))?;
        let at = received();
        thread::sleep(DOWN);
        net::set_up(interface, true).map_err(|error| {
            Stop::Failed(format!("{error}; {interface} is down: `ip link set dev {interface} up`"))
        })?;
        let up = Instant::now();
        let again =
            self.wait(TRANSFER_LIMIT, |_| Ok((received() > at || at >= bytes).then(|| up.elapsed())))?;
        let again = again.ok_or_else(|| {
            Stop::Failed("the queue receives nothing after the interface came up".to_owned())
        })?;
        match self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))? {
            Some(Ok(())) => Ok((at < bytes).then_some(again.as_millis())),
            Some(Err(why)) => Err(Stop::Failed(format!("the transfer failed: {why}"))),
            None => Err(Stop::Failed("the transfer did not end after the interface came up".to_owned())),
        }
    }
}
