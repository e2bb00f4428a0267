//! Statistics that a receive thread collects about its ring: user space's side of the correlation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;

/// Statistics of one local queue. The cost of each does not grow with the size of a batch. Counters count from the start of
/// the receive thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingStatistics {
    /// Hold times: from the batch in which the worker reaped a buffer's completion until it published the buffer's entry.
    pub hold: Histogram,
    /// Refill entries that waited right after the worker published a batch.
    pub refill_depth: Histogram,
    /// Entries published at once.
    pub published: Histogram,
    /// Batches of returns that did not fit into the refill ring.
    pub refill_full: u64,
    /// Completions that waited when the worker began a batch.
    pub cq_depth: Histogram,
    /// Time for which the oldest held buffer has been held; `None` while no buffer is held.
    pub oldest_held: Option<Duration>,
    /// Times that zcrxd made the kernel consume the refill ring; `None` where the kernel does not support it.
    pub flushes: Option<u64>,
    /// Receives that ended because no buffer was free, and that the worker armed again.
    pub retries: u64,
    /// Failed attempts to connect to a sink's destination that the worker repeated.
    pub connect_retries: u64,
    /// Connections whose end no completion reported; the worker found it by polling the socket.
    pub unreported_ends: u64,
    /// Registrations of the queue: more than one where it failed and was registered again.
    pub registrations: u64,
    /// Time for which a wait polls the NIC before it sleeps; `None` without busy polling.
    pub busy_poll: Option<Duration>,
    /// Shortest time for which a wait gathers completions; `None` if the first one ends each wait.
    pub min_wait: Option<Duration>,
    /// Connections handed to the thread of another local queue, on which they arrive.
    pub handed_over: u64,
    /// Connections that arrive on a hardware queue that is not zcrxd's: the kernel copies their data, or cannot receive it.
    pub misplaced: u64,
    /// Bytes that TCP acknowledged to senders and that did not reach the sink's destination, or that it did not confirm.
    pub lost_bytes: u64,
    /// Connections refused because the area's budget for sockets was used up.
    pub refused_connections: u64,
    /// Most connections that the area's budget for sockets allows; `None` where sockets take nothing from the area.
    pub connection_limit: Option<u64>,
    /// Receive buffer of each connection's socket, bytes; `None` where the kernel sizes it.
    pub socket_buffer_bytes: Option<u64>,
    /// Data that waits for sinks.
    pub backlog: BacklogStatistics,
}

/// Data that waits for sinks, by the memory in which it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BacklogStatistics {
    /// Buffers that sinks hold because they have not finished with the data.
    pub held: u64,
    /// Number of buffers held by sinks above which zcrxd copies payload to ordinary memory; `None` without a limit.
    pub hold_limit: Option<u64>,
    /// Ordinary memory in use by copied payload, bytes.
    pub copy_out_bytes: u64,
    /// Limit of `copy_out_bytes`.
    pub copy_out_limit_bytes: u64,
    /// Payload copied to ordinary memory since the start, bytes.
    pub copied_out_bytes: u64,
    /// Payload that sinks sent from the area without a copy of zcrxd's, bytes.
    pub zero_copy_bytes: u64,
    /// Sends among them whose payload the kernel copied.
    pub zero_copy_copied: u64,
    /// Times that a connection reached its share of the buffers, so that zcrxd began to copy its payload.
    pub limit_reached: u64,
    /// Times that zcrxd stopped receiving from a connection, because the memory for copies was full too.
    pub pauses: u64,
    /// Connections from which zcrxd does not receive now for that reason.
    pub paused: u64,
}
