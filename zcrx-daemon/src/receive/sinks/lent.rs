//! Buffers that the kernel still sends from.
//!
//! A send without a copy ends when the socket has taken the payload. The kernel reads the buffers until the destination has
//! acknowledged them, and then reports that in a second completion, the notification.

use std::collections::VecDeque;

use crate::receive::pool::Buffer;

/// Largest number of sends of one connection whose notification is outstanding.
pub(super) const SENDS: usize = 16;

/// Sends without a notification yet, and buffers that they may use.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Number of the latest send, counted from 1.
    latest: u64,
    /// Numbers of the sends whose notification is outstanding.
    sends: [Option<u64>; SENDS],
    /// Buffers that were sent to their end, with the number of the latest send at that time, oldest first.
    buffers: VecDeque<(u64, Buffer)>,
}

impl Lent {
    /// Begins a send. Returns its slot; `None` if too many notifications are outstanding.
    pub(super) fn begin(&mut self) -> Option<u8> {
        let slot = self.sends.iter().position(Option::is_none)?;
        self.latest += 1;
        self.sends[slot] = Some(self.latest);
        Some(slot as u8)
    }

    /// Ends the send in that slot: the kernel does not use its buffers any more.
    pub(super) fn end(&mut self, slot: u8) {
        self.sends[usize::from(slot)] = None;
    }

    /// Takes a buffer that was sent to its end.
    pub(super) fn lend(&mut self, buffer: Buffer) {
        self.buffers.push_back((self.latest, buffer));
    }

    /// Returns a buffer that no send uses any more. A buffer waits for all sends that began before its end was sent: several sends
    /// may have taken a part of it, and their notifications arrive in any order.
    pub(super) fn take_free(&mut self) -> Option<Buffer> {
        let oldest = self.sends.iter().flatten().min();
        self.buffers
            .pop_front_if(|(latest, _)| oldest.is_none_or(|oldest| *latest < *oldest))
            .map(|(_, buffer)| buffer)
    }

    /// Takes a buffer whether the kernel uses it or not. It must not be returned to the kernel.
    pub(super) fn take_any(&mut self) -> Option<Buffer> {
        self.buffers.pop_front().map(|(_, buffer)| buffer)
    }

    /// Number of outstanding notifications.
    pub(super) fn sends(&self) -> u32 {
        self.sends.iter().flatten().count() as u32
    }
}
