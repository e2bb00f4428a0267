//! Joins the samples of a queue's threads.

use crate::model::{
    BackendKind, BacklogStatistics, QueueState, ReceiveSample, RingStatistics, WorkerSample, ZcrxSample,
};

/// Joins the samples of a queue's threads, the leader's first. Figures that exist once per queue (area, refill ring, events)
/// come from the leader; the counters of all threads are added up.
pub(super) fn merge(mut samples: Vec<ReceiveSample>) -> Option<ReceiveSample> {
    if samples.len() < 2 {
        return samples.pop();
    }
    let workers = samples.iter().map(worker).collect();
    let mut samples = samples.into_iter();
    let mut queue = samples.next()?;
    for sample in samples {
        add(&mut queue, &sample);
    }
    Some(ReceiveSample { workers, ..queue })
}

fn worker(sample: &ReceiveSample) -> WorkerSample {
    WorkerSample {
        receives: matches!(sample.state, QueueState::Running | QueueState::Degraded),
        completions: sample.completions,
        connections: sample.connections,
    }
}

fn add(queue: &mut ReceiveSample, more: &ReceiveSample) {
    queue.dispensed += more.dispensed;
    queue.returned += more.returned;
    queue.reclaimed += more.reclaimed;
    queue.stashed += more.stashed;
    queue.cq_capacity += more.cq_capacity;
    queue.cq_depth += more.cq_depth;
    queue.cq_overflows += more.cq_overflows;
    queue.bytes += more.bytes;
    // On a device the kernel counts copies for the whole queue, and the leader reports the count.
    if queue.selection.backend != Some(BackendKind::Device) {
        queue.copied_bytes = queue.copied_bytes.map(|bytes| bytes + more.copied_bytes.unwrap_or(0));
    }
    if let (Some(ZcrxSample { counts, .. }), Some(theirs)) = (&mut queue.zcrx, &more.zcrx) {
        counts.given_up += theirs.counts.given_up;
    }
    queue.completions += more.completions;
    for (errors, theirs) in [
        (&mut queue.errors, &more.errors),
        (&mut queue.accept_errors, &more.accept_errors),
        (&mut queue.sink_errors, &more.sink_errors),
    ] {
        for (errno, count) in theirs {
            *errors.entry(*errno).or_default() += count;
        }
    }
    queue.rearms += more.rearms;
    queue.accepted += more.accepted;
    queue.connections += more.connections;
    queue.verified_bytes += more.verified_bytes;
    queue.mismatched_bytes += more.mismatched_bytes;
    if let (Some(ring), Some(theirs)) = (&mut queue.ring, &more.ring) {
        add_ring(ring, theirs);
    }
    // A member failed while the leader continues: the queue has fewer threads than configured.
    if queue.state == QueueState::Running && more.state == QueueState::Failed && !more.state_reason.is_empty()
    {
        queue.state = QueueState::Degraded;
        queue.state_reason = format!("a thread does not receive: {}", more.state_reason);
    }
}

/// Names every field, so that the compiler reports a new one.
fn add_ring(ring: &mut RingStatistics, more: &RingStatistics) {
    let RingStatistics {
        hold,
        refill_depth,
        published,
        refill_full,
        cq_depth,
        oldest_held,
        flushes,
        retries,
        connect_retries,
        unreported_ends,
        // Only the leader registers the queue, and all threads have the same configuration for waits.
        registrations: _,
        busy_poll: _,
        min_wait: _,
        handed_over,
        misplaced,
        lost_bytes,
        refused_connections,
        connection_limit,
        // Each thread gives its sockets the same share of its part of the area.
        socket_buffer_bytes,
        backlog,
    } = more;
    ring.hold = ring.hold.plus(hold);
    ring.refill_depth = ring.refill_depth.plus(refill_depth);
    ring.published = ring.published.plus(published);
    ring.cq_depth = ring.cq_depth.plus(cq_depth);
    ring.refill_full += refill_full;
    ring.oldest_held = ring.oldest_held.max(*oldest_held);
    ring.flushes = ring.flushes.map(|ours| ours + flushes.unwrap_or(0));
    ring.retries += retries;
    ring.connect_retries += connect_retries;
    ring.unreported_ends += unreported_ends;
    ring.handed_over += handed_over;
    ring.misplaced += misplaced;
    ring.lost_bytes += lost_bytes;
    ring.refused_connections += refused_connections;
    ring.connection_limit = ring.connection_limit.zip(*connection_limit).map(|(ours, theirs)| ours + theirs);
    ring.socket_buffer_bytes = ring.socket_buffer_bytes.or(*socket_buffer_bytes);
    add_backlog(&mut ring.backlog, backlog);
}

fn add_backlog(ours: &mut BacklogStatistics, theirs: &BacklogStatistics) {
    let BacklogStatistics {
        held,
        hold_limit,
        copy_out_bytes,
        copy_out_limit_bytes,
        copied_out_bytes,
        zero_copy_bytes,
        zero_copy_copied,
        limit_reached,
        pauses,
        paused,
    } = theirs;
    ours.held += held;
    ours.hold_limit = ours.hold_limit.zip(*hold_limit).map(|(ours, theirs)| ours + theirs);
    ours.copy_out_bytes += copy_out_bytes;
    ours.copy_out_limit_bytes += copy_out_limit_bytes;
    ours.copied_out_bytes += copied_out_bytes;
    ours.zero_copy_bytes += zero_copy_bytes;
    ours.zero_copy_copied += zero_copy_copied;
    ours.limit_reached += limit_reached;
    ours.pauses += pauses;
    ours.paused += paused;
}
