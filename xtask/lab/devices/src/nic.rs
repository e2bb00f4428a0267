//! What a kind of NIC has to provide, and two of a kind wired to each other.

use std::sync::{Mutex, PoisonError};

use crate::port::Port;
use crate::wire::Frame;

/// Number of PCI base address registers.
pub(crate) const BARS: usize = 6;

/// One emulated NIC. All offsets and data come from the guest; nothing that it sends may panic.
pub(crate) trait Nic: Send + Sized {
    /// Sizes of the base address registers, bytes; 0 for those that are absent.
    const BARS: [u64; BARS];
    /// Size of configuration space, bytes.
    const CONFIG_SIZE: u64;
    /// MSI-X vectors.
    const VECTORS: u16;

    /// Makes a NIC after power-on; its MAC address ends with `number`.
    fn new(name: &'static str, number: u8) -> Self;
    /// The part that all kinds share.
    fn port(&mut self) -> &mut Port;
    /// Reads registers.
    fn read(&mut self, bar: usize, offset: usize, data: &mut [u8]);
    /// Writes registers.
    fn write(&mut self, bar: usize, offset: usize, data: &[u8]);
    /// Returns to the state after power-on, with the configuration that survives a reset.
    fn reset(&mut self);
    /// Takes the next frame from the transmit rings.
    fn transmit(&mut self) -> Option<Frame>;
    /// Whether the peer may send: a full NIC sends pause frames instead of dropping.
    fn has_room(&self) -> bool;
    /// Takes a frame from the wire.
    fn receive(&mut self, frame: &Frame);
    /// Notices that time has passed. Called after every access of the guest.
    fn tick(&mut self) {}
}

/// Two NICs on one wire.
#[derive(Debug)]
pub(crate) struct Pair<N>(Mutex<[N; 2]>);

impl<N: Nic> Pair<N> {
    /// Makes both.
    pub(crate) fn new() -> Self {
        Self(Mutex::new([N::new("a", 0xa), N::new("b", 0xb)]))
    }

    /// Calls a function with one of the NICs, then carries what both have to send.
    pub(crate) fn with<T>(&self, end: usize, call: impl FnOnce(&mut N) -> T) -> T {
        // A panic leaves a NIC at worst between two descriptors, which the guest sees as a broken device.
        let mut nics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = call(&mut nics[end]);
        let [a, b] = &mut *nics;
        a.tick();
        b.tick();
        while carry(a, b) | carry(b, a) {}
        answer
    }
}

/// Carries frames one way; whether there were any.
fn carry<N: Nic>(from: &mut N, to: &mut N) -> bool {
    let mut is_busy = false;
    while to.has_room()
        && let Some(frame) = from.transmit()
    {
        is_busy = true;
        if !to.port().drops_frame() {
            to.receive(&frame);
        }
    }
    is_busy
}
