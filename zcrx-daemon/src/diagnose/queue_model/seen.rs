//! What is seen of it from outside.

use std::sync::Arc;
use std::time::Duration;

use super::{BUFFER_BYTES, Queue};
use crate::model::{
    AreaState, CqState, KernelQueue, NicFigures, Owner, PoolState, QueueKey, QueueRing, QueueSample,
    RefillState, RunState, SocketBacklog, TaskState, Watermarks,
};

impl Queue {
    /// A count as it is read while the queue moves: off by up to `moved`, another way each time.
    fn disturbed(&self, count: u64) -> u64 {
        if self.moved == 0 {
            return count;
        }
        let mixed = (self.state.milliseconds + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let off = (mixed >> 33) % (2 * self.moved + 1);
        (count + off).saturating_sub(self.moved).min(self.buffers * self.fragments.max(1))
    }

    pub fn sample(&mut self) -> QueueSample {
        let marks = std::mem::take(&mut self.state.marks);
        let state = &self.state;
        let interface = self.device.then(|| "eth0".to_owned());
        let key = QueueKey { interface: interface.clone(), queue: 3 };
        let mut sample = QueueSample::unknown(key, 1, self.now());
        if let Some(sink) = &self.sink {
            sample.local = Some(Box::new(self.local(sink)));
            return sample;
        }
        if let Some(at) = state.torn_down_at {
            sample.nic.pool_detached_for = Some(Duration::from_millis(state.milliseconds - at));
            sample.nic.pool_inflight = Some(state.posted + state.sockets);
            return sample;
        }
        let references = state.completed + state.held + state.lost + state.stashed + state.pending;
        let user = self.disturbed(state.user);
        let references = self.disturbed(references.max(state.user)).max(user);
        let in_kernel = state.cache + state.posted + state.sockets + state.with_packet;
        let in_pool = in_kernel + state.user - state.by_copy;
        sample.owner = Some(Owner { pid: 4242, comm: "model".to_owned(), fd: Some(7), cgroup: None });
        sample.buffer_bytes = Some(BUFFER_BYTES);
        sample.napi_polls = Some(state.polls);
        sample.received_bytes = Some(state.bytes);
        sample.copies = self.tells_copies.then_some(state.copies);
        sample.errors = Some(state.errors.clone());
        sample.nic = NicFigures {
            rx_bytes: None,
            alloc_fail: self.tells_allocation.then_some(state.allocation.failures),
            hw_drops: self.tells_drops.then_some(state.drops),
            hw_drop_overruns: None,
            keeps_posted: self.keeps_posted,
            posting_step: self.step as u32,
            pauses: None,
            ring: self.tells_ring.then_some(self.ring as u32),
            pool_inflight: Some(in_pool),
            pool_detached_for: None,
        };
        if let Some(at) = state.interface_down_at {
            sample.nic.pool_detached_for = Some(Duration::from_millis(state.milliseconds - at));
        }
        let cq = CqState {
            entries: self.cq_entries as u32,
            head: state.cq_head.wrapping_sub(self.other_unread.min(state.others) as u32),
            tail: state.cq_tail,
            overflow: 0,
            ..CqState::default()
        };
        let run = match (self.owner_runs, self.run_state) {
            (_, Some(run)) => run,
            (true, None) => RunState::Running,
            (false, None) => RunState::Sleeping,
        };
        let away = state.milliseconds - state.entered_at > 100 || !self.owner_runs;
        let ring = QueueRing {
            id: 7,
            owners: vec![Owner { pid: 4242, comm: "model".to_owned(), fd: Some(7), cgroup: None }],
            consumer: Some(TaskState {
                pid: 4242,
                tid: 4243,
                comm: "model".to_owned(),
                run: Some(run),
                cpu_time: Some(Duration::from_millis(if self.owner_runs { state.milliseconds } else { 0 })),
                throttled: Some(Duration::from_millis(state.throttled as u64)),
                run_delay: Some(Duration::from_millis(state.no_cpu as u64)),
                ..TaskState::default()
            }),
            cq: Some(cq),
            work_pending: Some(away && self.armed && state.sockets > state.unread_unarmed),
            waiting: Some(self.owner_runs && !away),
            ..QueueRing::default()
        };
        sample.kernel = Some(Arc::new(KernelQueue {
            ring: Some(7),
            rings: if self.tells_owner { self.rings(ring) } else { Vec::new() },
            ifq: 1,
            zcrx_id: Some(0),
            ifindex: self.device.then_some(2),
            interface,
            queue: self.device.then_some(3),
            refill: Some(RefillState {
                entries: self.refill_entries as u32,
                cached_head: state.cached_head,
                tail: state.tail,
            }),
            areas: vec![AreaState {
                buffers: self.buffers as u32,
                free: state.free as u32,
                user_buffers: Some(user as u32),
                user_references: Some(references),
                ..AreaState::default()
            }],
            pool: self.device.then_some(PoolState {
                id: 17 + state.pool,
                cache: Some(state.cache as u32),
                ring: Some(0),
                held: (in_pool as u32).wrapping_sub(500),
                released: 0u32.wrapping_sub(500),
            }),
            cq: Some(cq),
            sockets: self.tells_sockets.then_some(SocketBacklog {
                sockets: 4,
                unread_bytes: state.sockets * self.packet_bytes,
                unarmed_unread_bytes: self.tells_armed.then_some(state.unread_unarmed * self.packet_bytes),
                limit_bytes: self.socket_limit * BUFFER_BYTES,
                ..SocketBacklog::default()
            }),
            allocation: (self.device && self.tells_allocation).then_some(state.allocation),
            watermarks: (self.device && self.tells_allocation).then_some(Watermarks {
                calls: 1,
                least_allocatable: marks.0.map(|least| least as u32),
                most_pending: Some(marks.1 as u32),
                longest_starvation: (!marks.2.is_zero()).then_some(marks.2),
            }),
            moved: Some(self.moved as u32),
            ..KernelQueue::default()
        }));
        sample
    }

    /// The ring of the owner, and that of a program which shares the queue.
    fn rings(&self, owner: QueueRing) -> Vec<QueueRing> {
        let sharer = || QueueRing {
            id: 6,
            owners: vec![Owner { pid: 4300, comm: "importer".to_owned(), fd: Some(9), cgroup: None }],
            consumer: Some(TaskState {
                pid: 4300,
                tid: 4300,
                comm: "importer".to_owned(),
                run: Some(RunState::Sleeping),
                cpu_time: Some(Duration::from_millis(self.state.milliseconds / 10)),
                throttled: Some(Duration::ZERO),
                run_delay: Some(Duration::ZERO),
                ..TaskState::default()
            }),
            cq: Some(CqState { entries: 1024, ..CqState::default() }),
            work_pending: Some(false),
            waiting: Some(true),
            ..QueueRing::default()
        };
        self.shared.then(sharer).into_iter().chain([owner]).collect()
    }
}
