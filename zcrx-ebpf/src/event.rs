//! Counts of each queue, and what the probes on calls share.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use zcrx_common::{
    event::{Call, Events, OUTCOMES, Outcome, QUEUES, life::SLOTS},
    loss::{QUEUE_EVENT, QUEUE_OUTCOME},
};

pub(crate) use crate::atomic::add;
use crate::{atomic::claim, loss, memory::ON_DEMAND};

#[map]
static QUEUE_EVENTS: HashMap<u64, Events> = HashMap::with_max_entries(QUEUES, ON_DEMAND);

/// What the map begins an entry with: too long for the stack.
static FRESH: Events = Events::NONE;

#[map]
static LIVES: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS, 0);

/// The counts of a queue, made if there are none; null if there is no room.
#[inline(always)]
pub(crate) fn of(ifq: u64) -> *mut Events {
    if let Some(events) = QUEUE_EVENTS.get_ptr_mut(ifq) {
        return events;
    }
    // Another CPU may have made the entry meanwhile: it serves as well.
    #[expect(clippy::needless_borrows_for_generic_args, reason = "a copy would go over the 512-byte stack")]
    let _ = QUEUE_EVENTS.insert(ifq, &FRESH, u64::from(BPF_NOEXIST));
    match QUEUE_EVENTS.get_ptr_mut(ifq) {
        Some(events) => events,
        None => {
            loss::count(QUEUE_EVENT);
            core::ptr::null_mut()
        }
    }
}

/// Forgets a queue that is gone: its address will be used again.
#[inline(always)]
pub(crate) fn forget(ifq: u64) {
    let _ = QUEUE_EVENTS.remove(ifq);
}

/// Counts an outcome.
#[inline(always)]
pub(crate) fn count(outcomes: *mut [Outcome; OUTCOMES], code: u64) {
    for place in 0..OUTCOMES {
        // SAFETY: within the array, which is a field of a map value.
        unsafe {
            let outcome = outcomes.cast::<Outcome>().add(place);
            if (*outcome).code == code || claim(&raw mut (*outcome).code, code) {
                add(&raw mut (*outcome).count, 1);
                return;
            }
        }
    }
    loss::count(QUEUE_OUTCOME);
}

/// Counts the begin or end of a queue, a page pool or a ring.
#[inline(always)]
pub(crate) fn lived(slot: u32) {
    if let Some(count) = LIVES.get_ptr_mut(slot) {
        // SAFETY: this CPU's own value.
        unsafe { *count += 1 };
    }
}

/// Notes that this thread is inside a call. Entries stay for the thread's next call, which then finds its place.
#[inline(always)]
pub(crate) fn enter(calls: &LruHashMap<u64, Call>, call: Call) {
    let thread = bpf_get_current_pid_tgid();
    match calls.get_ptr_mut(thread) {
        // SAFETY: only this thread writes its entry; if the map recycles it now, it stays a map value, and the call is
        // not found at its exit.
        Some(place) => unsafe { *place = call },
        // An LRU map makes room by itself; if it cannot, the call is not found at its exit.
        None => {
            let _ = calls.insert(thread, call, 0);
        }
    }
}

/// The call that this thread leaves; its queue is 0 if it was not seen to be entered.
#[inline(always)]
pub(crate) fn leave(calls: &LruHashMap<u64, Call>) -> Call {
    match calls.get_ptr_mut(bpf_get_current_pid_tgid()) {
        // SAFETY: as in `enter`.
        Some(place) => unsafe {
            let call = *place;
            (*place).ifq = 0;
            call
        },
        None => Call { ifq: 0, notes: [0; 2] },
    }
}
