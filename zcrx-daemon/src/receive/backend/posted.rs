//! The buffers that the kernel may fill next: the software queue's receive descriptors.
//!
//! An io_uring provided-buffer ring plays the part of a NIC's receive ring. So a buffer is taken when data is there,
//! not when a connection begins to wait for it, and a thousand idle connections hold none.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::super::mapping::Mapping;
use super::super::ring::Ring;
use super::super::software::Niov;

/// The buffer group's id; there is one per ring.
pub(super) const GROUP: u16 = 0;

/// Most buffers posted at once, as NIC receive rings have by default.
const MAX_POSTED: u32 = 1024;

/// Posted buffers.
#[derive(Debug)]
pub(super) struct Posted {
    /// `struct io_uring_buf` times the number of slots; the tail lies in the padding of the first.
    memory: Mapping,
    /// The buffer posted in each slot. A slot's index is the buffer's id.
    slots: Vec<Option<Niov>>,
    count: usize,
    tail: u16,
}

impl Posted {
    /// Registers a ring for at most half the area's buffers: the other half can be held by user space meanwhile.
    pub(super) fn register(ring: &Ring, niovs: u32) -> io::Result<Self> {
        let slots = (niovs / 2).clamp(1, MAX_POSTED);
        let slots = 1 << slots.ilog2();
        let memory = Mapping::new(slots * size_of::<BufRingEntry>())?;
        // SAFETY: the memory holds that many entries, is page-aligned, and outlives the ring's requests: the owner
        // of both drops it only after they have ended.
        unsafe { ring.submitter().register_buf_ring_with_flags(memory.address(), slots as u16, GROUP, 0) }?;
        Ok(Self { memory, slots: vec![None; slots], count: 0, tail: 0 })
    }

    /// Whether another buffer can be posted: the next slot's buffer has been taken.
    pub(super) fn has_room(&self) -> bool {
        self.slots[self.index()].is_none()
    }

    /// Buffers posted.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The id of the buffer that was posted after this one.
    pub(super) fn after(&self, id: u16) -> u16 {
        id.wrapping_add(1) & (self.slots.len() - 1) as u16
    }

    /// The slot that is next.
    fn index(&self) -> usize {
        usize::from(self.tail) & (self.slots.len() - 1)
    }

    /// Adds a buffer, which the kernel sees after [`Self::commit`]. Returns it if there is no room.
    pub(super) fn post(&mut self, niov: Niov, address: u64, bytes: u32) -> Result<(), Niov> {
        if !self.has_room() {
            return Err(niov);
        }
        let index = self.index();
        // SAFETY: the index is below the number of entries, all of which are inside the mapping; the kernel reads an
        // entry only between the tail's move behind it and its completion, when its buffer is taken. Of entry 0 only
        // the three fields before the tail are written.
        unsafe {
            let entry = self.memory.start().cast::<BufRingEntry>().add(index).as_mut();
            entry.set_addr(address);
            entry.set_len(bytes);
            entry.set_bid(index as u16);
        }
        self.slots[index] = Some(niov);
        self.count += 1;
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Shows the kernel what was posted.
    pub(super) fn commit(&self) {
        self.shared_tail().store(self.tail, Ordering::Release);
    }

    /// Takes the buffer that a completion names.
    pub(super) fn take(&mut self, id: u16) -> Option<Niov> {
        let niov = self.slots.get_mut(usize::from(id))?.take()?;
        self.count -= 1;
        Some(niov)
    }

    fn shared_tail(&self) -> &AtomicU16 {
        let first = self.memory.start().cast::<BufRingEntry>();
        // SAFETY: the mapping begins with the first entry, initialised with zeroes; the tail in it is 2-byte aligned
        // and only this code writes it; the kernel only reads it.
        unsafe {
            let tail = BufRingEntry::tail(first.as_ptr()).cast_mut().cast::<AtomicU16>();
            NonNull::new_unchecked(tail).as_ref()
        }
    }
}
