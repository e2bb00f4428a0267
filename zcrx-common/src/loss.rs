//! What the programs could not record: slots of the per-CPU array `LOST`.

/// A registration's details found the ring buffer full. The registration is counted all the same.
pub const REGISTRATION_EVENT: u32 = 0;
/// A registration's result found the table of results full.
pub const REGISTRATION_COUNT: u32 = 1;
/// A page-pool event belonged to a pool for which the table had no room.
pub const PAGE_POOL_EVENT: u32 = 2;
/// A record of a snapshot found the ring buffer full.
pub const SNAPSHOT_RECORD: u32 = 3;
/// An allocation could not be followed from entry to exit.
pub const ALLOCATION_CALL: u32 = 4;
/// An event of a queue for which the table had no room.
pub const QUEUE_EVENT: u32 = 5;
/// An outcome for which the table of one queue had no room.
pub const QUEUE_OUTCOME: u32 = 6;
/// A sampled buffer, or its queue, for which the table had no room.
pub const RESIDENCE_STAMP: u32 = 7;
/// A ring with queues for which the registry had no room.
pub const REGISTRY_RING: u32 = 8;
/// A process that holds a ring, or one whose files changed, for which the table had no room. The next snapshot walks all files.
pub const HOLDER_CHANGE: u32 = 9;
/// A socket of an owner for whose sum the table had no room.
pub const SOCKET_SUM: u32 = 10;
/// Number of slots.
pub const SLOTS: u32 = 11;

/// What each slot counts, in a word.
pub const NAMES: [&str; SLOTS as usize] = [
    "registration_event",
    "registration_count",
    "page_pool_event",
    "snapshot_record",
    "allocation_call",
    "queue_event",
    "queue_outcome",
    "residence_stamp",
    "registry_ring",
    "holder_change",
    "socket_sum",
];
