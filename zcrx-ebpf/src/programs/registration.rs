//! Registrations of interface queues: result, duration and what was asked for.
//!
//! The tracepoint at the end of `io_uring_register` sees every result, also those of checks that come before
//! zcrx is reached (a wrong thread, a restriction). The function probes add only the time it took.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe, map, raw_tracepoint},
    maps::{LruHashMap, PerCpuHashMap, RingBuf},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext,
    },
};
use aya_log_ebpf::debug;
use zcrx_common::{
    loss::{REGISTRATION_COUNT, REGISTRATION_EVENT},
    registration::{
        Arguments, Call, Event, HAS_ARGUMENTS, HAS_DURATION, IS_UNPRIVILEGED, REGISTER_ZCRX_IFQ, RESULTS,
        UNPRIVILEGED_ATTEMPTS, UNPRIVILEGED_PAUSE_NS, UNPRIVILEGED_USERS,
    },
};

use crate::{
    kernel::{self, offset, read},
    loss,
    memory::ON_DEMAND,
    programs::{extack, holders},
    registry,
};

/// `-EPERM`
const NOT_PERMITTED: i32 = -1;

/// Attempts by result (0 or negative errno).
#[map]
static REGISTRATIONS: PerCpuHashMap<i32, u64> = PerCpuHashMap::with_max_entries(RESULTS, ON_DEMAND);

/// Details that user space drains when it takes a sample: registrations are rare, and no event wakes user space.
#[map]
static REGISTRATION_EVENTS: RingBuf = RingBuf::with_byte_size(64 * 1024, 0);

/// The same of callers without privileges, which may try as often as they like: they must not displace the others.
#[map]
static UNPRIVILEGED_EVENTS: RingBuf = RingBuf::with_byte_size(8 * 1024, 0);

/// When a user without privileges was first noted in the present pause, and how often, by user id.
#[map]
static UNPRIVILEGED_SEEN: LruHashMap<u32, [u64; 2]> = LruHashMap::with_max_entries(UNPRIVILEGED_USERS, 0);

/// Calls of privileged callers under way, by pid and tid. A thread can be killed inside the call: the oldest entry makes room.
#[map]
static REGISTRATION_CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(256, 0);

#[btf_tracepoint(function = "io_uring_register")]
fn registration_tp_btf(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<u32>(1) == REGISTER_ZCRX_IFQ {
        let mut arguments = Arguments::default();
        let address = kernel::registration_argument();
        let known =
            if address != 0 && kernel::read_user(address, &mut arguments) { HAS_ARGUMENTS } else { 0 };
        ended(&ctx, ctx.arg::<i64>(4) as i32, arguments, known);
    }
    0
}

#[raw_tracepoint(tracepoint = "io_uring_register")]
fn registration_raw(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(1) == REGISTER_ZCRX_IFQ {
        ended(&ctx, ctx.arg::<i64>(4) as i32, Arguments::default(), 0);
    }
    0
}

#[fentry]
fn registration_fentry(ctx: FEntryContext) -> i32 {
    entered(ctx.arg::<*const u8>(0) as u64);
    0
}

#[fexit]
fn registration_fexit(ctx: FExitContext) -> i32 {
    left();
    // Behind the two arguments comes the result.
    if ctx.arg::<u64>(2) as i32 == 0 {
        holders::note_current();
        registry::add(ctx.arg::<*const u8>(0) as u64);
    }
    0
}

#[kprobe]
fn registration_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(ring) = ctx.arg::<*const u8>(0) {
        entered(ring as u64);
    }
    0
}

#[kretprobe]
fn registration_kretprobe(ctx: RetProbeContext) -> u32 {
    let ring = left();
    if ctx.ret::<u64>() as i32 == 0 && ring != 0 {
        holders::note_current();
        registry::add(ring);
    }
    0
}

#[inline(always)]
fn entered(ring: u64) {
    if kernel::may_register(kernel::current_credentials()) == Some(false) {
        return;
    }
    // What the kernel said before belongs to another call.
    extack::forget(bpf_get_current_pid_tgid());
    // SAFETY: the clock helper has no preconditions.
    let call = Call { entered_ns: unsafe { bpf_ktime_get_ns() }, left_ns: 0, ring };
    // An LRU map makes room by itself; if it cannot, the duration stays unknown.
    let _ = REGISTRATION_CALLS.insert(bpf_get_current_pid_tgid(), call, 0);
}

/// Notes the end of this thread's call; the ring, 0 if the entry was not seen.
#[inline(always)]
fn left() -> u64 {
    let Some(call) = REGISTRATION_CALLS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return 0 };
    // SAFETY: the entry is this thread's own; even if the map recycles it now, the memory stays a map
    // value and the write is of an integer. The clock helper has no preconditions.
    unsafe {
        (*call).left_ns = bpf_ktime_get_ns();
        (*call).ring
    }
}

#[inline(always)]
fn ended(ctx: &impl EbpfContext, result: i32, arguments: Arguments, mut known: u32) {
    count(result);
    let thread = bpf_get_current_pid_tgid();
    if result < 0 {
        debug!(ctx, "zcrx registration by pid {} refused: errno {}", (thread >> 32) as u32, -result);
    }
    let duration_ns = duration(thread);
    let credentials = kernel::current_credentials();
    // Without types, the errno has to do.
    if !kernel::may_register(credentials).unwrap_or(result != NOT_PERMITTED) {
        known |= IS_UNPRIVILEGED;
        if !is_due(read(credentials, offset!(credentials_user))) {
            return;
        }
    }
    let events = if known & IS_UNPRIVILEGED == 0 { &REGISTRATION_EVENTS } else { &UNPRIVILEGED_EVENTS };
    let net = kernel::current_net();
    let netdev = if known & HAS_ARGUMENTS != 0 { kernel::find_interface(net, arguments.if_idx) } else { 0 };
    let Some(mut entry) = events.reserve::<Event>(0) else {
        // Users without privileges cannot cause an alarm.
        if known & IS_UNPRIVILEGED == 0 {
            loss::count(REGISTRATION_EVENT);
        }
        return;
    };
    if duration_ns != 0 {
        known |= HAS_DURATION;
    }
    // Filled in where it lies: it is too long for the stack.
    // SAFETY: zeroes are a value of `Event`, and the entry is ours until it is submitted.
    let event = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        entry.assume_init_mut()
    };
    // SAFETY: the clock helper has no preconditions.
    event.at_ns = unsafe { bpf_ktime_get_ns() };
    event.duration_ns = duration_ns;
    event.pid = (thread >> 32) as u32;
    event.tid = thread as u32;
    event.result = result;
    event.known = known;
    event.netns = read(net, offset!(net_inum));
    event.interface = read(netdev, offset!(netdev_name));
    event.arguments = arguments;
    event.comm = bpf_get_current_comm().unwrap_or_default();
    extack::take(thread, &mut event.words);
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Whether an attempt of this user without privileges is to be noted: few were in the last minute.
#[inline(always)]
fn is_due(user: u32) -> bool {
    // SAFETY: the clock helper has no preconditions, and the value is copied at once.
    let (now, seen) = unsafe { (bpf_ktime_get_ns(), UNPRIVILEGED_SEEN.get(user).copied()) };
    let [mut since, mut noted] = seen.unwrap_or([0; 2]);
    if now.wrapping_sub(since) >= UNPRIVILEGED_PAUSE_NS {
        (since, noted) = (now, 0);
    }
    if noted >= UNPRIVILEGED_ATTEMPTS {
        return false;
    }
    // Without room the attempt is noted all the same: the ring buffer bounds how many are.
    let _ = UNPRIVILEGED_SEEN.insert(user, [since, noted + 1], 0);
    true
}

/// Nanoseconds of this thread's call, 0 if its entry and exit were not both seen. Forgets the call.
#[inline(always)]
fn duration(thread: u64) -> u64 {
    // SAFETY: the value is copied at once; only this thread writes its entry, and it is here.
    let Some(call) = (unsafe { REGISTRATION_CALLS.get(thread) }).copied() else { return 0 };
    let _ = REGISTRATION_CALLS.remove(thread);
    if call.left_ns > call.entered_ns { call.left_ns - call.entered_ns } else { 0 }
}

#[inline(always)]
fn count(result: i32) {
    if let Some(attempts) = REGISTRATIONS.get_ptr_mut(result) {
        // SAFETY: this CPU's own value, and the kernel does not let a program interrupt itself on one CPU.
        unsafe { *attempts += 1 };
    } else if REGISTRATIONS.insert(result, 1, u64::from(BPF_NOEXIST)).is_err() {
        // Another CPU may have made the entry meanwhile.
        match REGISTRATIONS.get_ptr_mut(result) {
            // SAFETY: as above.
            Some(attempts) => unsafe { *attempts += 1 },
            None => loss::count(REGISTRATION_COUNT),
        }
    }
}
