//! Faults on purpose: how a test sees that somebody notices, and what is done then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::sources::Sources;

/// What SIGUSR1 breaks, if zcrxd was started to be broken (`--fault`, which `--help` does not show).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// The first receive thread goes no further.
    HangReceiveThread,
    /// The first receive thread's ring is a ring no more.
    BreakRing,
    /// The thread that reads the probes goes no further.
    HangSampler,
}

/// Whether the sampler is to hang.
#[derive(Default)]
pub(super) struct Trap(AtomicBool);

impl Trap {
    pub(super) fn step_in(&self) {
        while self.0.load(Ordering::Acquire) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Fault {
    pub(super) fn happen(self, sources: &Sources, trap: &Trap) {
        tracing::warn!("a fault on purpose: {self:?}");
        match self {
            Self::HangReceiveThread => sources.hang(),
            Self::BreakRing => sources.break_ring(),
            Self::HangSampler => trap.0.store(true, Ordering::Release),
        }
    }
}
