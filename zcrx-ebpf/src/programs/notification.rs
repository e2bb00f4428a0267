//! Notifications to the owner of a queue: an allocation failed, data was copied.
//!
//! The kernel comes here whenever it has reason to notify; it does so only if the owner asked for that kind, and once
//! until the owner arms it again.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use zcrx_common::event::NOTIFICATIONS;

use crate::{
    event,
    kernel::{has, offset, read},
};

#[fentry]
fn notification_fentry(ctx: FEntryContext) -> i32 {
    raised(ctx.arg::<*const u8>(0) as u64, ctx.arg::<u32>(1));
    0
}

#[kprobe]
fn notification_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ifq), Some(kind)) = (ctx.arg::<*const u8>(0), ctx.arg::<u32>(1)) {
        raised(ifq as u64, kind);
    }
    0
}

#[inline(always)]
fn raised(ifq: u64, kind: u32) {
    let events = event::of(ifq);
    if events.is_null() {
        return;
    }
    let last = NOTIFICATIONS as u32 - 1;
    let kind = if kind < last { kind } else { last };
    let open = if has(offset!(ifq_notifications_asked)) && has(offset!(ifq_notifications_sent)) {
        let asked: u32 = read(ifq, offset!(ifq_notifications_asked));
        asked & !read::<u32>(ifq, offset!(ifq_notifications_sent)) & (1 << kind)
    } else {
        0
    };
    // SAFETY: `kind` is within both arrays, which are fields of a map value.
    unsafe {
        event::add((&raw mut (*events).raised).cast::<u64>().add(kind as usize), 1);
        if open != 0 {
            event::add((&raw mut (*events).notified).cast::<u64>().add(kind as usize), 1);
        }
    }
}
