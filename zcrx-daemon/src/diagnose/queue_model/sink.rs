//! A queue of zcrxd's own: what its sink does not take is held up to a limit, then copied out until the memory for copies is used up;
//! then zcrxd receives nothing.

use std::collections::BTreeMap;

use super::{BUFFER_BYTES, Queue};
use crate::model::{
    BackendKind, BacklogStatistics, QueueKey, QueueState, ReceiveSample, RingStatistics, Selection,
};

/// The sink of a queue of zcrxd's own.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Buffers that it may hold.
    pub hold_limit: u64,
    /// Buffers whose payload may be copied to ordinary memory.
    pub copies: u64,
    /// Whether its destination reads.
    pub takes: bool,
}

impl Queue {
    /// Whether zcrxd has stopped to receive, because its sink takes nothing.
    pub fn paused(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| !sink.takes && self.state.copied_out >= sink.copies)
    }

    /// Of so many buffers that zcrxd could return, those that it does.
    pub(super) fn taken_by_sink(&mut self, done: u64) -> u64 {
        let Some(sink) = self.sink.as_ref().filter(|sink| !sink.takes) else { return done };
        let room = sink.copies - self.state.copied_out.min(sink.copies);
        let copied = self.state.held.saturating_sub(sink.hold_limit).min(room);
        self.state.copied_out += copied;
        copied
    }

    /// What zcrxd says of its queue.
    pub(super) fn local(&self, sink: &Sink) -> ReceiveSample {
        let state = &self.state;
        let held = state.held + state.completed;
        let backlog = BacklogStatistics {
            held: state.held,
            hold_limit: Some(sink.hold_limit),
            copy_out_bytes: if sink.takes { 0 } else { state.copied_out * BUFFER_BYTES },
            copy_out_limit_bytes: sink.copies * BUFFER_BYTES,
            copied_out_bytes: state.copied_out * BUFFER_BYTES,
            pauses: u64::from(self.paused()),
            paused: if self.paused() { 4 } else { 0 },
            ..BacklogStatistics::default()
        };
        ReceiveSample {
            key: QueueKey { interface: Some("eth0".to_owned()), queue: 3 },
            ifindex: Some(2),
            selection: Selection { backend: Some(BackendKind::Device), refused: Vec::new() },
            state: QueueState::Running,
            state_reason: String::new(),
            listen: Vec::new(),
            sink: "forward".to_owned(),
            sink_destination: Some("10.0.0.9:7000".to_owned()),
            area_bytes: self.buffers * BUFFER_BYTES,
            buffer_bytes: BUFFER_BYTES,
            buffers: self.buffers,
            dispensed: state.ledger.returned + held,
            returned: state.ledger.returned,
            reclaimed: 0,
            stashed: state.stashed,
            refill_capacity: self.refill_entries as u32,
            refill_depth: state.pending as u32,
            cq_capacity: self.cq_entries as u32,
            cq_depth: state.completed as u32,
            cq_overflows: 0,
            bytes: state.bytes,
            copied_bytes: None,
            zcrx: None,
            completions: u64::from(state.cq_head.wrapping_sub(u32::MAX - 1000)),
            errors: BTreeMap::new(),
            accept_errors: BTreeMap::new(),
            sink_errors: BTreeMap::new(),
            rearms: 0,
            starvations: None,
            starving: None,
            accepted: 4,
            connections: 4,
            verified_bytes: 0,
            mismatched_bytes: 0,
            workers: Vec::new(),
            ring: Some(RingStatistics { backlog, ..RingStatistics::default() }),
        }
    }
}
