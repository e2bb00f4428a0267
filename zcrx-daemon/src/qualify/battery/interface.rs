//! Takes the interface down and up under a transfer.

use std::thread;
use std::time::{Duration, Instant};

use super::{Battery, LARGE, Step, Stop, TRANSFER_LIMIT, judge, sample_of, skips_for_steering};
use crate::check::Verdict;
use crate::net;
use crate::qualify::peer::Transfer;
use crate::qualify::report::QualifyReport;
use crate::receive::SinkConfig;

/// How long the interface stays down.
const DOWN: Duration = Duration::from_millis(500);

impl Battery<'_> {
    /// The interface goes down in the middle of a transfer and comes back: the queue goes on by itself, and no byte is wrong.
    pub(super) fn interface_down(&mut self, report: &mut QualifyReport) -> Step {
        const NAME: &str = "interface_down";
        if !self.target.link {
            report.add(NAME, Verdict::Skip, "not requested (--link-down)");
            return Ok(());
        }
        if skips_for_steering(report, NAME) {
            return Ok(());
        }
        let receiver = self.receive(&SinkConfig::Verify)?;
        self.peer.ask(Transfer { port: self.target.port, bytes: LARGE, seed: 1, verified: true })?;
        let begun = self.wait(TRANSFER_LIMIT, |_| {
            Ok(sample_of(&receiver).filter(|sample| sample.bytes > 0).map(|sample| sample.bytes))
        })?;
        begun.ok_or_else(|| Stop::Failed("nothing arrived".to_owned()))?;
        let failed = |error: net::NetError| Stop::Failed(error.to_string());
        net::set_up(&self.target.interface, false).map_err(failed)?;
        thread::sleep(DOWN);
        net::set_up(&self.target.interface, true).map_err(failed)?;
        let (up, at) = (Instant::now(), sample_of(&receiver).map_or(0, |sample| sample.bytes));
        let again = self.wait(TRANSFER_LIMIT, |_| {
            let bytes = sample_of(&receiver).map_or(0, |sample| sample.bytes);
            Ok((bytes > at || bytes >= LARGE).then(|| up.elapsed().as_millis()))
        })?;
        let Some(after) = again else {
            return Err(Stop::Failed("the queue receives nothing after the interface came up".to_owned()));
        };
        match self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))? {
            Some(Ok(())) => {}
            Some(Err(why)) => return Err(Stop::Failed(format!("the transfer failed: {why}"))),
            None => {
                return Err(Stop::Failed("the transfer did not end after the interface came up".to_owned()));
            }
        }
        let sample = self.settle(&receiver)?;
        drop(receiver);
        judge(report, NAME, &sample, LARGE, &format!(", the first {after} ms after the interface came up"));
        Ok(())
    }
}
