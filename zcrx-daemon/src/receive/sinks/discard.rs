//! Sink that discards payload and returns each buffer at once.

use std::os::fd::RawFd;

use io_uring::squeue;

use super::{Flow, Sink, SinkState, Step, Storage};
use crate::receive::pool::{Buffer, Pool};
use crate::receive::worker::op::SinkOp;

#[derive(Default)]
pub(in crate::receive) struct Discard {
    finished: bool,
}

impl Sink for Discard {
    #[inline]
    fn consume(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow {
        storage.pool.give_back(buffer);
        Flow::Continue
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    fn next(&mut self, _socket: RawFd, _pool: &Pool) -> Option<(squeue::Entry, SinkOp)> {
        None
    }

    fn completed(&mut self, _op: SinkOp, _result: i32, _storage: &mut Storage<'_>) -> Step {
        Step::Continue
    }

    fn state(&self) -> Option<SinkState> {
        Some(SinkState::Discard { finished: self.finished })
    }

    fn is_done(&self) -> bool {
        self.finished
    }
}

impl Discard {
    /// A sink whose stream has ended, or not.
    pub(super) const fn new(finished: bool) -> Self {
        Self { finished }
    }
}
