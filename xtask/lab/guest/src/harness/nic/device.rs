//! The emulated device behind a driver: its faults and its own counters, in the lab's capability of configuration space.
//!
//! The registers are described in `xtask/lab/devices/src/port/lab.rs`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::driver::Driver;
use crate::harness::scenario::Skip;

const CAPABILITIES: u64 = 0x34;
const VENDOR_SPECIFIC: u8 = 9;
const SELECT: u64 = 16;
const VALUE: u64 = 20;

/// One function's configuration space.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    /// Offset of the lab's capability.
    at: u64,
}

impl Device {
    /// The device of the receiving end.
    pub(super) fn receiving() -> Result<Self> {
        let devices = Driver::of_this_guest()?.devices()?;
        Self::open(&devices.first().context("the driver has no device")?.join("config"))
    }

    fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let byte = |at: u64| -> Result<u8> {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(byte[0])
        };
        let mut at = byte(CAPABILITIES)?;
        while at != 0 && byte(u64::from(at))? != VENDOR_SPECIFIC {
            at = byte(u64::from(at) + 1)?;
        }
        ensure!(at != 0, "{} has no capability of the lab's", path.display());
        Ok(Self { file, at: u64::from(at) })
    }

    fn write(&self, register: u64, value: u32) -> Result<()> {
        let written = self.file.write_all_at(&value.to_le_bytes(), self.at + register);
        written.context("cannot write to a device's configuration")
    }

    /// One of its counters for a receive queue.
    pub(super) fn counter(&self, queue: u32, counter: u32) -> Result<u64> {
        self.write(SELECT, queue << 16 | counter)?;
        let mut value = [0; 4];
        let read = self.file.read_exact_at(&mut value, self.at + VALUE);
        read.context("cannot read a device's configuration")?;
        Ok(u64::from(u32::from_le_bytes(value)))
    }

    /// Sets one of its faults.
    pub(super) fn set_fault(&self, name: &str, value: &str) -> Result<()> {
        let register = match name {
            "lose_split_every" => 4,
            "drop_every" => 8,
            "interrupt_delay_us" => 12,
            other => bail!(Skip(format!("emulated devices have no fault {other}"))),
        };
        self.write(register, value.parse().with_context(|| format!("{value} is no number"))?)
    }
}
