//! Payload that is compared with the test pattern, with a verdict for the sender.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};
use serde::{Deserialize, Serialize};

use super::{Flow, Sink, SinkState, Step, Storage, is_transient};
use crate::receive::pattern::Verifier;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::worker::op::SinkOp;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::receive) struct Verify {
    verifier: Verifier,
    /// The verdict's line, once the stream has ended.
    verdict: Option<Vec<u8>>,
    /// Bytes of the line that are sent.
    sent: usize,
    #[serde(skip)]
    sending: bool,
}

impl Verify {
    /// Whether a state from outside this process can be one of this type.
    pub(super) fn is_sound(&self) -> bool {
        self.verifier.is_sound() && self.sent <= self.verdict.as_ref().map_or(0, Vec::len)
    }
}

impl Sink for Verify {
    fn consume(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow {
        let checked = self.verifier.update(storage.pool.bytes(&buffer));
        storage.verified.bytes += checked.compared;
        storage.verified.mismatched += checked.mismatched;
        storage.pool.give_back(buffer);
        Flow::Continue
    }

    fn finish(&mut self) {
        if self.verdict.is_none() {
            self.verdict = Some(format!("{}\n", self.verifier.verdict()).into_bytes());
        }
    }

    fn next(&mut self, socket: RawFd, _pool: &Pool) -> Option<(squeue::Entry, SinkOp)> {
        let rest = self.verdict.as_ref().map(|line| &line[self.sent..]).filter(|rest| !rest.is_empty())?;
        if self.sending {
            return None;
        }
        let send = opcode::Send::new(types::Fd(socket), rest.as_ptr(), rest.len() as u32);
        self.sending = true;
        Some((send.flags(libc::MSG_NOSIGNAL).build(), SinkOp::Write))
    }

    fn completed(&mut self, _op: SinkOp, result: i32, _storage: &mut Storage<'_>) -> Step {
        self.sending = false;
        match usize::try_from(result) {
            Ok(bytes) => self.sent += bytes,
            Err(_) if is_transient(result) => {}
            Err(_) => return Step::Failed(-result),
        }
        Step::Continue
    }

    fn state(&self) -> Option<SinkState> {
        Some(SinkState::Verify(Box::new(self.clone())))
    }

    fn is_done(&self) -> bool {
        !self.sending && self.verdict.as_ref().is_some_and(|line| self.sent >= line.len())
    }
}
