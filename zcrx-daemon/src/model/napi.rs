//! NAPI, the kernel's instance that polls a receive queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bits of `napi_struct.state` (`enum` in include/linux/netdevice.h), with the same numbers since Linux 5.12.
mod bit {
    pub(super) const SCHEDULED: u32 = 1 << 0;
    pub(super) const DISABLED: u32 = 1 << 2;
    pub(super) const BUSY_POLLED: u32 = 1 << 6;
    pub(super) const THREADED: u32 = 1 << 8;
}

/// What a NAPI instance did at the moment of the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NapiState {
    /// Whether it is scheduled: it polls now, or will as soon as a CPU takes it up. Otherwise it waits for an interrupt.
    pub scheduled: bool,
    /// Whether the driver has disabled it, as it does while a queue restarts or the interface is down.
    pub disabled: bool,
    /// Whether a program busy-polls it now.
    pub busy_polled: bool,
    /// Whether it polls in a kernel thread, and not in a softirq.
    pub threaded: bool,
    /// For how long a program that busy-polls may keep its interrupts off; zero for not at all. Linux 6.13.
    pub irq_suspend: Option<Duration>,
}

impl NapiState {
    /// What the kernel's bits mean.
    pub const fn of_bits(bits: u32) -> Self {
        Self {
            scheduled: bits & bit::SCHEDULED != 0,
            disabled: bits & bit::DISABLED != 0,
            busy_polled: bits & bit::BUSY_POLLED != 0,
            threaded: bits & bit::THREADED != 0,
            irq_suspend: None,
        }
    }
}
