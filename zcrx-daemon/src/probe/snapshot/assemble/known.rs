//! What a kernel's fields allow to know: a figure whose fields are absent is absent, never 0.

use std::time::Duration;

use zcrx_common::snapshot::Consumer;

use super::super::super::offsets::Resolved;
use super::super::sockets::SocketFigures;
use crate::model::{RunState, TaskState, from_kernel};

/// `TASK_*` of `include/linux/sched.h`, where user space sees them by `/proc` as well.
mod task {
    pub(super) const INTERRUPTIBLE: u32 = 0x1;
    pub(super) const UNINTERRUPTIBLE: u32 = 0x2;
    pub(super) const STOPPED: u32 = 0x4;
    pub(super) const TRACED: u32 = 0x8;
    pub(super) const NOLOAD: u32 = 0x400;
    pub(super) const FROZEN: u32 = 0x8000;
    /// `JOBCTL_TRAP_FREEZE`: the cgroup is frozen.
    pub(super) const TRAP_FREEZE: u64 = 1 << 23;
}

/// Which figures this kernel's fields allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::probe) struct Known {
    pub(super) ifindex: bool,
    pub(super) netns: bool,
    pub(super) refill: bool,
    pub(super) pool: bool,
    pub(super) pool_cache: bool,
    pub(super) pool_ring: bool,
    pub(super) napi_state: bool,
    pub(super) napi_irq_suspend: bool,
    pub(super) cq: bool,
    pub(super) user: bool,
    pub(super) buffer_bytes: bool,
    pub(super) consumer: bool,
    pub(super) dmabuf: bool,
    pub(super) work: bool,
    pub(super) waiting: bool,
    pub(super) sockets: SocketFigures,
    pub(super) owner_comm: bool,
    consumer_comm: bool,
    run: bool,
    cpu_time: bool,
    run_delay: bool,
    throttled: bool,
}

impl Known {
    /// What the fields that were found allow.
    pub(in crate::probe) fn of(fields: &Resolved) -> Self {
        let has = |names: &[&str]| fields.has(names);
        let receive =
            ["request_file", "request_operation", "request_ring", "request_command", "receive_queue"];
        let waiters = ["sock_wait", "wait_list", "waiter_link", "waiter_private"];
        Self {
            ifindex: has(&["netdev_ifindex"]),
            netns: has(&["netdev_net", "net_inum"]),
            refill: has(&["ifq_ring", "ifq_entries", "ifq_cached_head", "refill_tail"]),
            pool: has(&["page_pool_id", "page_pool_held", "page_pool_released"]),
            pool_cache: has(&["page_pool_cache"]),
            pool_ring: has(&[
                "page_pool_ring_producer",
                "page_pool_ring_consumer",
                "page_pool_ring_size",
                "page_pool_ring_places",
            ]),
            napi_state: has(&["napi_state"]),
            napi_irq_suspend: has(&["napi_irq_suspend"]),
            cq: has(&["ring_flags", "ring_cq_entries", "cq_head", "cq_tail", "cq_overflow"]),
            user: has(&["area_user_refs"]),
            buffer_bytes: has(&["ifq_niov_shift"]),
            consumer: has(&["ring_consumer", "task_tid"]),
            dmabuf: has(&["area_is_dmabuf"]),
            work: has(&["ring_work_tail", "ring_work_stub"]) || has(&["ring_work_first", "ring_work_retry"]),
            waiting: has(&["ring_waiting"]),
            sockets: SocketFigures {
                unread: has(&["tcp_expected", "tcp_unread"]),
                armed: has(&receive) && has(&waiters),
                buffered: has(&["sock_buffered"]),
                buffers: has(&[
                    "sock_packets",
                    "packet_memory",
                    "packet_head",
                    "packet_end",
                    "packet_buffers",
                ]),
                peers: has(&["sock_port", "sock_peer_port", "sock_peer", "sock_peer_v6"]),
            },
            owner_comm: has(&["task_comm"]),
            consumer_comm: has(&["task_comm"]),
            run: has(&["task_state", "task_exit_state", "task_job_control"]),
            cpu_time: has(&["task_cpu_time"]),
            run_delay: has(&["task_run_delay"]),
            throttled: has(&["task_group", "group_throttled", "group_parent"]),
        }
    }

    /// Forgets a figure of the self-check, with all that is read together with it; says whether snapshots can do without.
    pub(in crate::probe) fn forget(&mut self, figure: &str) -> bool {
        match figure {
            "refill.entries" | "refill.cached_head" | "refill.tail" => self.refill = false,
            "areas.user_buffers" | "areas.user_references" => self.user = false,
            "buffer_bytes" => self.buffer_bytes = false,
            // A queue is hidden as long as its place is wrong, and others are not.
            "place" => {}
            "netns" => self.netns = false,
            "pool.inflight" => self.pool = false,
            "pool.kept" => (self.pool_cache, self.pool_ring) = (false, false),
            "cq.entries" | "cq.unread" | "cq.overflow" => self.cq = false,
            "consumer.tid" => self.consumer = false,
            "consumer.comm" => self.consumer_comm = false,
            "owner.comm" => self.owner_comm = false,
            "consumer.run" => self.run = false,
            "sockets.armed" => self.sockets.armed = false,
            "sockets.unread" | "sockets.count" | "sockets.limit" => self.sockets.unread = false,
            "sockets.port" | "sockets.peer" => self.sockets.peers = false,
            _ => return false,
        }
        true
    }

    /// The state of a ring's consumer.
    pub(super) fn task(self, consumer: &Consumer) -> TaskState {
        let time = |known: bool, ns| known.then(|| Duration::from_nanos(ns));
        TaskState {
            pid: consumer.pid,
            tid: consumer.tid,
            comm: if self.consumer_comm { from_kernel(&consumer.comm) } else { String::new() },
            run: self.run.then(|| run_state(consumer)),
            cpu_time: time(self.cpu_time, consumer.cpu_ns),
            run_delay: time(self.run_delay, consumer.delay_ns),
            throttled: time(self.throttled, consumer.throttled_ns),
            kernel_stack: None,
        }
    }
}

/// What a thread does, as `ps` would show it.
const fn run_state(consumer: &Consumer) -> RunState {
    let state = consumer.state;
    if consumer.exit_state != 0 {
        RunState::Exited
    } else if state & task::FROZEN != 0 || state != 0 && consumer.job_control & task::TRAP_FREEZE != 0 {
        RunState::Frozen
    } else if state & task::STOPPED != 0 {
        RunState::Stopped
    } else if state & task::TRACED != 0 {
        RunState::Traced
    } else if state & task::UNINTERRUPTIBLE != 0 && state & task::NOLOAD != 0 {
        RunState::Idle
    } else if state & task::UNINTERRUPTIBLE != 0 {
        RunState::Uninterruptible
    } else if state & task::INTERRUPTIBLE != 0 {
        RunState::Sleeping
    } else {
        RunState::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_of_ps() {
        let of = |state, exit_state, job_control| {
            run_state(&Consumer { state, exit_state, job_control, ..Consumer::default() })
        };
        assert_eq!(of(0, 0, 0), RunState::Running);
        assert_eq!(of(1, 0, 0), RunState::Sleeping);
        assert_eq!(of(2, 0, 0), RunState::Uninterruptible);
        assert_eq!(of(0x402, 0, 0), RunState::Idle);
        assert_eq!(of(0x104, 0, 0), RunState::Stopped, "TASK_STOPPED is wakekill and stopped");
        assert_eq!(of(1, 0, 1 << 23), RunState::Frozen);
        assert_eq!(of(0, 0x20, 0), RunState::Exited);
    }

    #[test]
    fn wrong_figure_is_forgotten_and_a_wrong_area_spoils_all() {
        let mut known = Known::of(&Resolved::all());
        assert!(known.forget("refill.tail") && !known.refill && known.cq);
        assert!(known.forget("consumer.run") && known.consumer && !known.run);
        for essential in ["queue", "areas", "areas.buffers", "areas.free"] {
            assert!(!known.forget(essential), "{essential}");
        }
    }

    #[test]
    fn without_fields_a_thread_is_known_by_name_only() {
        let consumer = Consumer {
            pid: 1,
            tid: 2,
            cpu_ns: 5,
            comm: *b"reader\0\0\0\0\0\0\0\0\0\0",
            ..Consumer::default()
        };
        let task = Known { consumer_comm: true, ..Known::default() }.task(&consumer);
        assert_eq!((task.pid, task.tid, task.comm.as_str()), (1, 2, "reader"));
        assert_eq!((task.run, task.cpu_time, task.throttled), (None, None, None));
    }
}
