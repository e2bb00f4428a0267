//! Queued requests.

use io_uring::{opcode, squeue};

use super::op::Op;

/// Requests that wait for submission, and the number of requests in flight.
///
/// Handlers of completions queue requests here and never touch the ring: a full submission queue, or a kernel that is short of
/// memory, delays requests but fails none.
#[derive(Default)]
pub(in crate::receive) struct Requests {
    pending: Vec<squeue::Entry>,
    in_flight: usize,
}

impl Requests {
    /// Queues a request. It counts as in flight until [`Self::ended`].
    ///
    /// # Safety
    /// What the request points to must stay valid until its last completion is reaped.
    pub(in crate::receive) unsafe fn push(&mut self, entry: squeue::Entry, op: Op) {
        self.in_flight += 1;
        self.pending.push(entry.user_data(op.encode()));
    }

    /// Queues the cancellation of a request.
    pub(in crate::receive) fn cancel(&mut self, op: Op) {
        let cancel = opcode::AsyncCancel::new(op.encode()).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(cancel, Op::Cancel) };
    }

    /// Counts the last completion of a request.
    pub(in crate::receive) const fn ended(&mut self) {
        self.in_flight -= 1;
    }

    /// Number of requests without their last completion.
    pub(in crate::receive) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Requests that wait for submission.
    pub(in crate::receive) const fn pending(&mut self) -> &mut Vec<squeue::Entry> {
        &mut self.pending
    }
}
