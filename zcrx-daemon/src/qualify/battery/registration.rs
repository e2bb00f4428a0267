//! Registers the queue, again and again.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::{Battery, POLL, RELEASE_LIMIT, Step, Stop};
use crate::check::Verdict;
use crate::qualify::report::QualifyReport;
use crate::receive::{QueueConfig, ReceiveError, Receiver, SinkConfig};

impl Battery<'_> {
    /// The queue can be registered, is then taken, and can be registered again once it is released.
    pub(super) fn registration(&mut self, report: &mut QualifyReport) -> Step {
        let first = self.receive(&SinkConfig::Verify)?;
        let second =
            QueueConfig { listen: vec![SocketAddr::new(self.here, 0)], ..self.config(SinkConfig::Verify) };
        match Receiver::start(vec![second]) {
            Err(error) => {
                let verdict = if is_taken(&error) { Verdict::Pass } else { Verdict::Warn };
                let found = match errno_of(&error).and_then(zcrx_uapi::errno::name) {
                    Some(name) => format!("refused with {name}"),
                    None => format!("refused: {error}"),
                };
                report.add("second_registration", verdict, found);
            }
            Ok(_) => report.add("second_registration", Verdict::Fail, "one queue was registered twice"),
        }
        drop(first);
        let begun = Instant::now();
        drop(self.receive(&SinkConfig::Verify)?);
        let after = begun.elapsed().as_millis();
        let (verdict, found) = match &self.refusals[..] {
            [] => (Verdict::Pass, format!("registers, and again {after} ms after its end")),
            [refusal] => (Verdict::Warn, format!("refused once, then registers: {refusal}")),
            [refusal, ..] => {
                let count = self.refusals.len();
                (Verdict::Warn, format!("refused {count} times, then registers; the first: {refusal}"))
            }
        };
        report.add("registration", verdict, found);
        Ok(())
    }

    /// Registers the queue, as soon as the kernel has released an earlier registration.
    pub(super) fn receive(&mut self, sink: &SinkConfig) -> Step<Receiver> {
        self.registered(&self.config(sink.clone()))
    }

    /// Likewise, with a configuration of its own.
    pub(super) fn registered(&mut self, queue: &QueueConfig) -> Step<Receiver> {
        let end = Instant::now() + RELEASE_LIMIT;
        loop {
            match Receiver::start(vec![queue.clone()]) {
                Ok(receiver) => return Ok(receiver),
                Err(_) if self.interrupted.load(Ordering::Relaxed) => return Err(Stop::Interrupted),
                Err(error) if Instant::now() >= end => return Err(error.into()),
                Err(error) if !is_taken(&error) => self.refusals.push(error.to_string()),
                Err(_) => {}
            }
            thread::sleep(POLL);
        }
    }
}

/// The errno of a registration that the kernel refused.
fn errno_of(error: &ReceiveError) -> Option<i32> {
    let ReceiveError::NoBackend { refused } = error else { return None };
    refused.first()?.errno
}

/// Whether the queue belongs to an earlier registration, which the kernel releases a little after its ring is closed.
fn is_taken(error: &ReceiveError) -> bool {
    matches!(errno_of(error), Some(libc::EEXIST | libc::EBUSY))
}
