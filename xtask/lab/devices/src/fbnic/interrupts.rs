//! Interrupt causes and masks. Cause and vector have the same number.

use super::csr::{
    INTR_CLEAR, INTR_CQ_REARM, INTR_CQ_REARM_UNMASK, INTR_MASK_CLEAR, INTR_MASK_SET, INTR_SET,
    INTR_SW_AC_MODE,
};
use super::{Fbnic, VECTORS};

/// Causes that are there, and those that may not interrupt.
#[derive(Debug)]
pub(super) struct Interrupts {
    status: u32,
    mask: u32,
}

impl Default for Interrupts {
    fn default() -> Self {
        Self { status: 0, mask: u32::MAX }
    }
}

impl Interrupts {
    /// Causes.
    pub(super) fn status(&self) -> u32 {
        self.status
    }

    /// Masked causes.
    pub(super) fn mask(&self) -> u32 {
        self.mask
    }
}

impl Fbnic {
    /// Raises what may be raised. The device masks a cause when it fires, and clears it unless software is to do that.
    fn deliver_interrupts(&mut self) {
        let pending = self.interrupts.status & !self.interrupts.mask;
        for vector in 0..VECTORS {
            if pending >> vector & 1 == 1 {
                self.interrupts.mask |= 1 << vector;
                if self.register(INTR_SW_AC_MODE) >> vector & 1 == 1 {
                    self.interrupts.status &= !(1 << vector);
                }
                self.port.raise(usize::from(vector));
            }
        }
    }

    /// A cause has come up.
    pub(super) fn fire(&mut self, vector: u32) {
        if vector < u32::from(VECTORS) {
            self.interrupts.status |= 1 << vector;
            self.deliver_interrupts();
        }
    }

    /// Handles a write if it is to a register of interrupts.
    pub(super) fn write_interrupt_register(&mut self, index: usize, value: u32) -> bool {
        match index {
            INTR_SET => self.interrupts.status |= value,
            INTR_CLEAR => self.interrupts.status &= !value,
            INTR_MASK_SET => self.interrupts.mask |= value,
            INTR_MASK_CLEAR => self.interrupts.mask &= !value,
            _ if INTR_CQ_REARM.contains(&index) && index.is_multiple_of(4) => {
                let vector = (index - INTR_CQ_REARM.start()) / 4;
                if value & INTR_CQ_REARM_UNMASK != 0 && vector < usize::from(VECTORS) {
                    self.interrupts.mask &= !(1 << vector);
                }
            }
            _ => return false,
        }
        self.deliver_interrupts();
        true
    }
}
