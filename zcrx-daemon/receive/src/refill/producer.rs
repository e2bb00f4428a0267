//! The user side of the refill ring.

use std::collections::VecDeque;

use super::RingMemory;
use zcrx_uapi::ZcrxRqe;

/// Gives buffers back, and never loses one: what does not fit is stashed, in order, until there is room.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    /// Entries written, published or not.
    tail: u32,
    /// Entries the consumer may see.
    published: u32,
    /// The head as last read. Read again only when the ring looks full: the consumer writes that cache line.
    head: u32,
    stash: VecDeque<ZcrxRqe>,
    /// Whether others write to the ring as well.
    shared: bool,
}

impl<M: RingMemory> Producer<M> {
    /// Takes the producer's side of a ring, wherever its tail stands.
    pub fn new(memory: M) -> Self {
        let tail = memory.tail_acquire();
        let head = memory.head_acquire();
        Self { memory, tail, published: tail, head, stash: VecDeque::new(), shared: false }
    }

    /// Creates one of several producers of a ring. Such a producer writes its entries when it publishes them. Only one
    /// producer may publish at a time, and must see all writes of the one before: callers of [`Self::publish`] hold a lock.
    pub fn of_several(memory: M) -> Self {
        Self { shared: true, ..Self::new(memory) }
    }

    /// Whether there is anything to publish.
    pub fn is_idle(&self) -> bool {
        self.stash.is_empty() && self.tail == self.published
    }

    /// Adds an entry, which the consumer sees after the next [`Self::publish`].
    pub fn push(&mut self, rqe: ZcrxRqe) {
        // Behind a stash an entry must queue up as well: entries of one buffer stay adjacent, which the kernel
        // rewards by coalescing them (Linux 7.3).
        if !self.shared && self.stash.is_empty() && self.has_room() {
            self.write(rqe);
        } else {
            self.stash.push_back(rqe);
        }
    }

    /// Shows the consumer everything there is room for, stashed entries included; says how many entries it was.
    pub fn publish(&mut self) -> u32 {
        if self.shared {
            // Others have moved it meanwhile.
            self.tail = self.memory.tail_acquire();
            self.published = self.tail;
            // One that was idle while the others went round would take an old head for a new one.
            self.head = self.memory.head_acquire();
        }
        while !self.stash.is_empty() && self.has_room() {
            if let Some(rqe) = self.stash.pop_front() {
                self.write(rqe);
            }
        }
        let fresh = self.tail.wrapping_sub(self.published);
        if fresh > 0 {
            self.memory.tail_release(self.tail);
            self.published = self.tail;
        }
        fresh
    }

    /// Entries that wait for room.
    pub fn stashed(&self) -> usize {
        self.stash.len()
    }

    /// Published entries that the kernel has not consumed yet.
    pub fn depth(&self) -> u32 {
        if self.shared {
            // Head first: the consumer never passes the tail.
            let head = self.memory.head_acquire();
            return self.memory.tail_acquire().wrapping_sub(head);
        }
        self.published.wrapping_sub(self.memory.head_acquire())
    }

    /// The ring's memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    fn has_room(&mut self) -> bool {
        let entries = self.memory.entries();
        if self.tail.wrapping_sub(self.head) < entries {
            return true;
        }
        self.head = self.memory.head_acquire();
        self.tail.wrapping_sub(self.head) < entries
    }

    fn write(&mut self, rqe: ZcrxRqe) {
        self.memory.write(self.tail, rqe);
        self.tail = self.tail.wrapping_add(1);
    }
}
