//! Compares a snapshot, and what probes counted, with the truth: of a small queue that zcrxd registers for this, without a device.
//!
//! Offsets come from the kernel's type information and each field has to have the expected type, but a field may keep its type and
//! change its meaning. So the snapshot is used only after it has shown what is known anyway. Figures that disagree are switched off and
//! named with both values.

mod queue;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::queue::{CheckQueue, Truth};
use crate::model::{
    CheckedFigure, ControlCount, ControlOperation, ControlResult, KernelQueue, KernelSnapshot, RunState,
    SelfCheck,
};

/// Registers a queue, moves its figures to known values, and compares what the snapshot shows of them. Before Linux 7.1, without
/// CAP_NET_ADMIN and without a loopback there is no such queue, and the check says why.
///
/// Ends when the kernel has freed the queue, so that a probe that is attached afterwards does not count its end.
pub(super) fn run(mut snapshot: impl FnMut() -> KernelSnapshot) -> SelfCheck {
    let queue = match CheckQueue::prepare() {
        Ok(queue) => queue,
        Err(reason) => return SelfCheck { unchecked: Some(reason), ..SelfCheck::default() },
    };
    let truth = queue.truth();
    let is_own = |shown: &&Arc<KernelQueue>| {
        let owners = &mut shown.owners.iter();
        owners.any(|owner| owner.pid == std::process::id() && owner.fd == Some(queue.ring_fd()))
    };
    let mut taken = snapshot();
    // A scrape or a probe of health is a connection of this process as well, for a moment.
    for _ in 0..RETRIES {
        let own = taken.queues.iter().find(is_own).and_then(|queue| queue.sockets);
        if own.is_none_or(|sockets| u64::from(sockets.sockets) <= SOCKETS) {
            break;
        }
        thread::sleep(PAUSE);
        taken = snapshot();
    }
    let own = taken.queues.iter().find(is_own).map(Arc::as_ref);
    let mut figures = compare(&truth, own);
    figures.extend(compare_names(own));
    let pinned = pinned_kib();
    drop(queue);
    wait_until_unpinned(pinned);
    SelfCheck { figures, unchecked: None }
}

/// How long the kernel may take to free the queue.
const FREED_LIMIT: Duration = Duration::from_secs(1);

/// The kernel frees a queue some time after its ring was closed. It then unpins the queue's area, which is the only trace that a
/// process sees: its pinned memory shrinks. Other queues of zcrxd only pin more meanwhile.
fn wait_until_unpinned(mut pinned: Option<u64>) {
    let deadline = Instant::now() + FREED_LIMIT;
    while Instant::now() < deadline {
        let now = pinned_kib();
        if now < pinned || now.is_none() {
            return;
        }
        pinned = now;
        thread::sleep(Duration::from_millis(1));
    }
}

/// Memory of this process that is pinned, KiB.
fn pinned_kib() -> Option<u64> {
    procfs::process::Process::myself().and_then(|process| process.status()).ok()?.vmpin
}

/// How often another snapshot is taken because this process has other connections, and how long after the one before. Each one walks all
/// open files of the host.
const RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(10);

/// Sockets that the queue feeds: both ends of each connection are in this process.
const SOCKETS: u64 = 4;

/// Compares a queue with what it is known to be.
fn compare(truth: &Truth, shown: Option<&KernelQueue>) -> Vec<CheckedFigure> {
    let mut figures = vec![figure("queue", &"found", Some(&shown.map_or("missing", |_| "found")))];
    let Some(queue) = shown else { return figures };
    let ring = queue.rings.first();
    let cq = ring.and_then(|ring| ring.cq);
    let task = ring.and_then(|ring| ring.consumer.as_ref());
    let areas = &queue.areas;
    let sum =
        |figure: fn(&crate::model::AreaState) -> Option<u64>| areas.iter().map(figure).sum::<Option<u64>>();
    let refill = queue.refill;
    let unread = truth.unread;
    let named = queue.top_sockets.as_ref();
    let socket = named.and_then(|top| top.iter().find(|socket| socket.fd == Some(unread.fd)));
    let sockets = queue.sockets;
    // Other threads may have sockets too.
    let count = sockets.map(|sockets| u64::from(sockets.sockets));
    let limits = sockets.filter(|_| count <= Some(SOCKETS)).map(|sockets| sockets.limit_bytes);
    let numbers = [
        ("refill.entries", truth.refill_entries, refill.map(|refill| u64::from(refill.entries))),
        ("refill.cached_head", truth.refill_head, refill.map(|refill| u64::from(refill.cached_head))),
        ("refill.tail", truth.refill_tail, refill.map(|refill| u64::from(refill.tail))),
        ("areas", 1, Some(areas.len() as u64)),
        ("areas.buffers", truth.buffers, Some(queue.buffers())),
        ("areas.free", truth.buffers - truth.user_buffers, Some(queue.free())),
        ("areas.user_buffers", truth.user_buffers, sum(|area| area.user_buffers.map(u64::from))),
        ("areas.user_references", truth.user_buffers, sum(|area| area.user_references)),
        ("buffer_bytes", truth.buffer_bytes, queue.buffer_bytes.map(u64::from)),
        ("cq.entries", truth.cq_entries, cq.map(|cq| u64::from(cq.entries))),
        ("cq.unread", truth.cq_unread, cq.and_then(|cq| cq.depth()).map(u64::from)),
        ("cq.overflow", 0, cq.map(|cq| u64::from(cq.overflow))),
        ("consumer.tid", truth.tid, task.map(|task| u64::from(task.tid))),
        ("delivery.bytes", truth.received_bytes, queue.delivery.as_ref().map(|delivery| delivery.bytes)),
        ("copy.bytes", truth.received_bytes, queue.fallback.map(|fallback| fallback.bytes)),
        ("copy.buffers", truth.received_buffers, queue.fallback.map(|fallback| fallback.buffers)),
        ("control.flushes", 1, queue.control.as_ref().map(flushes)),
        ("control.flushed", truth.refill_head, queue.control.as_ref().map(|control| control.flushed)),
        ("sockets.armed", 1, queue.sockets.and_then(|sockets| sockets.armed).map(u64::from)),
        ("sockets.count", SOCKETS, count.map(|count| count.min(SOCKETS))),
        ("sockets.limit", truth.socket_limits, limits),
        ("sockets.unread", unread.bytes, named.map(|_| socket.map_or(0, |socket| socket.unread_bytes))),
        ("sockets.port", unread.port, socket.map(|socket| socket.port.into())),
    ];
    figures.extend(numbers.map(|(name, expected, shown)| figure(name, &expected, shown.as_ref())));
    figures.push(figure("sockets.peer", &unread.peer, socket.map(|socket| &socket.peer)));
    let run = task.and_then(|task| task.run).map(RunState::name);
    figures.push(figure("consumer.run", &RunState::Running.name(), run.as_ref()));
    figures
}

/// Compares the names of this process and this thread with what `/proc` says.
fn compare_names(shown: Option<&KernelQueue>) -> Vec<CheckedFigure> {
    let Some(queue) = shown else { return Vec::new() };
    let owner = queue.owners.iter().find(|owner| owner.pid == std::process::id());
    let consumer = queue.rings.first().and_then(|ring| ring.consumer.as_ref());
    let names = [
        ("owner.comm", "/proc/self/comm", owner.map(|owner| &owner.comm)),
        ("consumer.comm", "/proc/thread-self/comm", consumer.map(|consumer| &consumer.comm)),
    ];
    let compared = names.into_iter().filter_map(|(name, path, shown)| {
        let expected = std::fs::read_to_string(path).ok()?;
        Some(figure(name, &expected.trim_end_matches('\n'), shown.map(String::as_str).as_ref()))
    });
    compared.collect()
}

/// Flushes that went well.
fn flushes(control: &ControlCount) -> u64 {
    let flush = |result: &&ControlResult| result.operation == ControlOperation::FlushRq && result.errno == 0;
    control.results.iter().filter(flush).map(|result| result.count).sum()
}

fn figure<T: ToString>(name: &str, expected: &T, shown: Option<&T>) -> CheckedFigure {
    CheckedFigure {
        name: name.to_owned(),
        expected: expected.to_string(),
        shown: shown.map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::queue::UnreadSocket;
    use super::*;
    use crate::model::{
        AreaState, CqState, DeliveryCount, FallbackCount, QueueRing, RefillState, SocketBacklog, TaskState,
        TopSocket,
    };
    use crate::probe::offsets::Resolved;
    use crate::probe::snapshot::Known;
    use crate::probe::start::COUNTING;

    const TRUTH: Truth = Truth {
        refill_entries: 16,
        refill_head: 1,
        refill_tail: 3,
        buffers: 32,
        user_buffers: 7,
        buffer_bytes: 4096,
        received_bytes: 8 * 4096,
        received_buffers: 8,
        cq_entries: 64,
        cq_unread: 3,
        tid: 77,
        socket_limits: 4 << 17,
        unread: UnreadSocket { fd: 9, port: 80, peer: PEER, bytes: 5000 },
    };
    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

    fn queue() -> KernelQueue {
        let consumer = TaskState { tid: 77, run: Some(RunState::Running), ..TaskState::default() };
        let cq = CqState { entries: 64, head: 8, tail: 11, ..CqState::default() };
        let ring = QueueRing { consumer: Some(consumer), cq: Some(cq), ..QueueRing::default() };
        KernelQueue {
            rings: vec![ring],
            refill: Some(RefillState { entries: 16, cached_head: 1, tail: 3 }),
            areas: vec![AreaState {
                buffers: 32,
                free: 25,
                user_buffers: Some(7),
                user_references: Some(7),
                ..AreaState::default()
            }],
            buffer_bytes: Some(4096),
            delivery: Some(DeliveryCount { bytes: 8 * 4096, ..DeliveryCount::default() }),
            fallback: Some(FallbackCount { bytes: 8 * 4096, buffers: 8, ..FallbackCount::default() }),
            control: Some(ControlCount {
                results: vec![ControlResult { operation: ControlOperation::FlushRq, errno: 0, count: 1 }],
                flushed: 1,
            }),
            sockets: Some(SocketBacklog {
                sockets: 4,
                limit_bytes: 4 << 17,
                armed: Some(1),
                ..SocketBacklog::default()
            }),
            top_sockets: Some(vec![TopSocket {
                pid: 1,
                fd: Some(9),
                port: 80,
                peer: PEER,
                unread_bytes: 5000,
                buffered_bytes: Some(5000),
                armed: Some(false),
            }]),
            ..KernelQueue::default()
        }
    }

    /// What cannot be switched off alone: without it no snapshot can be relied on.
    const ESSENTIAL: [&str; 4] = ["queue", "areas", "areas.buffers", "areas.free"];

    #[test]
    fn each_figure_can_be_switched_off_or_is_essential() {
        for figure in compare(&TRUTH, Some(&queue())) {
            if figure.name.split_once('.').is_some_and(|(probe, _)| COUNTING.contains(&probe)) {
                continue;
            }
            let mut known = Known::of(&Resolved::all());
            assert_ne!(
                known.forget(&figure.name),
                ESSENTIAL.contains(&figure.name.as_str()),
                "{}",
                figure.name
            );
        }
    }

    fn wrong(shown: Option<&KernelQueue>) -> Vec<String> {
        let figures = compare(&TRUTH, shown);
        let check = SelfCheck { figures, unchecked: None };
        check.wrong().map(ToString::to_string).collect()
    }

    #[test]
    fn true_snapshot_passes_and_each_wrong_figure_is_named_with_both_values() {
        assert_eq!(wrong(Some(&queue())), Vec::<String>::new());
        let moved = RefillState { entries: 16, cached_head: 3, tail: 1 };
        let swapped = KernelQueue { refill: Some(moved), ..queue() };
        assert_eq!(
            wrong(Some(&swapped)),
            ["refill.cached_head is 1 and was read as 3", "refill.tail is 3 and was read as 1"]
        );
        let copies = FallbackCount { bytes: 8 * 4096, buffers: 9, ..FallbackCount::default() };
        let counted = KernelQueue { fallback: Some(copies), ..queue() };
        assert_eq!(wrong(Some(&counted)), ["copy.buffers is 8 and was read as 9"]);
        assert_eq!(wrong(None), ["queue is found and was read as missing"]);
    }

    #[test]
    fn unknown_figure_is_not_wrong() {
        let unknown =
            KernelQueue { refill: None, buffer_bytes: None, sockets: None, top_sockets: None, ..queue() };
        assert_eq!(wrong(Some(&unknown)), Vec::<String>::new());
    }
}
