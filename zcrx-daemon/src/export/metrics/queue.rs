//! Metrics of every queue in the kernel, of any process: what a snapshot read and the allocation probe counted.

use std::time::Duration;

use super::table::Read::{Each, Moment, One};
use super::table::{LabelValue, Metric, Subject};
use crate::model::{
    AllocationCount, AreaState, KernelQueue, KernelSnapshot, PoolState, QueueKey, QueueSample, RefillState,
    SocketBacklog,
};
use crate::observe::Container;

/// Values of the labels `interface` and `queue`, the same for every metric of a queue.
pub(super) fn labels(key: &QueueKey) -> [LabelValue<'_>; 2] {
    [LabelValue::Text(key.interface_name()), LabelValue::Number(key.queue.into())]
}

impl Subject for QueueSample {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        labels(&self.key)
    }
}

impl Subject for KernelSnapshot {}

const NO_SNAPSHOT: &str = "the snapshot probe is not attached, or the queue is not in the kernel";
const UNREADABLE: &str = "this kernel has no such field, or there is no snapshot";
const UNCOUNTED: &str = "the references of user space could not be counted";
const NO_POOL: &str = "the queue has no page pool (no device, or the interface is down)";
const EXPORTED: &str = "the queue outlived its ring";
const NO_SOCKETS: &str = "the sockets probe is not attached, or the owner has several queues without a NAPI instance to distinguish them";
const NO_PROBE: &str = "the allocation probe is not attached, or the queue has no page pool";

type Row = Metric<QueueSample>;

pub(super) static SNAPSHOT: &[Metric<KernelSnapshot>] = &[
    Metric::<KernelSnapshot>::gauge(
        "zcrxd_snapshot_duration_seconds",
        "Time in seconds that reading the kernel's queues took. Figures of one scrape can disagree by what changed in this time.",
        One(|snapshot| Some(snapshot.ended.saturating_sub(snapshot.began).as_secs_f64())),
    )
    .absent("the snapshot probe is not attached"),
    Metric::<KernelSnapshot>::gauge(
        "zcrxd_snapshot_queues",
        "Number of zcrx queues found in the kernel, of all processes.",
        One(|snapshot| Some(snapshot.queues.len() as f64)),
    )
    .absent("the snapshot probe is not attached"),
    Metric::<KernelSnapshot>::gauge(
        "zcrxd_snapshot_incomplete_reasons",
        "Number of reasons why the snapshot may miss a queue; 0 is good. The page and `zcrxd queues` name the reasons.",
        One(|snapshot| Some(snapshot.incomplete.len() as f64)),
    )
    .absent("the snapshot probe is not attached"),
];

pub(super) static STATE: &[Row] = &[
    Row::gauge(
        "zcrx_queue_info",
        "A zcrx queue in the kernel, and its oldest owner: fd is its ring, pod_uid and container_id are those of its cgroup. Always 1.",
        Each(&["ifindex", "netns", "zcrx_id", "page_pool", "napi_id", "pid", "comm", "fd", "cgroup", "pod_uid", "container_id"], |queue, series| {
            let Some(kernel) = &queue.kernel else { return };
            let owner = queue.owner.as_ref();
            let cgroup = queue.owner_cgroup.as_deref().unwrap_or_default();
            let container = Container::of(cgroup);
            series.push_values(
                &[
                    kernel.ifindex.into(),
                    kernel.netns.into(),
                    kernel.zcrx_id.into(),
                    kernel.pool.map(|pool| pool.id).into(),
                    kernel.napi_id.into(),
                    owner.map(|owner| owner.pid).into(),
                    owner.map(|owner| owner.comm.as_str()).into(),
                    owner.and_then(|owner| owner.fd).into(),
                    LabelValue::Text(cgroup),
                    LabelValue::Text(&container.pod_uid()),
                    LabelValue::Text(container.id),
                ],
                1.0,
            );
        }),
    )
    .absent(NO_SNAPSHOT),
    Row::gauge(
        "zcrx_queue_generation",
        "Number of this life of the queue. Increases when the queue is registered again or gets a new page pool.",
        One(|queue| queue.kernel.as_ref().map(|_| queue.generation as f64)),
    )
    .absent(NO_SNAPSHOT),
    Row::gauge(
        "zcrx_queue_owners",
        "Number of processes that hold the queue or its ring. More than one after a fork.",
        One(|queue| kernel(queue, |kernel| Some(kernel.owners.len() as f64))),
    )
    .absent(NO_SNAPSHOT),
    Row::gauge(
        "zcrx_queue_refill_ring_capacity_entries",
        "Capacity of the queue's refill ring, in entries.",
        One(|queue| refill(queue, |refill| refill.entries.into())),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_queue_refill_ring_pending_entries",
        "Refill entries that the owner published and the kernel has not consumed. A full refill ring takes no buffer back.",
        One(|queue| refill(queue, |refill| refill.pending().into())),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_queue_areas",
        "Number of memory areas of the queue; always one before Linux 7.3.",
        One(|queue| areas(queue).map(|areas| areas.len() as f64)),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_queue_area_buffers",
        "Buffers (niovs) in all areas of the queue.",
        One(|queue| areas(queue).and(kernel(queue, |kernel| Some(kernel.buffers() as f64)))),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_queue_free_buffers",
        "Buffers on the freelist. 0 is a normal steady state: recycled buffers do not return to the freelist.",
        One(|queue| areas(queue).and(kernel(queue, |kernel| Some(kernel.free() as f64)))),
    )
    .absent(UNREADABLE),
    Row::gauge(
        "zcrx_queue_user_buffers",
        "Buffers referenced by user space: held by the owner, in unread completions, or in the refill ring.",
        One(|queue| Some(user_buffers(queue)? as f64)),
    )
    .absent(UNCOUNTED),
    Row::gauge(
        "zcrx_queue_user_references",
        "References of user space to buffers. Exceeds the number of buffers where one buffer is delivered in fragments.",
        One(|queue| {
            let references = areas(queue)?.iter().map(|area| area.user_references).sum::<Option<u64>>()?;
            Some(references as f64)
        }),
    )
    .absent(UNCOUNTED),
    Row::gauge(
        "zcrx_queue_kernel_buffers",
        "Buffers neither free nor referenced by user space: posted to the NIC, in the page pool's cache or ring, or in sockets.",
        One(|queue| {
            let kernel = queue.kernel.as_ref()?;
            Some(kernel.buffers().saturating_sub(kernel.free() + user_buffers(queue)?) as f64)
        }),
    )
    .absent(UNCOUNTED),
    Row::gauge(
        "zcrx_queue_unaccounted_buffers",
        "Buffers neither on the freelist nor in the page pool: copies, and those of a pool before a restart.",
        One(|queue| kernel(queue, |kernel| kernel.outside_pool().map(|buffers| buffers as f64))),
    )
    .absent(NO_POOL),
    Row::gauge(
        "zcrx_queue_pool_inflight_buffers",
        "Buffers that the queue's page pool is responsible for. Close to the whole area in healthy operation.",
        One(|queue| pool(queue, |pool| Some(pool.inflight()))),
    )
    .absent(NO_POOL),
    Row::gauge(
        "zcrx_queue_pool_cache_buffers",
        "Buffers in the allocation cache of the queue's page pool.",
        One(|queue| pool(queue, |pool| pool.cache)),
    )
    .absent(NO_POOL),
    Row::gauge(
        "zcrx_queue_pool_ring_buffers",
        "Buffers in the ring of the queue's page pool: freed outside NAPI, for example with a closed socket. Allocations take them.",
        One(|queue| pool(queue, |pool| pool.ring)),
    )
    .absent(NO_POOL)
    .panel("queue", "Where the buffers are", "Page pool ring"),
    Row::gauge(
        "zcrx_queue_cq_capacity_entries",
        "Capacity of the owner's completion queue, in entries.",
        One(|queue| Some(queue.kernel.as_ref()?.cq?.entries.into())),
    )
    .absent(EXPORTED),
    Row::gauge(
        "zcrx_queue_cq_unread_entries",
        "Completions that the owner has not read, in its fullest ring. Near the capacity, the owner is too slow.",
        One(|queue| Some(queue.kernel.as_ref()?.cq?.depth()?.into())),
    )
    .absent(EXPORTED),
    Row::counter(
        "zcrx_queue_cq_overflows_total",
        "Completions that found no room in a completion queue of the owner.",
        One(|queue| {
            queue.kernel.as_ref()?.cqs().map(|cq| Some(f64::from(cq?.1.overflow))).sum()
        }),
    )
    .absent(EXPORTED),
    Row::gauge(
        "zcrx_queue_sockets",
        "Connected TCP sockets of the owner whose last packet came through the queue.",
        One(|queue| sockets(queue, |sockets| sockets.sockets.into())),
    )
    .absent(NO_SOCKETS),
    Row::gauge(
        "zcrx_queue_socket_unread_bytes",
        "Payload in bytes that waits in the queue's sockets because no receive has taken it.",
        One(|queue| sockets(queue, |sockets| sockets.unread_bytes)),
    )
    .absent(NO_SOCKETS),
    Row::gauge(
        "zcrx_queue_socket_limit_bytes",
        "Sum of the receive buffer limits of the queue's sockets, in bytes.",
        One(|queue| sockets(queue, |sockets| sockets.limit_bytes)),
    )
    .absent(NO_SOCKETS),
    Row::counter(
        "zcrx_queue_allocations_total",
        "Allocation calls of the NIC's driver to the zcrx memory provider.",
        One(|queue| allocation(queue, |count| count.calls)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_queue_allocation_failures_total",
        "Allocation calls that found no buffer. A few are harmless; zcrx_queue_starved_seconds_total says how long they last.",
        One(|queue| allocation(queue, |count| count.failures)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_queue_allocated_buffers_total",
        "Buffers that the zcrx memory provider handed to the NIC's driver.",
        One(|queue| allocation(queue, |count| count.buffers)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_queue_freelist_buffers_total",
        "Buffers that allocations took from the freelist instead of the refill ring.",
        One(|queue| allocation(queue, |count| count.from_freelist)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_queue_consumed_refill_entries_total",
        "Refill entries that allocations consumed. Many more than the buffers allocated are wasted entries.",
        One(|queue| allocation(queue, |count| count.consumed)),
    )
    .absent(NO_PROBE),
    Row::gauge(
        "zcrx_queue_last_allocation_timestamp_seconds",
        "Unix time in seconds of the last allocation call that yielded a buffer.",
        Moment(|queue| moment(queue, |count| count.last_success)),
    )
    .absent("no allocation has succeeded since the allocation probe was attached"),
    Row::gauge(
        "zcrx_queue_starving",
        "1 if the last allocation call found no buffer, else 0.",
        One(|queue| allocation(queue, |count| count.starving_since.is_some().into())),
    )
    .absent(NO_PROBE),
    Row::gauge(
        "zcrx_queue_starving_seconds",
        "Duration in seconds of the current starvation: time since the first allocation call that found no buffer.",
        One(|queue| Some(starving_for(queue)?.as_secs_f64())),
    )
    .absent("the last allocation call succeeded, or allocations are not observed"),
    Row::counter(
        "zcrx_queue_starvations_total",
        "Number of times that allocations began to fail, however briefly.",
        One(|queue| allocation(queue, |count| count.starvations)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_queue_starved_seconds_total",
        "Time in seconds during which allocations failed, the current starvation included.",
        One(|queue| {
            let over = queue.kernel.as_ref()?.allocation?.starved;
            Some((over + starving_for(queue).unwrap_or_default()).as_secs_f64())
        }),
    )
    .absent(NO_PROBE),
];

fn kernel(queue: &QueueSample, read: fn(&KernelQueue) -> Option<f64>) -> Option<f64> {
    read(queue.kernel.as_ref()?)
}

fn refill(queue: &QueueSample, read: fn(&RefillState) -> u64) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.refill.as_ref()?) as f64)
}

/// The areas; a queue without any is one whose areas could not be read.
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

fn sockets(queue: &QueueSample, read: fn(&SocketBacklog) -> u64) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.sockets.as_ref()?) as f64)
}

fn allocation(queue: &QueueSample, read: fn(&AllocationCount) -> u64) -> Option<f64> {
    Some(read(queue.kernel.as_ref()?.allocation.as_ref()?) as f64)
}

fn moment(queue: &QueueSample, read: fn(&AllocationCount) -> Option<Duration>) -> Option<Duration> {
    read(queue.kernel.as_ref()?.allocation.as_ref()?)
}

/// How long the current starvation has lasted. The sample's time is when reading began, so that the figure never
/// exceeds what the kernel counts once the starvation is over: a counter must not go back.
fn starving_for(queue: &QueueSample) -> Option<Duration> {
    Some(queue.at.saturating_sub(moment(queue, |count| count.starving_since)?))
}
