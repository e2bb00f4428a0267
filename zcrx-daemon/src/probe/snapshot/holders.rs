//! Which processes hold a ring, from one walk to the next.
//!
//! The registry knows the thread that works for a ring, not the processes that hold a descriptor of it: a child after a fork, or a
//! process that was handed one. A walk finds them, over all processes or over one whose files changed; they stay known for as long as
//! they and the ring live.

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::{Assembly, Exits};
use super::process::lives;
use crate::model::Owner;

#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By address of ring or exported queue.
    by_ring: BTreeMap<u64, Vec<Owner>>,
    /// Processes whose files were read again for the present snapshot.
    changed: BTreeSet<u32>,
    /// Rings whose consumer had exited when last looked.
    exits: Exits,
}

impl Holders {
    /// Takes over what a walk found.
    pub(super) fn learn(&mut self, assembly: &Assembly) {
        self.by_ring = assembly.owners().clone();
        self.exits = assembly.exits();
        self.changed.clear();
    }

    /// Forgets what a process holds: its files are read again.
    pub(super) fn forget(&mut self, process: u32) {
        for owners in self.by_ring.values_mut() {
            owners.retain(|owner| owner.pid != process);
        }
        self.changed.insert(process);
    }

    /// Takes over what was found in the files that were read again. The registry names consumers without a descriptor.
    pub(super) fn learn_changed(&mut self, assembly: &Assembly) {
        if self.changed.is_empty() {
            return;
        }
        for (ring, owners) in assembly.owners() {
            let found = owners.iter().filter(|owner| self.changed.contains(&owner.pid) && owner.fd.is_some());
            self.by_ring.entry(*ring).or_default().extend(found.cloned());
        }
        self.changed.clear();
    }

    /// Adds the holders of rings that are still there, as far as they live.
    pub(super) fn add_to(&mut self, assembly: &mut Assembly) {
        self.by_ring.retain(|ring, _| assembly.has_ring(*ring));
        let mut living = BTreeMap::new();
        for (ring, owners) in &mut self.by_ring {
            owners.retain(|owner| *living.entry(owner.pid).or_insert_with(|| lives(owner.pid)));
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
