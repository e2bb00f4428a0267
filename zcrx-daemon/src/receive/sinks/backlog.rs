//! Limits of the payload that waits for a queue's sinks: in the area, in ordinary memory, in the sockets.

use crate::model::BacklogStatistics;

/// Overhead of one piece of copied payload, bytes: its entry in a list and its allocation.
const OVERHEAD: u64 = 96;

/// Where the next payload of a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the area: the sink holds the buffer.
    Area,
    /// In ordinary memory: zcrxd returns the buffer at once.
    Memory,
    /// In the area, and zcrxd pauses the connection: both limits are reached.
    Nowhere,
}

/// Buffers and memory that the sinks of one queue hold together, and their limits.
///
/// The NIC cannot use a buffer that a sink holds, so the sinks' share of the area is limited. zcrxd copies payload above the
/// limit to ordinary memory. When that is full too, zcrxd pauses the connection until its sink has caught up, and TCP's window
/// stops the sender. So a slow sink slows only its own connections.
#[derive(Debug)]
pub(in crate::receive) struct Backlog {
    /// Buffers; `u64::MAX` without a limit.
    hold_limit: u64,
    copy_out_limit: u64,
    held: u64,
    copied: u64,
}

impl Backlog {
    /// Limits in buffers of the area (`None`: all of them) and in bytes of ordinary memory.
    pub(in crate::receive) fn new(hold_limit: Option<u64>, copy_out_limit: u64) -> Self {
        Self { hold_limit: hold_limit.unwrap_or(u64::MAX), copy_out_limit, held: 0, copied: 0 }
    }

    /// Sets the limit after the area has grown.
    pub(in crate::receive) fn set_hold_limit(&mut self, hold_limit: Option<u64>) {
        self.hold_limit = hold_limit.unwrap_or(u64::MAX);
    }

    /// Buffers that sinks hold.
    pub(in crate::receive) const fn held(&self) -> u64 {
        self.held
    }

    /// Decides where the next `bytes` of a connection wait. `own` is the number of buffers that its sink holds already,
    /// `connections` the number of connections of the queue.
    ///
    /// The first half of the limit is open to any connection; above it, each connection may hold an equal share. Together the
    /// sinks hold less than twice the limit, and a stuck sink leaves the other sinks their shares.
    pub(super) fn place(&self, own: u64, connections: usize, bytes: usize) -> Place {
        let share = (self.hold_limit / (connections as u64).max(1)).max(1);
        if own < share || self.held < self.hold_limit / 2 {
            Place::Area
        } else if self.copied.saturating_add(charge(bytes)) <= self.copy_out_limit {
            Place::Memory
        } else {
            Place::Nowhere
        }
    }

    /// Records that a sink holds another buffer.
    pub(super) const fn hold(&mut self) {
        self.held += 1;
    }

    /// Records that a sink has returned a buffer.
    pub(super) const fn release(&mut self) {
        self.held -= 1;
    }

    /// Records that payload of this length was copied to ordinary memory.
    pub(super) const fn copy(&mut self, bytes: usize) {
        self.copied += charge(bytes);
    }

    /// Records that a copy of this length was freed.
    pub(super) const fn free(&mut self, bytes: usize) {
        self.copied -= charge(bytes);
    }

    /// Publishes the current state in the statistics.
    pub(in crate::receive) fn publish(&self, statistics: &mut BacklogStatistics) {
        statistics.held = self.held;
        statistics.hold_limit = (self.hold_limit < u64::MAX).then_some(self.hold_limit);
        statistics.copy_out_bytes = self.copied;
        statistics.copy_out_limit_bytes = self.copy_out_limit;
    }
}

const fn charge(bytes: usize) -> u64 {
    bytes as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_connection_fills_the_area_share_then_memory_then_pauses() {
        let mut backlog = Backlog::new(Some(8), 2 * charge(100));
        for own in 0..8 {
            assert_eq!(backlog.place(own, 1, 100), Place::Area);
            backlog.hold();
        }
        for _ in 0..2 {
            assert_eq!(backlog.place(8, 1, 100), Place::Memory);
            backlog.copy(100);
        }
        assert_eq!(backlog.place(8, 1, 100), Place::Nowhere);
        backlog.free(100);
        assert_eq!(backlog.place(8, 1, 100), Place::Memory);
        backlog.release();
        assert_eq!(backlog.place(7, 1, 100), Place::Area);
    }

    #[test]
    fn stuck_sink_leaves_the_others_their_share() {
        let mut backlog = Backlog::new(Some(100), 0);
        let mut stuck = 0;
        while backlog.place(stuck, 10, 1) == Place::Area {
            backlog.hold();
            stuck += 1;
        }
        assert_eq!(stuck, 50);
        for other in 0..9 {
            for own in 0..10 {
                assert_eq!(backlog.place(own, 10, 1), Place::Area, "{other}");
                backlog.hold();
            }
            assert_eq!(backlog.place(10, 10, 1), Place::Nowhere);
        }
        assert!(backlog.held < 200);
    }

    #[test]
    fn more_connections_than_buffers_still_hold_one_each() {
        assert_eq!(Backlog::new(Some(0), 0).place(0, 1000, 1), Place::Area);
        assert_eq!(Backlog::new(Some(0), 0).place(1, 1000, 1), Place::Nowhere);
    }

    #[test]
    fn grown_area_raises_the_limit() {
        let mut backlog = Backlog::new(Some(1), 0);
        backlog.hold();
        assert_eq!(backlog.place(1, 1, 1), Place::Nowhere);
        backlog.set_hold_limit(Some(2));
        assert_eq!(backlog.place(1, 1, 1), Place::Area);
    }
}
