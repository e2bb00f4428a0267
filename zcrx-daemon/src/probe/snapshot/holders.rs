//! Which processes hold a ring, from one walk to the next.
//!
//! The registry knows the thread that works for a ring, not the processes that hold a descriptor of it: a child after a fork, or a
//! process that was handed one. A walk finds them; they stay known for as long as they and the ring live.

use std::collections::BTreeMap;
use std::path::Path;

use super::assemble::{Assembly, Exits};
use crate::model::Owner;

#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By address of ring or exported queue.
    by_ring: BTreeMap<u64, Vec<Owner>>,
    /// Rings whose consumer had exited when last looked.
    exits: Exits,
}

impl Holders {
    /// Takes over what a walk found.
    pub(super) fn learn(&mut self, assembly: &Assembly) {
        self.by_ring = assembly.owners().clone();
        self.exits = assembly.exits();
    }

    /// Adds the holders of rings that are still there, as far as they live.
    pub(super) fn add_to(&mut self, assembly: &mut Assembly) {
        self.by_ring.retain(|ring, _| assembly.has_ring(*ring));
        for (ring, owners) in &mut self.by_ring {
            owners.retain(|owner| Path::new("/proc").join(owner.pid.to_string()).exists());
            assembly.add_holders(*ring, owners);
        }
    }

    /// Whether the consumer of a ring has exited since the last call: then another process holds the ring, or the ring is about to
    /// end.
    pub(super) fn new_exits(&mut self, assembly: &Assembly) -> bool {
        let now = assembly.exits();
        let new = now.iter().any(|ring| !self.exits.contains(ring));
        self.exits = now;
        new
    }
}
