//! Causes that another program has, seen from outside.

use anyhow::Result;
use zcrx_lab_guest::protocol::Need;

use crate::harness::diagnosis::{BYTES, NEEDS, close, named, named_by, watching};
use crate::harness::foreign::Foreign;
use crate::harness::kernel_release;
use crate::harness::nic::{self, Nic};
use crate::harness::promptness::SAMPLES;
use crate::harness::scenario::{Proof, Scenario, Skip};
use crate::harness::traffic::Traffic;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[
    SLOW,
    SLOW_IN_BURSTS,
    UNREAPED,
    UNREAD,
    SMALL_AREA,
    REFILL_RING_FULL,
    LEAK,
    BAD_ENTRIES,
    DOUBLE_ENTRIES,
    FRAGMENT_PINNING,
    LAZY_CONSUMPTION,
    COPY_FALLBACK,
    CQ_EXHAUSTION,
    MISSTEERED,
    NO_DEVICE,
];

macro_rules! diagnosed {
    ($constant:ident, $name:literal, $cause:literal, $about:literal, $needs:expr, $run:expr) => {
        const $constant: Scenario = Scenario {
            name: $name,
            about: $about,
            needs: $needs,
            proves: &[Proof::Causes(&[$cause])],
            limit: 300,
            default: false,
            run: $run,
        };
    };
}

diagnosed!(
    SLOW,
    "diagnosed-slow_consumer",
    "slow_consumer",
    "a foreign program that holds each buffer for 800 ms: an episode, first cause slow_consumer",
    NEEDS,
    // A small ring, so that most of the area is the program's to hold, and a slow machine's traffic enough for that.
    || flow(
        "slow_consumer",
        &Plan { ring: Some("32"), ..Plan::new(&["--fault", "slow=800", "--fault-after", "1000000"]) }
    )
);
diagnosed!(
    SLOW_IN_BURSTS,
    "diagnosed-slow_consumer-in-bursts",
    "slow_consumer",
    "a foreign program that holds each buffer for two seconds: an episode, first cause slow_consumer once something came back",
    NEEDS,
    || flow(
        "slow_consumer",
        // Until the first buffer comes back, this is what a program that returns none looks like.
        &Plan { samples: usize::MAX, ..Plan::new(&["--fault", "slow=2000", "--fault-after", "1000000"]) }
    )
);
diagnosed!(
    UNREAPED,
    "diagnosed-slow_consumer-unreaped",
    "slow_consumer",
    "a foreign program that reaps no completion: an episode, first cause slow_consumer",
    NEEDS,
    || flow("slow_consumer", &Plan::new(&["--fault", "cq-stall", "--fault-after", "1000000"]))
);
diagnosed!(
    UNREAD,
    "diagnosed-unread_socket_data",
    "unread_socket_data",
    "a foreign program that arms no receive: an episode, first cause unread_socket_data",
    NEEDS,
    || flow(
        "unread_socket_data",
        &Plan { receive_buffer: Some(64 << 20), ..Plan::new(&["--fault", "not-reading"]) }
    )
);
diagnosed!(
    SMALL_AREA,
    "diagnosed-area_too_small",
    "area_too_small",
    "a foreign program with an area of 64 buffers: an episode, first cause area_too_small",
    NEEDS,
    || flow("area_too_small", &Plan { area: None, ..Plan::new(&["--fault", "small-area"]) })
);
diagnosed!(
    REFILL_RING_FULL,
    "diagnosed-refill_ring_full",
    "refill_ring_full",
    "a foreign program that drops what does not fit into 8 refill entries: an episode, first cause refill_ring_full",
    NEEDS,
    || flow(
        "refill_ring_full",
        &Plan {
            // Only what is held for longer than others hold is held for good: four seconds, and two samples.
            samples: 6,
            ..Plan::new(&["--fault", "ring-overflow", "--refill-entries", "8", "--fault-after", "1000000"])
        }
    )
);
diagnosed!(
    LEAK,
    "diagnosed-never_returned",
    "never_returned",
    "a foreign program that returns nothing: an episode, first cause never_returned",
    NEEDS,
    || flow("never_returned", &Plan::new(&["--fault", "never-return", "--fault-after", "1000000"]))
);
diagnosed!(
    BAD_ENTRIES,
    "diagnosed-bad_entries",
    "bad_entries",
    "a foreign program whose every second refill entry names no area: an episode, first cause bad_entries",
    NEEDS,
    || flow("bad_entries", &Plan::new(&["--fault", "bad-token=2", "--fault-after", "1000000"]))
);
diagnosed!(
    DOUBLE_ENTRIES,
    "diagnosed-bad_entries-double",
    "bad_entries",
    "a foreign program that returns every second buffer twice, on Linux 7.3: an episode, first cause bad_entries",
    NEEDS,
    || {
        if kernel_release().starts_with("7.2.") {
            return Err(Skip("Linux 7.2 ignores the second return: nothing starves".to_owned()).into());
        }
        flow("bad_entries", &Plan::new(&["--fault", "return-twice=2", "--fault-after", "1000000"]))
    }
);
diagnosed!(
    FRAGMENT_PINNING,
    "diagnosed-fragment_pinning",
    "fragment_pinning",
    "a foreign program that receives buffers in eight fragments and returns those of a buffer far apart: an episode, first \
     cause fragment_pinning",
    NEEDS,
    || flow(
        "fragment_pinning",
        &Plan {
            area: Some("2176"),
            receive_buffer: Some(64 << 10),
            // Each allocation consumes some entries of the refill ring (64 on Linux 7.2): a NIC with few buffers posted, which tries
            // again once a second as fbnic does, starves until it has been through all of them.
            ring: Some("32"),
            knob: Some(("alloc_retry_ms", "1000")),
            connections: "8",
            ..Plan::new(&[
                "--refill-entries",
                "16384",
                "--receive-bytes",
                "512",
                "--fault",
                "fragments-apart=1536"
            ])
        }
    )
);
diagnosed!(
    LAZY_CONSUMPTION,
    "diagnosed-lazy_consumption",
    "lazy_consumption",
    "a NIC that does not try again after a failed allocation: an episode, first cause lazy_consumption",
    NEEDS,
    || flow(
        "lazy_consumption",
        &Plan {
            knob: Some(("alloc_retry_never", "Y")),
            samples: 3,
            ..Plan::new(&["--fault", "slow-at-first=500"])
        }
    )
);
diagnosed!(
    COPY_FALLBACK,
    "diagnosed-copy_fallback",
    "copy_fallback",
    "a flow that arrives on another queue, copied until no buffer is free: an episode, first cause copy_fallback",
    NEEDS,
    || {
        let queue = nic::queue_with_a_neighbour()?;
        flow("copy_fallback", &Plan { queue, ..Plan::new(&["--fault", "wrong-queue"]) })
    }
);
diagnosed!(
    CQ_EXHAUSTION,
    "diagnosed-cq_exhaustion",
    "cq_exhaustion",
    "a completion queue of 8 entries: an episode, first cause cq_exhaustion",
    NEEDS,
    || flow("cq_exhaustion", &Plan::new(&["--cq-entries", "8"]))
);
/// A queue, what its owner does wrong, and what is sent to it.
struct Plan<'a> {
    arguments: &'a [&'a str],
    queue: u32,
    /// Buffers, unless the fault says how many.
    area: Option<&'a str>,
    /// What the sockets take, bytes.
    receive_buffer: Option<u64>,
    /// One of the NIC's fault knobs, and its value.
    knob: Option<(&'a str, &'a str)>,
    /// Descriptors of the NIC's ring.
    ring: Option<&'a str>,
    /// Connections at once.
    connections: &'a str,
    /// The sample after the begin by which the cause must be named.
    samples: usize,
}

impl<'a> Plan<'a> {
    const fn new(arguments: &'a [&'a str]) -> Self {
        Self {
            arguments,
            queue: nic::QUEUE,
            area: Some("1024"),
            receive_buffer: None,
            knob: None,
            ring: None,
            connections: "1",
            samples: SAMPLES,
        }
    }
}

/// A foreign program on the NIC's queue, a flow to it, and the episode that must come of it.
fn flow(cause: &str, plan: &Plan<'_>) -> Result<()> {
    let nic = Nic::pair()?;
    if let Some(bytes) = plan.receive_buffer {
        nic.receive_buffers(bytes, bytes)?;
    }
    if let Some(descriptors) = plan.ring {
        nic.receive_ring(descriptors)?;
    }
    if let Some((name, value)) = plan.knob {
        nic.knob(name, value)?;
    }
    let (listen, queue) = (Nic::address(), plan.queue.to_string());
    let mut arguments = vec!["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
    arguments.extend(plan.area.iter().flat_map(|buffers| ["--area-buffers", buffers]));
    arguments.extend(plan.arguments);
    let foreign = Foreign::start(&nic.rx, &arguments)?;
    let daemon = watching(&nic.rx, &[])?;
    let traffic = Traffic::start(&nic.tx, &listen, BYTES, &["--connections", plan.connections])?;
    named_by(&daemon, cause, plan.samples)?;
    traffic.abandon()?;
    foreign.quit()?;
    close(daemon)
}

diagnosed!(
    MISSTEERED,
    "diagnosed-missteered_flow",
    "missteered_flow",
    "a flow that is placed in another program's area: an episode, first cause missteered_flow",
    NEEDS,
    || {
        let nic = Nic::pair()?;
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        // The one has the queue that the flow goes to, the other has the connection.
        let queue_holder = ["--interface", nic::RX, "--queue", &queue, "--listen", "127.0.0.1:9998"];
        let holder = Foreign::start(&nic.rx, &queue_holder)?;
        let listener =
            Foreign::start(&nic.rx, &["--interface", nic::RX, "--queue", "2", "--listen", &listen])?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        named(&daemon, "missteered_flow")?;
        traffic.abandon()?;
        listener.quit()?;
        holder.quit()?;
        close(daemon)
    }
);

diagnosed!(
    NO_DEVICE,
    "diagnosed-no_device",
    "no_device",
    "a queue without a device whose owner does not flush the refill ring: an episode, first cause no_device",
    &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Btf],
    || {
        const LISTEN: &str = "127.0.0.1:9998";
        let host = crate::harness::namespace::Namespace::create()?;
        let foreign = Foreign::start(&host, &["--listen", LISTEN, "--area-buffers", "256", "--no-flush"])?;
        let daemon = watching(&host, &[])?;
        let traffic = Traffic::start(&host, LISTEN, BYTES, &[])?;
        named(&daemon, "no_device")?;
        traffic.abandon()?;
        foreign.quit()?;
        close(daemon)
    }
);
