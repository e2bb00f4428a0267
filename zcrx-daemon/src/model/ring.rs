//! What a receive thread measures of its ring: the user half of the correlation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;

/// Figures of one local queue, each at a cost that does not grow with the size of a batch. Counters count from the start
/// of the receive thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingStatistics {
    /// How long a buffer was held: from the batch its completion was reaped in until its entry was published.
    pub hold: Histogram,
    /// Refill entries that waited right after a batch of them was published.
    pub refill_depth: Histogram,
    /// Entries published at once.
    pub published: Histogram,
    /// Batches that left entries over, because the refill ring was full.
    pub refill_full: u64,
    /// Completions found waiting when a batch was begun.
    pub cq_depth: Histogram,
    /// How long the buffer that is held longest has been held; `None` while none is.
    pub oldest_held: Option<Duration>,
    /// Times the kernel was told to consume the refill ring; `None` where it cannot be told.
    pub flushes: Option<u64>,
    /// Receives that ended for want of a buffer and were armed again.
    pub retries: u64,
    /// Times that a sink's destination could not be connected to, and was tried again.
    pub connect_retries: u64,
    /// Connections that had ended without a completion to say so, and were found by looking.
    pub unreported_ends: u64,
    /// Times that the queue was registered: more than once where it failed and came back.
    pub registrations: u64,
    /// How long a wait polls the NIC before it sleeps; `None` where it does not.
    pub busy_poll: Option<Duration>,
    /// Connections handed to the thread of another own queue, on which they arrive.
    pub handed_over: u64,
    /// Connections that arrive on a hardware queue that is no own one: they are copied, or cannot be received.
    pub misplaced: u64,
    /// Bytes that senders were told have arrived and that were not delivered, or not confirmed by the sink's destination.
    pub lost_bytes: u64,
    /// Connections refused because the area's budget for sockets was used up.
    pub refused_connections: u64,
    /// Most connections that the area's budget for sockets allows; `None` where sockets take nothing from the area.
    pub connection_limit: Option<u64>,
    /// Receive buffer of each connection's socket, bytes; `None` where the kernel sizes it.
    pub socket_buffer_bytes: Option<u64>,
    /// What waits for sinks.
    pub backlog: BacklogStatistics,
}

/// What sinks keep waiting, and where it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BacklogStatistics {
    /// Buffers that sinks hold because they have not done with their data yet.
    pub held: u64,
    /// So many of them, together, and data is copied out instead; `None` without a limit.
    pub hold_limit: Option<u64>,
    /// Memory in use by data that was copied out, bytes.
    pub copy_out_bytes: u64,
    /// The most that may be in use, bytes.
    pub copy_out_limit_bytes: u64,
    /// Data copied out since the start, bytes.
    pub copied_out_bytes: u64,
    /// Times that a connection reached its share of the buffers, so that its data began to be copied out.
    pub limit_reached: u64,
    /// Times that a connection was not received from any more, because copies had no room either.
    pub pauses: u64,
    /// Connections that are not received from now, for that reason.
    pub paused: u64,
}
