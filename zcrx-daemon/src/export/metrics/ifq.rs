//! Metrics of every queue in the kernel, whoever owns it, as a snapshot read it and the allocation probe counted it.

use std::time::Duration;

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::model::{
    AllocationCount, AreaState, CqState, KernelQueue, KernelSnapshot, PoolState, QueueSample, RefillState,
    SocketBacklog,
};

impl Subject for QueueSample {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> Vec<Option<String>> {
        vec![self.key.interface.clone(), Some(self.key.queue.to_string())]
    }
}

impl Subject for KernelSnapshot {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

const NO_SNAPSHOT: &str = "the snapshot probe is not attached, or the queue is not in the kernel";
const UNREADABLE: &str = "this kernel keeps it elsewhere, or there is no snapshot";
const UNCOUNTED: &str = "references could not be counted";
const NO_POOL: &str = "the queue has no page pool (no device, or its interface is down)";
const EXPORTED: &str = "the queue outlived its ring";
const NO_SOCKETS: &str = "the sockets probe is not attached; or its owner has several queues, and no NAPI instance tells them apart";
const NO_PROBE: &str = "the allocation probe is not attached, or the queue has no page pool";

type Row = Metric<QueueSample>;

pub(super) static SNAPSHOT: &[Metric<KernelSnapshot>] = &[
    Metric::<KernelSnapshot>::gauge(
        "zcrx_snapshot_duration_seconds",
        "Time span in which the kernel's state was read: figures of one scrape can disagree by what moved in it.",
        One(|snapshot| Some(snapshot.ended.saturating_sub(snapshot.began).as_secs_f64())),
    )
    .absent("the snapshot probe is not attached"),
    Metric::<KernelSnapshot>::gauge(
        "zcrx_snapshot_queues",
        "Interface queues found in the kernel.",
        One(|snapshot| Some(snapshot.queues.len() as f64)),
    )
    .absent("the snapshot probe is not attached"),
    Metric::<KernelSnapshot>::gauge(
        "zcrx_snapshot_incomplete",
        "Reasons why something may be missing from the snapshot; the landing page and `zcrxd queues` name them.",
        One(|snapshot| Some(snapshot.incomplete.len() as f64)),
    )
    .absent("the snapshot probe is not attached"),
];

pub(super) static IFQ: &[Row] = &[
    Row::gauge(
        "zcrx_ifq_info",
        "An interface queue in the kernel and the process that has it (the oldest, if several do), fd being its ring's file \
         descriptor there, always 1.",
        Each(&["ifindex", "netns", "zcrx_id", "page_pool", "napi_id", "pid", "comm", "fd", "cgroup"], |queue, series| {
            let Some(kernel) = &queue.kernel else { return };
            let text = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
            let owner = queue.owner.as_ref();
            series.push(
                &[
                    &text(kernel.ifindex.map(u64::from)),
                    &text(kernel.netns),
                    &text(kernel.zcrx_id.map(u64::from)),
                    &text(kernel.pool.map(|pool| pool.id.into())),
                    &text(kernel.napi_id.map(u64::from)),
                    &text(owner.map(|owner| owner.pid.into())),
                    owner.map(|owner| owner.comm.as_str()).unwrap_or_default(),
                    &text(owner.and_then(|owner| owner.fd).map(u64::from)),
                    queue.owner_cgroup.as_deref().unwrap_or_default(),
                ],
                1.0,
            );
        }),
    )
    .absent(NO_SNAPSHOT),
    Row::gauge(
        "zcrx_ifq_generation",
        "Which life of the queue this is: it grows when the queue is registered anew or gets a new page pool, and is never \
         given twice while zcrxd runs.",
        One(|queue| queue.kernel.as_ref().map(|_| queue.generation as f64)),
    )
    .absent(NO_SNAPSHOT),
    Row::gauge(
        "zcrx_ifq_owners",
        "Processes that hold the queue or its ring.",
        One(|queue| kernel(queue, |kernel| Some(kernel.owners.len() as f64))),
    )
    .absent(NO_SNAPSHOT),
    Row::gauge(
        "zcrx_ifq_refill_ring_capacity",
        "Entries the refill ring has room for.",
        One(|queue| refill(queue, |refill| refill.entries.into())),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_ifq_refill_ring_pending",
        "Refill entries published that the kernel has not consumed.",
        One(|queue| refill(queue, |refill| refill.pending().into())),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_ifq_areas",
        "Areas of the queue; one up to Linux 7.2.",
        One(|queue| areas(queue).map(|areas| areas.len() as f64)),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_ifq_area_buffers",
        "Buffers (niovs) in all areas.",
        One(|queue| areas(queue).and(kernel(queue, |kernel| Some(kernel.buffers() as f64)))),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_ifq_free_buffers",
        "Buffers on the freelist. 0 is a normal steady state: recycled buffers do not return to it.",
        One(|queue| areas(queue).and(kernel(queue, |kernel| Some(kernel.free() as f64)))),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_ifq_user_buffers",
        "Buffers that user space has a reference to: held, in unread completions, or in the refill ring.",
        One(|queue| Some(user_buffers(queue)? as f64)),
    )
    .absent(UNCOUNTED),
    Row::gauge(
        "zcrx_ifq_user_references",
        "All those references; more than the buffers where buffers are delivered in fragments.",
        One(|queue| {
            let references = areas(queue)?.iter().map(|area| area.user_references).sum::<Option<u64>>()?;
            Some(references as f64)
        }),
    )
    .absent(UNCOUNTED),
    Row::gauge(
        "zcrx_ifq_kernel_buffers",
        "Buffers neither free nor with user space: posted to the NIC, in the pool's cache, in sockets.",
        One(|queue| {
            let kernel = queue.kernel.as_ref()?;
            Some(kernel.buffers().saturating_sub(kernel.free() + user_buffers(queue)?) as f64)
        }),
    )
    .absent(UNCOUNTED),
    Row::gauge(
        "zcrx_ifq_unaccounted_buffers",
        "Buffers that neither the freelist nor the page pool accounts for: those the copy fallback gave to user \
         space, and the error of a snapshot under traffic. Lasting growth without copies is a kernel bug.",
        One(|queue| kernel(queue, |kernel| kernel.outside_pool().map(|buffers| buffers as f64))),
    )
    .absent(NO_POOL),
    Row::gauge(
        "zcrx_ifq_pool_inflight_buffers",
        "Buffers the page pool is responsible for. It saturates in healthy operation.",
        One(|queue| pool(queue, |pool| Some(pool.inflight()))),
    )
    .absent(NO_POOL),
    Row::gauge(
        "zcrx_ifq_pool_cache_buffers",
        "Of these, buffers in the pool's allocation cache.",
        One(|queue| pool(queue, |pool| pool.cache)),
    )
    .absent(NO_POOL),
    Row::gauge(
        "zcrx_ifq_cq_capacity",
        "Entries the completion queue of the ring has room for.",
        One(|queue| cq(queue, |cq| cq.entries)),
    )
    .absent(EXPORTED),
    Row::gauge(
        "zcrx_ifq_cq_depth",
        "Completions that the owner has not read.",
        One(|queue| cq(queue, CqState::depth)),
    )
    .absent(EXPORTED),
    Row::counter(
        "zcrx_ifq_cq_overflows_total",
        "Completions that the completion queue had no room for.",
        One(|queue| cq(queue, |cq| cq.overflow)),
    )
    .absent(EXPORTED),
    Row::gauge(
        "zcrx_ifq_sockets",
        "Connected TCP sockets of the owner that the queue feeds: the NAPI instance that delivered to them last is its own.",
        One(|queue| sockets(queue, |sockets| sockets.sockets.into())),
    )
    .absent(NO_SOCKETS),
    Row::gauge(
        "zcrx_ifq_socket_unread_bytes",
        "Payload in order in these sockets that no receive has taken.",
        One(|queue| sockets(queue, |sockets| sockets.unread_bytes)),
    )
    .absent(NO_SOCKETS),
    Row::gauge(
        "zcrx_ifq_socket_limit_bytes",
        "Sum of the receive buffer limits of these sockets.",
        One(|queue| sockets(queue, |sockets| sockets.limit_bytes)),
    )
    .absent(NO_SOCKETS),
    Row::counter(
        "zcrx_ifq_allocations_total",
        "Calls of the provider's allocation function, since the probe was attached or the queue was made.",
        One(|queue| allocation(queue, |count| count.calls)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_ifq_allocation_failures_total",
        "Of these, calls that yielded nothing. A few are harmless: what counts is how long they go on.",
        One(|queue| allocation(queue, |count| count.failures)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_ifq_allocated_buffers_total",
        "Buffers these calls yielded.",
        One(|queue| allocation(queue, |count| count.buffers)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_ifq_freelist_buffers_total",
        "Of the buffers, those that came from the freelist and not from the refill ring.",
        One(|queue| allocation(queue, |count| count.from_freelist)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_ifq_refill_entries_consumed_total",
        "Refill entries these calls consumed. Far more than buffers yielded are wasted entries.",
        One(|queue| allocation(queue, |count| count.consumed)),
    )
    .absent(NO_PROBE),
    Row::gauge(
        "zcrx_ifq_last_allocation_age_seconds",
        "Time since a call last yielded a buffer.",
        One(|queue| since(queue, |count| count.last_success)),
    )
    .absent("no call has yielded a buffer since the allocation probe was attached"),
    Row::gauge(
        "zcrx_ifq_starving",
        "1 while the last call yielded nothing.",
        One(|queue| allocation(queue, |count| count.starving_since.is_some().into())),
    )
    .absent(NO_PROBE),
    Row::gauge(
        "zcrx_ifq_starving_seconds",
        "Time since the first call that yielded nothing.",
        One(|queue| since(queue, |count| count.starving_since)),
    )
    .absent("the last call yielded buffers, or nothing is known of calls"),
    Row::counter(
        "zcrx_ifq_starvations_total",
        "Times that calls began to yield nothing, however short.",
        One(|queue| allocation(queue, |count| count.starvations)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_ifq_starved_seconds_total",
        "Time from the first call that yielded nothing to the next that did, of all starvations that are over.",
        One(|queue| kernel(queue, |kernel| Some(kernel.allocation?.starved.as_secs_f64()))),
    )
    .absent(NO_PROBE),
];

fn kernel(queue: &QueueSample, read: fn(&KernelQueue) -> Option<f64>) -> Option<f64> {
    read(queue.kernel.as_ref()?)
}

fn refill(queue: &QueueSample, read: fn(&RefillState) -> u64) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.refill.as_ref()?) as f64)
}

/// The areas; a queue without any is one of which they could not be read.
fn areas(queue: &QueueSample) -> Option<&[AreaState]> {
    queue.kernel.as_ref().map(|kernel| kernel.areas.as_slice()).filter(|areas| !areas.is_empty())
}

fn user_buffers(queue: &QueueSample) -> Option<u64> {
    areas(queue)?;
    queue.kernel.as_ref()?.user_buffers()
}

fn pool(queue: &QueueSample, read: fn(&PoolState) -> Option<u32>) -> Option<f64> {
    read(queue.kernel.as_ref()?.pool.as_ref()?).map(f64::from)
}

fn cq(queue: &QueueSample, read: fn(&CqState) -> u32) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.cq.as_ref()?).into())
}

fn sockets(queue: &QueueSample, read: fn(&SocketBacklog) -> u64) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.sockets.as_ref()?) as f64)
}

fn allocation(queue: &QueueSample, read: fn(&AllocationCount) -> u64) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.allocation.as_ref()?) as f64)
}

fn since(queue: &QueueSample, read: fn(&AllocationCount) -> Option<Duration>) -> Option<f64> {
    let then = read(queue.kernel.as_ref()?.allocation.as_ref()?)?;
    Some(queue.at.saturating_sub(then).as_secs_f64())
}
