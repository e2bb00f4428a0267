//! What zcrxd should cost at most, and by how much it misses that.

use super::Figures;

/// Instructions in user space of the bare loop, per completion: counted once by translation block.
const BARE_USER: f64 = 31.0;
/// Instructions of liburing's example above those of the bare loop, per completion; see [`super::page`].
const LIBURING_ABOVE_BARE: f64 = 28.0;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Instructions,
    Percent,
    MiB,
}

/// One target.
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) limit: f64,
    pub(super) unit: Unit,
    /// Reads the figure; `None` where it was not measured.
    pub(super) figure: fn(&Figures) -> Option<f64>,
}

impl Target {
    const fn instructions(what: &'static str, limit: f64, figure: fn(&Figures) -> Option<f64>) -> Self {
        Self { what, limit, unit: Unit::Instructions, figure }
    }

    const fn percent(what: &'static str, limit: f64, figure: fn(&Figures) -> Option<f64>) -> Self {
        Self { what, limit, unit: Unit::Percent, figure }
    }

    const fn mib(what: &'static str, limit: f64, figure: fn(&Figures) -> Option<f64>) -> Self {
        Self { what, limit, unit: Unit::MiB, figure }
    }
}

/// All targets, in the order of the page's tables.
pub(super) const TARGETS: &[Target] = &[
    Target::instructions("Receive loop in user space, per completion", 45.0, |all| {
        Some(above_bare(all, "discard/1", "bare/1")? + BARE_USER)
    }),
    Target::instructions("Receive loop above the bare loop, 1 connection", LIBURING_ABOVE_BARE, |all| {
        above_bare(all, "discard/1", "bare/1")
    }),
    Target::instructions("Receive loop above the bare loop, 16 connections", LIBURING_ABOVE_BARE, |all| {
        above_bare(all, "discard/16", "bare/16")
    }),
    Target::instructions(
        "Receive loop above the bare loop, 16 connections, 2 workers",
        LIBURING_ABOVE_BARE,
        |all| above_bare(all, "discard-2-workers/16", "bare/16"),
    ),
    Target::percent("Copy backend beyond epoll and read, 1 connection", 0.0, |all| beyond_epoll(all, 1)),
    Target::percent("Copy backend beyond epoll and read, 16 connections", 0.0, |all| beyond_epoll(all, 16)),
    Target::percent("Default probes by BPF trampolines, added to the receiver", 1.0, |all| {
        added(all, "fexit", "receiver")
    }),
    Target::percent("Default probes by BPF trampolines, added to the whole machine", 0.2, |all| {
        added(all, "fexit", "machine")
    }),
    Target::percent("Default probes by kprobes, added to the receiver", 3.0, |all| {
        added(all, "kretprobe", "receiver")
    }),
    Target::instructions("Idle without queues, per second", 200e3, |all| {
        all.get("queues/0/idle-instructions-per-second").copied()
    }),
    Target::instructions("A sample, per queue (of 64)", 60e3, |all| {
        per_queue(all, "idle-instructions-per-second", 64)
    }),
    Target::instructions("A sample, per buffer above 65,536", 2.0, |all| {
        let idle = |buffers: u32| all.get(&format!("buffers/{buffers}/idle-instructions-per-second"));
        Some((idle(262_144)? - idle(65_536)?) / f64::from(262_144 - 65_536))
    }),
    Target::instructions("A sample, per open file of the host", 1.0, |all| {
        let idle = |files: u32| all.get(&format!("files/{files}/idle-instructions-per-second"));
        Some((idle(100_000)? - idle(2000)?) / 98_000.0)
    }),
    Target::instructions("A scrape, per queue (of 64)", 50e3, |all| {
        per_queue(all, "scrape-instructions", 64)
    }),
    Target::instructions("A scrape with 256 queues", 15e6, |all| {
        all.get("queues/256/scrape-instructions").copied()
    }),
    Target::mib("Resident memory without queues", 20.0, |all| mib(all, "queues/0/resident-bytes")),
    Target::mib("Resident memory with 64 queues", 30.0, |all| mib(all, "queues/64/resident-bytes")),
    Target::mib("BPF maps", 1.0, |all| mib(all, "queues/0/map-bytes")),
    Target::instructions("From start to ready", 1e9, |all| all.get("start/default/instructions").copied()),
];

/// In the whole machine, where sender and network stack cost the same for both loops: which task is charged for the network stack
/// depends on the moment in which a packet arrives.
fn above_bare(all: &Figures, cost: &str, bare: &str) -> Option<f64> {
    let of = |name: &str| all.get(&format!("receive/{name}/machine"));
    Some(of(cost)? - of(bare)?)
}

fn beyond_epoll(all: &Figures, connections: u32) -> Option<f64> {
    let of = |name: &str| all.get(&format!("copy/{name}/{connections}/machine"));
    Some((of("zcrxd")? / of("epoll")? - 1.0) * 100.0)
}

fn added(all: &Figures, mechanism: &str, part: &str) -> Option<f64> {
    let of = |name: &str| all.get(&format!("probes/{name}/{part}"));
    Some((of(mechanism)? / of("none")? - 1.0) * 100.0)
}

fn per_queue(all: &Figures, figure: &str, queues: u32) -> Option<f64> {
    let of = |queues: u32| all.get(&format!("queues/{queues}/{figure}"));
    Some((of(queues)? - of(0)?) / f64::from(queues))
}

fn mib(all: &Figures, name: &str) -> Option<f64> {
    Some(all.get(name)? / 1_048_576.0)
}
