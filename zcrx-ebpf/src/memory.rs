//! How maps get their memory.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;

/// Flag of hash maps whose entries come and go with queues and processes: an entry takes memory while it is there. A host without queues
/// does not pay for the most that a map may hold. The kernel's allocator for programs works in every context (Linux 6.1); it may have
/// nothing at hand for a moment, which the caller counts like a full map.
pub(crate) const ON_DEMAND: u32 = BPF_F_NO_PREALLOC;
