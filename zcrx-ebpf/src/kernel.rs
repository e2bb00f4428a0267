//! Reads fields of kernel structures at the offsets that user space found.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_loop, bpf_task_pt_regs,
    generated::{bpf_probe_read_kernel, bpf_probe_read_user},
};
use zcrx_common::{
    offsets::{ABSENT, Offsets},
    registration::{REGISTER_ZCRX_IFQ, SYSCALL_IO_URING_REGISTER},
};

/// Written by user space and frozen before the programs are loaded.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::NONE;

/// The offset of a field, [`ABSENT`] where this kernel has none.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: a read of an initialised static. Volatile, because what the compiler sees (all absent) is
        // not what the kernel will see.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$field) }
    }};
}
pub(crate) use offset;

/// Whether this kernel has the field.
#[inline(always)]
pub(crate) fn has(offset: u32) -> bool {
    offset != ABSENT
}

/// Reads a `T` from kernel memory at `base + offset`; all zeroes where the field is absent or the address
/// cannot be read. `T` must be valid for every byte pattern.
///
/// The helper's result is not looked at: it clears the destination when it fails, and one branch less for
/// each field keeps the verifier's work bounded.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(base: u64, offset: u32) -> T {
    if offset == ABSENT {
        return T::default();
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is `size_of::<T>()` bytes of our stack, and the helper initialises all of it,
    // with zeroes if `base + offset` faults.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + u64::from(offset)) as *const c_void,
        );
        value.assume_init()
    }
}

/// Reads a `T` from the current task's memory into `value` and says whether it could; all zeroes if not. `T`
/// must be valid for every byte pattern.
///
/// Not an `Option`: the compiler leaves the payload of `None` unwritten and may still move it about, which the
/// verifier takes for a read of something uninitialised.
#[inline(always)]
pub(crate) fn read_user<T: Copy>(address: u64, value: &mut T) -> bool {
    // SAFETY: the destination is `size_of::<T>()` bytes that the caller lent; a fault is reported, not taken.
    unsafe {
        bpf_probe_read_user((&raw mut *value).cast(), size_of::<T>() as u32, address as *const c_void) == 0
    }
}

/// If the current task is inside `io_uring_register(_, IORING_REGISTER_ZCRX_IFQ, arg, _)`: `arg`, else 0.
///
/// It is read from the registers saved when the task entered the kernel, so it needs no probe on the way.
/// Not for raw tracepoints: needs a kernel with type information.
#[inline(always)]
pub(crate) fn registration_argument() -> u64 {
    if !has(offset!(syscall_number)) || !has(offset!(syscall_arg1)) || !has(offset!(syscall_arg2)) {
        return 0;
    }
    // SAFETY: both helpers take and return pointers that the verifier tracks; the current task always has
    // saved registers while it is in a system call.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let number: u32 = read(registers, offset!(syscall_number));
    let opcode: u64 = read(registers, offset!(syscall_arg1));
    // The top bit says that the ring is a registered one.
    if number != SYSCALL_IO_URING_REGISTER || opcode as u32 & 0x7fff_ffff != REGISTER_ZCRX_IFQ {
        return 0;
    }
    read(registers, offset!(syscall_arg2))
}

/// The current task's network namespace, 0 if it cannot be read.
#[inline(always)]
pub(crate) fn current_net() -> u64 {
    // SAFETY: the helper has no preconditions; its result is read only through probe reads.
    let task = unsafe { bpf_get_current_task() };
    let namespaces: u64 = read(task, offset!(task_nsproxy));
    read(namespaces, offset!(nsproxy_net))
}

/// What the current task may do, 0 if it cannot be read.
#[inline(always)]
pub(crate) fn current_credentials() -> u64 {
    // SAFETY: as in `current_net`.
    read(unsafe { bpf_get_current_task() }, offset!(task_credentials))
}

/// Whether the kernel lets a task with these credentials register interface queues: it demands `CAP_NET_ADMIN` in the initial user
/// namespace. `None` if this kernel's types do not describe credentials.
#[inline(always)]
pub(crate) fn may_register(credentials: u64) -> Option<bool> {
    if !has(offset!(credentials_capabilities)) || !has(offset!(user_namespace_level)) || credentials == 0 {
        return None;
    }
    let capabilities: u64 = read(credentials, offset!(credentials_capabilities));
    let namespace: u64 = read(credentials, offset!(credentials_namespace));
    Some(capabilities & CAP_NET_ADMIN != 0 && read::<u32>(namespace, offset!(user_namespace_level)) == 0)
}

/// `CAP_NET_ADMIN` as a bit of a set of capabilities.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// Levels of nodes that are looked through: 262,144 ids.
const LEVELS: u32 = 3;
/// Ids that these levels hold.
pub(crate) const MOST_IDS: u64 = 1 << (6 * LEVELS);
/// Entries of an xarray's node, less one.
const SLOT_MASK: u64 = 63;
/// Entries below this are marks of the xarray's own (reserved, retry), not nodes.
const LEAST_NODE: u64 = 4096;

/// The entry of an xarray with that index, 0 if there is none, and how many indexes the empty place where the search ended stands for
/// (1 if there is an entry).
#[inline(always)]
pub(crate) fn find_entry(head: u64, index: u64) -> (u64, u64) {
    let mut entry = head;
    let mut span = 1_u64;
    for level in 0..LEVELS {
        // A node is marked by 2 in its low bits.
        if entry & 3 != 2 || entry < LEAST_NODE {
            // Without any node there is a lone entry, of index 0.
            if level == 0 && index != 0 {
                return (0, 1);
            }
            break;
        }
        let node = entry - 2;
        let shift = u64::from(read::<u8>(node, offset!(xa_node_shift))) & SLOT_MASK;
        if level == 0 && index >> shift > SLOT_MASK {
            return (0, 1);
        }
        span = 1 << shift;
        entry = read(node + (index >> shift & SLOT_MASK) * 8, offset!(xa_node_slots));
    }
    if entry & 3 == 0 && entry != 0 { (entry, 1) } else { (0, span) }
}

/// A ring's queue by its id, 0 if it has none (or the id is beyond [`MOST_IDS`]).
#[inline(always)]
pub(crate) fn find_queue(ring: u64, id: u32) -> u64 {
    find_entry(read(ring, offset!(ring_queues)), u64::from(id)).0
}

/// Reads a `u64` at a constant offset from a pointer whose type the verifier knows: a plain load, which costs nothing beside a
/// probe read.
///
/// # Safety
/// `base` must come from the context of a program that the kernel passes typed pointers, and have a field of that size there.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "the offset is that of an aligned field")]
pub(crate) unsafe fn load(base: *const u8, offset: u32) -> u64 {
    // SAFETY: the caller's promise; the kernel handles a fault.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<u64>()) }
}

/// Buckets of a namespace's hash table of interfaces (`NETDEV_HASHENTRIES`).
const BUCKETS: u32 = 256;
/// Interfaces of one bucket that are looked at.
const MOST_INTERFACES: u32 = 64;

#[repr(C)]
struct InterfaceWalk {
    /// Link of the next device.
    link: u64,
    ifindex: u32,
    /// Keeps the structure free of padding.
    reserved: u32,
    /// The device, once found.
    found: u64,
}

/// The device with that index in a namespace, 0 if there is none.
#[inline(always)]
pub(crate) fn find_interface(net: u64, ifindex: u32) -> u64 {
    if !has(offset!(netdev_index_link)) || !has(offset!(net_interfaces)) || !has(offset!(netdev_ifindex)) {
        return 0;
    }
    let table: u64 = read(net, offset!(net_interfaces));
    let bucket = table + u64::from(ifindex % BUCKETS) * 8;
    let mut walk = InterfaceWalk { link: read(bucket, 0), ifindex, reserved: 0, found: 0 };
    // SAFETY: the callback gets the context that it was written for, which outlives the loop.
    unsafe { bpf_loop(MOST_INTERFACES, visit_interface as *mut c_void, (&raw mut walk).cast(), 0) };
    walk.found
}

unsafe extern "C" fn visit_interface(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `find_interface` passes this context.
    let walk = unsafe { &mut *context.cast::<InterfaceWalk>() };
    if walk.link == 0 {
        return 1;
    }
    let netdev = walk.link - u64::from(offset!(netdev_index_link));
    if read::<u32>(netdev, offset!(netdev_ifindex)) == walk.ifindex {
        walk.found = netdev;
        return 1;
    }
    // The first word of a `struct hlist_node` is the next one.
    walk.link = read(walk.link, 0);
    0
}
