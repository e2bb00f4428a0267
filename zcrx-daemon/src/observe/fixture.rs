//! A host on which everything that can be known is known: what the tests of exports and views look at.

mod kernel;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Collection, Observation, ProcessSample, Reload, ServiceSample, ThreadSample, Validity, WebSample,
};
use crate::model::{
    AllocationDistributions, Attempt, BackendKind, BacklogStatistics, CheckedFigure, CopyCounts, CqState,
    Discovery, ENTRIES, EventCounts, Fallback, Histogram, HostSample, KernelQueue, KernelSnapshot, Lives,
    Log2Histogram, MICROSECONDS, MapCost, Mechanism, Obstacle, Owner, PagePoolCount, ProbeCost, ProbeSample,
    ProbeStatus, ProgramCost, QueueKey, QueueRing, QueueSample, QueueState, ReceiveSample, Refusal,
    Registration, RegistrationCount, ResidenceCount, RingStatistics, RunState, Selection, SelfCheck,
    SocketBacklog, TaskState, TopSocket, WorkerSample, ZcrxCounts, ZcrxFeature, ZcrxSample,
};

pub(crate) use self::kernel::kernel_queue;
use self::kernel::{ring, zcrx};

/// A queue on a device in good health, every optional value known.
pub(crate) fn queue() -> ReceiveSample {
    ReceiveSample {
        key: QueueKey { interface: Some("eth0".to_owned()), queue: 3 },
        ifindex: None,
        selection: Selection {
            backend: Some(BackendKind::Copy),
            refused: vec![
                Refusal {
                    backend: BackendKind::Device,
                    step: "register interface queue eth0:3".to_owned(),
                    errno: Some(libc::EOPNOTSUPP),
                    reason: "the driver has no queue management".to_owned(),
                    remedy: "use a NIC whose driver supports it".to_owned(),
                },
                Refusal {
                    backend: BackendKind::Nodev,
                    step: "ask the kernel for ZCRX_REG_NODEV".to_owned(),
                    errno: None,
                    reason: "Linux 6.18 has no zcrx without a device".to_owned(),
                    remedy: "Linux 7.1 has it".to_owned(),
                },
            ],
        },
        state: QueueState::Degraded,
        state_reason: "copies data: device was refused".to_owned(),
        listen: vec!["127.0.0.1:7000".to_owned()],
        sink: "verify".to_owned(),
        sink_destination: None,
        area_bytes: 64 << 20,
        buffer_bytes: 4096,
        buffers: 16384,
        dispensed: 9000,
        returned: 8900,
        reclaimed: 0,
        stashed: 20,
        refill_capacity: 4096,
        refill_depth: 1000,
        cq_capacity: 8192,
        cq_depth: 12,
        cq_overflows: 1,
        bytes: 123_456_789,
        copied_bytes: Some(123_456_789),
        zcrx: Some(zcrx()),
        completions: 9000,
        errors: BTreeMap::from([(libc::ENOSPC, 2), (libc::ECONNRESET, 1)]),
        accept_errors: BTreeMap::from([(libc::EMFILE, 1)]),
        sink_errors: BTreeMap::from([(libc::EPIPE, 1)]),
        rearms: 2,
        starvations: Some(1),
        starving: Some(true),
        accepted: 4,
        connections: 2,
        verified_bytes: 123_000_000,
        mismatched_bytes: 0,
        workers: vec![WorkerSample { receives: true, completions: 70, connections: 2 }; 2],
        ring: Some(ring()),
    }
}

/// The same, as it is joined.
pub(crate) fn foreign_queue() -> QueueSample {
    let kernel = kernel_queue();
    let key = QueueKey { interface: kernel.interface.clone(), queue: 7 };
    QueueSample {
        owner: kernel.owners.last().cloned(),
        kernel: Some(kernel.into()),
        ..QueueSample::unknown(key, 1, Duration::from_secs(1000))
    }
}

/// Everything known.
pub(crate) fn full() -> Observation {
    let registration = |errno, comm: &str| Registration {
        at: Duration::from_secs(995),
        pid: 4242,
        tid: 4243,
        comm: comm.to_owned(),
        errno,
        unprivileged: false,
        duration: Some(Duration::from_micros(250)),
        ifindex: Some(2),
        interface: Some("eth0".to_owned()),
        queue: Some(3),
        netns: Some(4_026_531_840),
        words: None,
        hints: if errno == 0 {
            Vec::new()
        } else {
            vec!["tcp-data-split of eth0 is <off>: `ethtool -G eth0 tcp-data-split on`".to_owned()]
        },
    };
    let probe = ProbeSample {
        self_check: Some(Arc::new(SelfCheck {
            figures: vec![CheckedFigure {
                name: "refill.tail".to_owned(),
                expected: "3".to_owned(),
                shown: Some("3".to_owned()),
            }],
            unchecked: None,
        })),
        probes: vec![
            ProbeStatus {
                name: "registration".to_owned(),
                tells: "registrations of interface queues by any process".to_owned(),
                lost_without: "who registers queues, and why it fails".to_owned(),
                asked: true,
                attached: Some((Mechanism::TpBtf, "io_uring_register".to_owned())),
                refused: vec![Attempt {
                    mechanism: Mechanism::Fexit,
                    target: "io_register_zcrx_ifq".to_owned(),
                    error: "the kernel has no BPF trampolines".to_owned(),
                    obstacle: Obstacle::Refused,
                }],
            },
            ProbeStatus {
                name: "page_pool".to_owned(),
                tells: "pages pools take in and give up".to_owned(),
                lost_without: "pools that leak".to_owned(),
                asked: true,
                attached: None,
                refused: Vec::new(),
            },
        ],
        registrations: Some(vec![
            RegistrationCount { errno: 0, count: 3 },
            RegistrationCount { errno: libc::EINVAL, count: 2 },
        ]),
        foreign_registrations: Some(vec![
            RegistrationCount { errno: 0, count: 2 },
            RegistrationCount { errno: libc::EINVAL, count: 2 },
        ]),
        recent_registrations: vec![registration(0, "receiver"), registration(libc::EINVAL, "<b>&\"evil\"")],
        page_pools: Some(vec![PagePoolCount {
            id: Some(17),
            ifindex: Some(2),
            interface: Some("eth0".to_owned()),
            provider: Some(true),
            held: 16384,
            released: 4,
        }]),
        snapshot: Some(KernelSnapshot {
            began: Duration::from_millis(999_999),
            ended: Duration::from_secs(1000),
            queues: vec![kernel_queue().into()],
            incomplete: vec!["a record found the buffer full".to_owned()],
            discovery: Some(Discovery::Walk),
        }),
        lost_events: Some(5),
        lives: Lives {
            pools_begun: Some(4),
            pools_refused: Some(1),
            pools_ended: Some(2),
            queues_ended: Some(3),
            rings_ended: Some(2),
            controls_astray: Some(1),
        },
        cost: Some(ProbeCost {
            programs: vec![ProgramCost {
                program: "allocation_fexit".to_owned(),
                runs: Some((500, Duration::from_micros(150))),
                missed: Some(0),
            }],
            maps: vec![
                MapCost {
                    map: "queue_events".to_owned(),
                    bytes: Some(250_000),
                    entries: Some(1),
                    capacity: 512,
                },
                MapCost { map: "lost".to_owned(), bytes: Some(400), entries: None, capacity: 7 },
            ],
            lost: BTreeMap::from([("queue_event".to_owned(), 5)]),
        }),
    };
    Observation {
        host: HostSample {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            kernel: "7.3.4".to_owned(),
            receive: vec![queue()],
            probe,
            queues: vec![foreign_queue()],
        },
        monotonic: Duration::from_secs(1000),
        collections: vec![
            Collection { collector: "receive", took: Duration::from_micros(3), succeeded: None },
            Collection { collector: "probe", took: Duration::from_micros(90), succeeded: Some(false) },
        ],
        process: Some(ProcessSample {
            cpu: Duration::from_millis(1250),
            started: Some(Duration::from_secs(1_789_999_000)),
            resident_bytes: 12 << 20,
            virtual_bytes: 200 << 20,
            threads: 4,
            open_fds: Some(30),
            max_fds: Some(1024),
        }),
        web: WebSample {
            connections: 1,
            accepted: 10,
            evicted: 1,
            unauthorized: 2,
            handshakes_failed: 3,
            config: Some(Reload { successful: false, last_success: Some(SystemTime::UNIX_EPOCH) }),
            server_certificate: Some(Validity { not_before: 1_789_000_000, not_after: 1_796_776_000 }),
            client_ca: Some(Validity { not_before: 1_700_000_000, not_after: 2_015_000_000 }),
        },
        service: ServiceSample {
            config: Some(Reload { successful: true, last_success: Some(SystemTime::UNIX_EPOCH) }),
            threads: vec![ThreadSample { name: "sampler".to_owned(), responsive: true }],
            log_lines_suppressed: 4,
            log_lines_dropped: 5,
        },
    }
}

/// Nothing known but that the host is there.
pub(crate) fn bare() -> Observation {
    Observation {
        host: HostSample {
            at: SystemTime::UNIX_EPOCH,
            kernel: "5.10.0".to_owned(),
            receive: Vec::new(),
            probe: ProbeSample::default(),
            queues: Vec::new(),
        },
        monotonic: Duration::ZERO,
        collections: Vec::new(),
        process: None,
        web: WebSample::default(),
        service: ServiceSample::default(),
    }
}
