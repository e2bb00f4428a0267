//! Random situations: a queue that is healthy, what happens to it, and which cause that is.

use std::time::Duration;

use super::random::Random;
use crate::diagnose::queue_model::{Overflow, Queue, Sink};
use crate::model::{Cause, RunState};

/// A situation: first healthy, then not.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    /// The healthy queue.
    pub(super) healthy: Queue,
    /// The same queue with its faults.
    pub(super) faulty: Queue,
    /// What was done to it; two where two faults are at work.
    pub(super) causes: Vec<Cause>,
    /// What was done, in a word, where one cause has several forms.
    pub(super) form: &'static str,
    /// For how long it is healthy first, seconds.
    pub(super) calm: u64,
    /// For how long it is not, seconds.
    pub(super) trouble: u64,
    /// When the driver restarts the hardware queue, milliseconds after the begin.
    pub(super) restart_at: Option<u64>,
}

/// A load and an area that carries it.
pub(in crate::diagnose) fn healthy(random: &mut Random) -> Queue {
    let ring = random.of(&[64, 128, 256, 512, 1024]);
    let buffers = ((ring as f64 + 300.0) * random.between(2.5, 16.0)) as u64;
    let load = random.between(1_000.0, 60_000.0);
    let quarter = buffers / 4;
    let bursts = random.chance(0.4).then(|| random.whole(2, (ring / 2).min(quarter)));
    let fragments = if random.chance(0.15) { random.whole(2, 4) } else { 1 };
    Queue {
        buffers,
        ring,
        arrivals_per_second: load,
        bursts,
        // A healthy queue's rings have room for each fragment.
        refill_entries: (buffers * fragments).next_power_of_two().min(32_768),
        cq_entries: (buffers * fragments * 2).next_power_of_two().min(65_536),
        socket_limit: quarter,
        return_batch: random.whole(1, (quarter / 2).max(1)),
        hold_ms: if random.chance(0.3) {
            ((quarter as f64 / load * 1000.0) * random.share() / 2.0) as u64
        } else {
            0
        },
        fragments,
        packet_bytes: random.of(&[4096, 4096, 1448, 600, 66]),
        other_completions: if random.chance(0.2) { load * random.share() } else { 0.0 },
        late: if random.chance(0.15) { random.between(0.02, 0.3) } else { 0.0 },
        tells_owner: random.chance(0.8),
        tells_armed: random.chance(0.8),
        tells_drops: random.chance(0.9),
        cadence: Duration::from_millis(random.of(&[250, 500, 1000, 1000, 1000, 2000, 5000])),
        ..Queue::default()
    }
}

type Fault = (&'static str, Cause, fn(&mut Queue, &mut Random));

/// A socket that takes whatever arrives: senders do not wait.
fn unbounded(queue: &mut Queue) {
    queue.socket_limit = queue.buffers * 4;
}

/// Longer than any situation, milliseconds.
const NEVER: u64 = 1 << 40;

/// An owner that is as slow as the CPU time it gets.
fn seldom_runs(queue: &mut Queue, random: &mut Random) {
    unbounded(queue);
    queue.tells_owner = true;
    queue.hold_ms = 0;
    queue.return_batch = 1;
    queue.returns_per_second = queue.arrivals_per_second * random.between(0.1, 0.7);
}

/// A queue whose payload is all copied, and whose owner flushes its refill ring.
fn without_device(queue: &mut Queue) {
    queue.device = false;
    queue.copied = 1.0;
    queue.fragments = 1;
    queue.late = 0.0;
    queue.hold_ms = 0;
    queue.bursts = None;
    queue.other_completions = 0.0;
    queue.flushes_every_ms = 1;
}

/// How fast the area must be taken: within so many seconds, the load being what it is.
fn share_that_fills(queue: &Queue, seconds: f64) -> f64 {
    (queue.buffers as f64 / queue.arrivals_per_second / seconds).clamp(0.002, 0.5)
}

const FAULTS: &[Fault] = &[
    ("rate", Cause::SlowConsumer, |queue, random| {
        unbounded(queue);
        queue.hold_ms = 0;
        queue.return_batch = 1;
        queue.returns_per_second = queue.arrivals_per_second * random.between(0.1, 0.75);
    }),
    ("holds", Cause::SlowConsumer, |queue, random| {
        unbounded(queue);
        queue.return_batch = 1;
        let full = queue.buffers as f64 / queue.arrivals_per_second * 1000.0;
        queue.hold_ms = (full * 1.6).max(random.between(50.0, 4000.0)) as u64;
    }),
    ("visits", Cause::SlowConsumer, |queue, random| {
        unbounded(queue);
        let full = queue.buffers as f64 / queue.arrivals_per_second * 1000.0;
        queue.visits_every_ms = (full * random.between(1.6, 3.0)) as u64 + 1;
    }),
    ("unarmed", Cause::UnreadSocketData, |queue, _| {
        unbounded(queue);
        // An owner that disarms every receive looks like one that stopped, unless the kernel shows its receives.
        queue.tells_armed = true;
        queue.armed = false;
    }),
    ("some unarmed", Cause::UnreadSocketData, |queue, random| {
        unbounded(queue);
        queue.tells_armed = true;
        queue.unarmed = random.between(0.2, 0.9);
    }),
    ("bursts", Cause::AreaTooSmall, |queue, random| {
        // Losses of moments show by the drop counter alone.
        queue.tells_drops = true;
        queue.buffers = queue.ring + 128 - queue.ring / 8;
        queue.return_batch = 1;
        queue.hold_ms = 0;
        queue.fragments = 1;
        queue.bursts = Some(queue.ring * random.whole(130, 200) / 100 + 128);
        queue.socket_limit = queue.ring * 4;
    }),
    ("drops returns", Cause::RefillRingFull, |queue, random| {
        queue.refill_entries = random.of(&[8, 16, 32, 64]);
        queue.overflow = Overflow::Drop;
        queue.fragments = 1;
        queue.hold_ms = 0;
        queue.return_batch = queue.refill_entries * random.whole(2, 4);
        queue.bursts = Some((queue.return_batch * 2).min(queue.buffers / 2));
    }),
    ("all", Cause::NeverReturned, |queue, _| queue.leak = 1.0),
    ("share", Cause::NeverReturned, |queue, random| {
        queue.leak = share_that_fills(queue, 20.0) * random.between(0.5, 4.0);
    }),
    ("on close", Cause::NeverReturned, |queue, random| {
        let every = random.whole(500, 2000);
        let lost = queue.buffers as f64 * every as f64 / 1000.0 / random.between(15.0, 35.0);
        queue.return_batch = queue.return_batch.min(8);
        queue.leaks_at_once = (every, (lost as u64).max(1));
        // Enough is done at once for that many to be lost of it.
        queue.bursts = Some(queue.bursts.unwrap_or(1).max(1));
    }),
    ("apart", Cause::FragmentPinning, |queue, random| {
        queue.tells_drops = true;
        queue.fragments = random.whole(16, 48);
        queue.pinning = true;
        queue.hold_ms = 0;
        queue.return_batch = 1;
        queue.cq_entries = 1 << 22;
        queue.refill_entries = 1 << 20;
    }),
    ("offsets", Cause::BadEntries, |queue, random| queue.bad_entries = random.between(0.04, 0.6)),
    ("retry", Cause::LazyConsumption, |queue, _| {
        unbounded(queue);
        queue.napi_restarts = false;
    }),
    ("copies", Cause::CopyFallback, |queue, random| {
        queue.fragments = 1;
        queue.copied = 0.3 + random.share() * 0.4;
        queue.return_batch = 1;
        queue.hold_ms = 0;
        queue.buffers = queue.ring + 128;
        queue.bursts = Some(queue.ring / 2 + 40);
    }),
    ("small", Cause::CqExhaustion, |queue, random| {
        queue.cq_entries = random.of(&[8, 16, 32]);
        queue.fragments = 1;
        queue.bursts = Some(queue.cq_entries * 8);
        queue.socket_limit = queue.buffers / 4;
    }),
    ("other area", Cause::MissteeredFlow, |queue, random| {
        queue.missteered_per_second = random.between(0.15, 20.0);
    }),
    ("never flushed", Cause::NoDevice, |queue, _| {
        queue.device = false;
        queue.copied = 1.0;
        queue.fragments = 1;
        queue.other_completions = 0.0;
    }),
    ("killed", Cause::PinnedAfterTeardown, |queue, _| queue.torn_down = true),
    ("stopped", Cause::OwnerNotRunning, |queue, random| {
        unbounded(queue);
        queue.tells_owner = true;
        queue.owner_runs = false;
        queue.run_state = Some(random.of(&[
            RunState::Stopped,
            RunState::Traced,
            RunState::Uninterruptible,
            RunState::Frozen,
        ]));
    }),
    ("throttled", Cause::OwnerNotRunning, |queue, random| {
        seldom_runs(queue, random);
        queue.throttled = random.between(0.55, 0.95);
    }),
    ("no CPU", Cause::OwnerNotRunning, |queue, random| {
        seldom_runs(queue, random);
        queue.no_cpu = random.between(0.55, 0.95);
    }),
    ("enters no more", Cause::OwnerNotRunning, |queue, _| {
        unbounded(queue);
        queue.visits_every_ms = NEVER;
    }),
    ("slow without device", Cause::SlowConsumer, |queue, random| {
        without_device(queue);
        queue.return_batch = 1;
        queue.returns_per_second = queue.arrivals_per_second * random.between(0.1, 0.75);
    }),
    ("leak without device", Cause::NeverReturned, |queue, random| {
        without_device(queue);
        queue.leak = share_that_fills(queue, 20.0) * random.between(0.5, 4.0);
    }),
    ("seldom flushed", Cause::NoDevice, |queue, random| {
        without_device(queue);
        let full = queue.buffers as f64 / queue.arrivals_per_second * 1000.0;
        queue.flushes_every_ms = (full * random.between(1.6, 4.0)) as u64 + 1;
    }),
    ("copied", Cause::NoZeroCopy, |queue, _| {
        queue.fragments = 1;
        queue.copied = 0.7;
        queue.bursts = None;
        queue.packet_bytes = 4096;
        queue.buffers = queue.buffers.max(8 * queue.ring + 4096);
        queue.socket_limit = queue.ring / 2;
        queue.return_batch = 1;
        queue.hold_ms = 0;
    }),
    ("down", Cause::InterfaceDown, |queue, _| queue.interface_down = true),
    ("sink", Cause::SinkBlocked, |queue, random| {
        let hold_limit = queue.buffers / 4;
        queue.hold_ms = 0;
        queue.fragments = 1;
        // Seconds until the memory for copies is used up.
        let copies = queue.arrivals_per_second * random.between(0.2, 5.0);
        queue.sink = Some(Sink { hold_limit, copies: copies as u64 + 1, takes: false });
    }),
];

/// Whether a fault is that of a queue from its begin, and not something that begins.
const fn from_the_begin(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::AreaTooSmall
            | Cause::RefillRingFull
            | Cause::FragmentPinning
            | Cause::CopyFallback
            | Cause::CqExhaustion
            | Cause::NoDevice
            | Cause::NoZeroCopy
    )
}

/// Of two faults at work on the same buffers, how much more the one does than the other: closer, it is no matter which is first.
const APART: (f64, f64) = (2.0, 4.0);

/// Adds a second fault to some situations: a leak beside slowness, an area too small beside slowness, bad entries beside a leak.
fn second(queue: &mut Queue, first: Cause, form: &str, random: &mut Random) -> Option<Cause> {
    match (first, form) {
        (Cause::SlowConsumer, "rate") if random.chance(0.15) => {
            queue.leak = share_that_fills(queue, 30.0);
            Some(Cause::NeverReturned)
        }
        (Cause::SlowConsumer, "rate") if random.chance(0.15) => {
            queue.buffers = queue.ring + 128 - queue.ring / 8;
            Some(Cause::AreaTooSmall)
        }
        (Cause::NeverReturned, "share") if random.chance(0.25) => {
            let apart = random.between(APART.0, APART.1);
            queue.bad_entries = if random.chance(0.5) { queue.leak * apart } else { queue.leak / apart };
            Some(Cause::BadEntries)
        }
        _ => None,
    }
}

/// A situation of one cause, or of two.
pub(super) fn faulty(random: &mut Random) -> Situation {
    let mut healthy = healthy(random);
    let (form, cause, apply) = random.of(FAULTS);
    let mut faulty = healthy.clone();
    apply(&mut faulty, random);
    let mut causes = vec![cause];
    causes.extend(second(&mut faulty, cause, form, random));
    if !faulty.device {
        // A queue has a device or has none: the healthy one keeps up.
        without_device(&mut healthy);
    }
    if let Some(sink) = &faulty.sink {
        healthy = Queue { sink: Some(Sink { takes: true, ..sink.clone() }), ..healthy };
        (healthy.fragments, healthy.hold_ms) = (faulty.fragments, faulty.hold_ms);
    }
    let small = causes.contains(&Cause::AreaTooSmall);
    if from_the_begin(cause) || small {
        healthy = faulty.clone();
    }
    let calm = if from_the_begin(cause) || small { 0 } else { random.of(&[2, 5, 10, 30, 60]) };
    let trouble = match cause {
        Cause::NeverReturned | Cause::BadEntries | Cause::RefillRingFull => 60,
        _ => random.whole(15, 40).max(faulty.cadence.as_secs() * 6),
    };
    // Another program imports the queue, and keeps up.
    let shared = faulty.sink.is_none() && random.chance(0.15);
    (healthy.shared, faulty.shared) = (shared, shared);
    // A driver that was restarted works again.
    let restarts = faulty.device && cause != Cause::LazyConsumption && random.chance(0.15);
    let restart_at = restarts.then(|| random.whole(1, (calm + trouble) * 1000));
    Situation { healthy, faulty, causes, form, calm, trouble, restart_at }
}
