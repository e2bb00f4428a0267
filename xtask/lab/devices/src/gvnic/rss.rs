//! Receive-side scaling: a table from hashes to queues.

use super::admin::Status;
use super::{Gvnic, QUEUES};
use crate::bytes::{be16, be32, be64};
use crate::wire::Frame;

/// Most entries that a table may have.
const MOST_ENTRIES: u64 = 1024;

/// Key and table. An empty table sends everything to queue 0.
#[derive(Debug, Default)]
pub(super) struct Rss {
    key: Vec<u8>,
    table: Vec<u32>,
}

impl Rss {
    /// The hash of a frame's flow; never 0, which means that there is none.
    pub(super) fn hash(&self, frame: &Frame) -> u32 {
        frame.flow_hash(&self.key).max(1)
    }

    /// The queue that the table names.
    pub(super) fn queue(&self, frame: &Frame) -> usize {
        let entry = (self.hash(frame) as usize).checked_rem(self.table.len());
        entry.map_or(0, |entry| self.table[entry] as usize % QUEUES)
    }
}

impl Gvnic {
    /// Takes a key, a table, or both; what has no length stays as it is.
    pub(super) fn configure_rss(&mut self, fields: &[u8]) -> Status {
        let (key_bytes, entries) = (u64::from(be16(fields, 4)), u64::from(be16(fields, 6)));
        if entries > MOST_ENTRIES {
            return Status::OutOfRange;
        }
        let key = self.command_memory(be64(fields, 8), key_bytes);
        let table = self.command_memory(be64(fields, 16), 4 * entries);
        let (Some(key), Some(table)) = (key, table) else { return Status::InvalidArgument };
        if !key.is_empty() {
            self.rss.key = key;
        }
        if !table.is_empty() {
            self.rss.table = table.chunks(4).map(|entry| be32(entry, 0)).collect();
        }
        Status::Passed
    }
}
