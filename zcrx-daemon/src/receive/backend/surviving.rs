//! A hardware queue that outlives its process (Linux 6.19): the next zcrxd continues it.
//!
//! The kernel keeps an exported queue as long as its descriptor is open, and the NIC writes to its area meanwhile. The area and the
//! refill ring lie in memory files. When no buffer is with user space, these three descriptors are the whole queue; payload in
//! sockets belongs to the kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::any::AnyBackend;
use super::features::Features;
use super::shared::Shared;
use crate::model::BackendKind;
use crate::receive::config::QueueConfig;
use crate::receive::mapping::Mapping;
use crate::receive::pool::{Pool, Turn};
use crate::receive::refill::{MappedRing, RingMemory};
use crate::receive::ring::Ring;
use zcrx_uapi::ZcrxOffsets;

/// Number of descriptors of a queue.
const DESCRIPTORS: usize = 3;

/// Sizes of a queue, in plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::receive) struct QueueState {
    /// Index of the interface.
    ifindex: u32,
    /// What the configuration asked for: with other values, the next zcrxd needs another queue.
    configured: Configured,
    head: u32,
    tail: u32,
    rqes: u32,
    entries: u32,
    flush_at: u32,
    buffer_bytes: u64,
    area_bytes: usize,
    region_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Configured {
    area_bytes: u64,
    area_max_bytes: u64,
    buffer_bytes: u64,
    refill_entries: u32,
    workers: u32,
}

/// A queue outside of any ring.
#[derive(Debug)]
pub(in crate::receive) struct SurvivingQueue {
    state: QueueState,
    exported: OwnedFd,
    area: OwnedFd,
    region: OwnedFd,
}

impl QueueState {
    /// Number of descriptors that go with a state.
    pub(in crate::receive) const DESCRIPTORS: usize = DESCRIPTORS;

    /// Index of the interface.
    pub(in crate::receive) const fn ifindex(self) -> u32 {
        self.ifindex
    }

    /// Whether a queue with this configuration would be the same.
    pub(in crate::receive) fn suits(self, config: &QueueConfig) -> bool {
        self.configured == Configured::of(config)
    }
}

impl Configured {
    const fn of(config: &QueueConfig) -> Self {
        Self {
            area_bytes: config.area_bytes,
            area_max_bytes: config.area_max_bytes,
            buffer_bytes: config.buffer_bytes,
            refill_entries: config.refill_entries,
            workers: config.workers,
        }
    }
}

impl AnyBackend {
    /// Whether the queue can outlive its process.
    pub(in crate::receive) fn can_survive(&self, pool: &Pool) -> bool {
        matches!(self, Self::Zcrx(zcrx) if zcrx.is_mappable(pool))
    }

    /// Exports the queue for the next zcrxd.
    pub(in crate::receive) fn survive(
        &self,
        ring: &Ring,
        pool: &Pool,
        config: &QueueConfig,
        ifindex: u32,
    ) -> io::Result<SurvivingQueue> {
        let missing = || io::Error::from(io::ErrorKind::Unsupported);
        let Self::Zcrx(zcrx) = self else { return Err(missing()) };
        let (offsets, region, flush_at) = zcrx.refill_layout();
        let area = pool.first_area().ok_or_else(missing)?;
        let state = QueueState {
            ifindex,
            configured: Configured::of(config),
            head: offsets.head,
            tail: offsets.tail,
            rqes: offsets.rqes,
            entries: pool.refill_memory().entries(),
            flush_at,
            buffer_bytes: pool.buffer_bytes(),
            area_bytes: area.bytes(),
            region_bytes: region.bytes(),
        };
        Ok(SurvivingQueue {
            state,
            exported: zcrx.export(ring)?,
            area: area.file().ok_or_else(missing)?.try_clone_to_owned()?,
            region: region.file().ok_or_else(missing)?.try_clone_to_owned()?,
        })
    }
}

impl SurvivingQueue {
    /// The state, and the descriptors in the order of [`Self::from_parts`].
    pub(in crate::receive) fn into_parts(self) -> (QueueState, Vec<OwnedFd>) {
        (self.state, vec![self.exported, self.area, self.region])
    }

    /// A queue of these parts; `None` without all descriptors.
    pub(in crate::receive) fn from_parts(state: QueueState, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let [exported, area, region] = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors).ok()?;
        Some(Self { state, exported, area, region })
    }

    /// Sizes of the queue.
    pub(in crate::receive) const fn state(&self) -> QueueState {
        self.state
    }

    /// Maps the queue's memory, for a ring that joins the queue.
    pub(in crate::receive) fn open(self) -> io::Result<Shared> {
        let state = self.state;
        let area = Mapping::of_file(self.area, state.area_bytes)?;
        let region = Arc::new(Mapping::of_file(self.region, state.region_bytes)?);
        let offsets =
            ZcrxOffsets { head: state.head, tail: state.tail, rqes: state.rqes, ..ZcrxOffsets::default() };
        let refill =
            MappedRing::new(Arc::clone(&region), &offsets, state.entries).map_err(io::Error::other)?;
        if state.buffer_bytes == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Shared {
            exported: Arc::new(self.exported),
            kind: BackendKind::Device,
            features: Features::ask(),
            flush_at: state.flush_at,
            areas: vec![Arc::new(area)],
            region,
            offsets,
            refill,
            buffer_bytes: state.buffer_bytes,
            turn: Turn::default(),
        })
    }
}
