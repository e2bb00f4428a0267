//! The producer of the refill ring: user space's side.

use std::collections::VecDeque;

use super::RingMemory;
use zcrx_uapi::ZcrxRqe;

/// Returns buffers, and never loses one: entries that do not fit are stashed, in order, until there is room.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    /// Entries written, published or not.
    tail: u32,
    /// Entries that the consumer may see.
    published: u32,
    /// The last read head. Read again only when the ring looks full, because the consumer writes that cache line.
    head: u32,
    stash: VecDeque<ZcrxRqe>,
    /// Whether other producers write to the ring as well.
    shared: bool,
}

impl<M: RingMemory> Producer<M> {
    /// Creates the producer of a ring, at the ring's current tail.
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
    #[inline]
    pub fn push(&mut self, rqe: ZcrxRqe) {
        // While a stash exists, new entries join it: entries of one buffer then stay adjacent, and the kernel
        // coalesces them (Linux 7.3).
        if !self.shared && self.stash.is_empty() && self.has_room() {
            self.write(rqe);
        } else {
            self.stash.push_back(rqe);
        }
    }

    /// Publishes as many entries as fit, stashed ones included. Returns their number.
    pub fn publish(&mut self) -> u32 {
        if self.shared {
            // Other producers may have moved the tail meanwhile.
            self.tail = self.memory.tail_acquire();
            self.published = self.tail;
            // A producer that was idle while the ring wrapped around would mistake an old head for a new one.
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

    #[inline]
    fn has_room(&mut self) -> bool {
        let entries = self.memory.entries();
        if self.tail.wrapping_sub(self.head) < entries {
            return true;
        }
        self.head = self.memory.head_acquire();
        self.tail.wrapping_sub(self.head) < entries
    }

    #[inline]
    fn write(&mut self, rqe: ZcrxRqe) {
        self.memory.write(self.tail, rqe);
        self.tail = self.tail.wrapping_add(1);
    }
}
