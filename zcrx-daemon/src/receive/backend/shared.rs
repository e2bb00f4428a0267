//! A queue that rings of several threads share (Linux 6.19): what a joining thread needs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::features::Features;
use crate::model::BackendKind;
use crate::receive::mapping::Mapping;
use crate::receive::pool::{Pool, Turn};
use crate::receive::refill::MappedRing;
use crate::receive::ring::Ring;
use zcrx_uapi::{ZcrxOffsets, register};

/// An exported queue. The kernel keeps it as long as this or a ring that joined is there.
#[derive(Clone)]
pub(in crate::receive) struct Shared {
    pub(super) exported: Arc<OwnedFd>,
    pub(super) kind: BackendKind,
    pub(super) features: Features,
    pub(super) flush_at: u32,
    /// By area id.
    pub(super) areas: Vec<Arc<Mapping>>,
    pub(super) region: Arc<Mapping>,
    pub(super) offsets: ZcrxOffsets,
    pub(super) refill: MappedRing,
    pub(super) buffer_bytes: u64,
    pub(super) turn: Turn,
}

impl Shared {
    /// The queue's backend.
    pub(in crate::receive) const fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Lets a ring, whose thread must be the calling one, receive into the queue. Returns the queue's id on that ring, and its pool.
    pub(super) fn join(&self, ring: &Ring) -> io::Result<(u32, Pool)> {
        let zcrx_id = register::zcrx_import(ring.fd(), self.exported.as_fd())?;
        let mut pool = Pool::of_several(self.refill.clone(), self.buffer_bytes, Arc::clone(&self.turn));
        for (id, area) in (0_u64..).zip(&self.areas) {
            pool.add_area(Arc::clone(area), id << zcrx_uapi::zcrx::IORING_ZCRX_AREA_SHIFT)
                .map_err(io::Error::other)?;
        }
        Ok((zcrx_id, pool))
    }
}
