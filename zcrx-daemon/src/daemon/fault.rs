//! Deliberate faults, with which tests show that zcrxd and systemd notice and react.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::sources::Sources;

/// Fault that SIGUSR1 triggers, selected by the hidden option `--fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// The first receive thread stops making progress.
    HangReceiveThread,
    /// The ring of the first receive thread fails.
    BreakRing,
    /// The thread that reads the probes stops making progress.
    HangSampler,
}

/// Makes the sampler hang while it is set.
#[derive(Default)]
pub(super) struct Trap(AtomicBool);

impl Trap {
    pub(super) fn wait_while_set(&self) {
        while self.0.load(Ordering::Acquire) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Fault {
    pub(super) fn trigger(self, sources: &Sources, trap: &Trap) {
        tracing::warn!("triggering the fault of --fault: {self:?}");
        match self {
            Self::HangReceiveThread => sources.hang(),
            Self::BreakRing => sources.break_ring(),
            Self::HangSampler => trap.0.store(true, Ordering::Release),
        }
    }
}
