//! The kernel's own words for a failed registration.
//!
//! zcrx gives user space an errno only. Yet the core that opens the queue composes a message for netlink, and the
//! tracepoint sees it before it is dropped. All of netlink passes here: only what is said while the thread is inside
//! a registration is kept, for the registration's end to pick up.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_kernel_str},
    macros::{btf_tracepoint, map},
    maps::{LruHashMap, PerCpuArray},
    programs::BtfTracePointContext,
};
use zcrx_common::registration::Words;

use crate::kernel;

/// The last words, by pid and tid.
#[map]
static EXTACK_WORDS: LruHashMap<u64, Words> = LruHashMap::with_max_entries(256, 0);

/// Where words are put together: too long for the stack.
#[map]
static EXTACK_SCRATCH: PerCpuArray<Words> = PerCpuArray::with_max_entries(1, 0);

#[btf_tracepoint(function = "netlink_extack")]
fn extack_tp_btf(ctx: BtfTracePointContext) -> i32 {
    if kernel::registration_argument() == 0 {
        return 0;
    }
    let Some(words) = EXTACK_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own value of that size; the message is a string of the kernel's, and a bad address is
    // reported, not taken. The program does not interrupt itself.
    unsafe {
        let message = ctx.arg::<*const u8>(0);
        if bpf_probe_read_kernel_str((*words).as_mut_ptr().cast(), size_of::<Words>() as u32, message.cast())
            > 0
        {
            let _ = EXTACK_WORDS.insert(bpf_get_current_pid_tgid(), *words, 0);
        }
    }
    0
}

/// Forgets what was said to a thread before its registration begins.
#[inline(always)]
pub(crate) fn forget(thread: u64) {
    let _ = EXTACK_WORDS.remove(thread);
}

/// Moves what was said during the registration that `thread` ends now into `words`.
#[inline(always)]
pub(crate) fn take(thread: u64, words: &mut Words) {
    // SAFETY: the value is copied at once, and only this thread writes its entry.
    if let Some(said) = unsafe { EXTACK_WORDS.get(thread) } {
        *words = *said;
        let _ = EXTACK_WORDS.remove(thread);
    }
}
