//! Registers, numbered in 32-bit words as in the driver's `fbnic_csr.h`.

use std::ops::RangeInclusive;

pub(super) const INTR_STATUS: usize = 0x00;
pub(super) const INTR_MASK: usize = 0x08;
pub(super) const INTR_SET: usize = 0x10;
pub(super) const INTR_CLEAR: usize = 0x18;
pub(super) const INTR_SW_AC_MODE: usize = 0x28;
pub(super) const INTR_MASK_SET: usize = 0x30;
pub(super) const INTR_MASK_CLEAR: usize = 0x38;
pub(super) const INTR_CQ_REARM: RangeInclusive<usize> = 0x400..=0x7fe;
pub(super) const INTR_CQ_REARM_UNMASK: u32 = 1 << 31;

/// Registers that report whether queues are idle. Queues are always idle, because the device completes each access at once.
pub(super) const IDLE: [RangeInclusive<usize>; 7] =
    [0x800..=0x807, 0x821..=0x824, 0x830..=0x837, 0x853..=0x85a, 0xc00..=0xc03, 0xc0f..=0xc12, 0xc13..=0xc16];

pub(super) const PTP_TIME_HIGH: usize = 0x4808;
pub(super) const PTP_TIME_LOW: usize = 0x4809;

pub(super) const PAUSE_DROP_CTRL: usize = 0x8008;
/// Protection against pause storms, of the network's interface.
pub(super) const PAUSE_STORM_ENABLE: u32 = 1 << 24;
pub(super) const PAUSE_STORM: usize = 0x8019;
pub(super) const PAUSE_STORM_FORCE_NORMAL: u32 = 1 << 20;
/// Time of continuous pause that makes a storm, in units of 10 microseconds.
pub(super) const PAUSE_STORM_TIME: u32 = 0xf_ffff;
/// Frames dropped because the buffer for frames from the network was full.
pub(super) const RXB_DROPPED_FRAMES: usize = 0x8057;
/// Pause storms of the network's interface.
pub(super) const PAUSE_STORMS: usize = 0x80e9;

pub(super) const RPC_RMI_CONFIG: usize = 0x8400;
pub(super) const RPC_RMI_ENABLE: u32 = 1 << 12;
pub(super) const RPC_RSS_KEY: usize = 0x840c;
pub(super) const RPC_RSS_KEY_WORDS: usize = 14;
pub(super) const RPC_ACTION: usize = 0x8800;
pub(super) const RPC_TCAM_ACT: usize = 0x8880;
pub(super) const RPC_TCAM_MACDA: usize = 0x8b80;
pub(super) const RPC_TCAM_IPSRC: usize = 0x8c90;
pub(super) const RPC_TCAM_IPDST: usize = 0x8cd8;
pub(super) const RPC_RSS_TABLE: usize = 0x8d20;
pub(super) const RPC_RSS_TABLE_SIZE: usize = 0x100;

/// Link, block lock and alignment of all lanes.
pub(super) const SIG_PCS_OUT0: usize = 0x1_1808;
pub(super) const PCS_LINK_AND_LOCKS: u32 = 1 << 27 | 0x1ff_fffe;
pub(super) const SIG_PCS_OUT1: usize = 0x1_1809;
pub(super) const PCS_FEC_LOCKS: u32 = 0xf00;

const PCS_CONTROL: usize = 0x1_0000;
const PCS_STATUS: usize = 0x1_0001;
const PCS_BLOCK_LOCK: usize = 0x1_0020;
/// Registers of the PCS that the driver reads through its MDIO bus.
pub(super) const READ_ONLY: [usize; 3] = [PCS_CONTROL, PCS_STATUS, PCS_BLOCK_LOCK];

/// Registers of queue triads, one block for each.
pub(super) const QUEUES_AT: usize = 0x4_0000;
pub(super) const QUEUE_STRIDE: usize = 0x400;

/// Registers within a triad's block.
pub(super) mod queue {
    pub(crate) const RESET: u32 = 1 << 0;
    pub(crate) const ENABLE: u32 = 1 << 1;

    pub(crate) const TWQ0_CTL: usize = 0x000;
    pub(crate) const TWQ0_TAIL: usize = 0x002;
    pub(crate) const TWQ0_SIZE: usize = 0x00a;
    pub(crate) const TWQ0_BASE: usize = 0x020;
    pub(crate) const TCQ_CTL: usize = 0x080;
    pub(crate) const TCQ_SIZE: usize = 0x084;
    pub(crate) const TCQ_BASE: usize = 0x0a0;
    pub(crate) const TIM_CTL: usize = 0x0c0;
    pub(crate) const RCQ_CTL: usize = 0x200;
    pub(crate) const RCQ_HEAD: usize = 0x201;
    pub(crate) const RCQ_SIZE: usize = 0x204;
    pub(crate) const RCQ_BASE: usize = 0x220;
    pub(crate) const BDQ_CTL: usize = 0x240;
    pub(crate) const BDQ_HPQ_TAIL: usize = 0x241;
    pub(crate) const BDQ_PPQ_TAIL: usize = 0x242;
    pub(crate) const BDQ_HPQ_SIZE: usize = 0x247;
    pub(crate) const BDQ_PPQ_SIZE: usize = 0x248;
    pub(crate) const BDQ_HPQ_BASE: usize = 0x260;
    pub(crate) const BDQ_PPQ_BASE: usize = 0x262;
    pub(crate) const RDE_CTL0: usize = 0x2a0;
    pub(crate) const RDE_CTL1: usize = 0x2a1;
    pub(crate) const RDE_PKT_CNT: usize = 0x2a2;
    pub(crate) const RDE_CQ_DROP_CNT: usize = 0x2a4;
    pub(crate) const RDE_BDQ_DROP_CNT: usize = 0x2a5;
    pub(crate) const RIM_CTL: usize = 0x2c0;
}

/// Registers after power-on: a link of 100 Gbit/s.
pub(super) fn after_power_on(words: usize) -> Vec<u32> {
    let mut registers = vec![0; words];
    registers[PCS_CONTROL] = 0x2050;
    registers[PCS_STATUS] = 4;
    registers[PCS_BLOCK_LOCK] = 0x1001;
    registers
}

/// Some bits of a number, shifted down.
pub(super) fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & ((1 << (high - low + 1)) - 1)
}
