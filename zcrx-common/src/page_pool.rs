//! Page pools, counted in the kernel by the page_pool tracepoints.

/// Largest number of pools counted separately at one time. Beyond that, events are lost and counted as lost.
pub const POOLS: u32 = 512;

/// The pool could be read: `id`, `ifindex` and `provider` mean something.
pub const HAS_ID: u32 = 1 << 0;
/// The pool's device could be read.
pub const HAS_IFINDEX: u32 = 1 << 1;
/// Whether there is a memory provider could be read.
pub const HAS_PROVIDER: u32 = 1 << 2;

/// One pool. The address alone could be used again by a later pool before its entry is gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Address of the kernel's `struct page_pool`.
    pub pool: u64,
    /// Netdev netlink id, 0 where this kernel's types lack it.
    pub id: u32,
    /// Keeps the key free of padding.
    pub reserved: u32,
}

/// What does not change during a pool's life.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Interface index, in the network namespace of the device.
    pub ifindex: u32,
    /// 1 if a memory provider (zcrx, devmem) feeds the pool.
    pub provider: u32,
    /// `HAS_*`.
    pub known: u32,
    /// Interface name at the pool's first event, zero-terminated.
    pub interface: [u8; 16],
}

/// Events of one pool on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// `page_pool_state_hold`: buffers the pool took in.
    pub held: u64,
    /// `page_pool_state_release`: buffers the pool gave up.
    pub released: u64,
}

const _: () = assert!(size_of::<Key>() == 16);
const _: () = assert!(size_of::<Identity>() == 28);
const _: () = assert!(size_of::<Count>() == 16);
