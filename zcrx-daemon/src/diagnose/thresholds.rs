//! The numbers that rules compare with, and why each is that number. Those of one estimate (the floors, the forecast, the entries without
//! effect) stand at the top of its file.

use std::time::Duration;

/// The recent past: what rates are taken over. Two seconds bound how late a cause is named, and hold at least two
/// samples of a daemon that samples every second.
pub(super) const RECENT: Duration = Duration::from_secs(2);

/// A consumer that has a buffer back within this time is prompt.
pub(super) const PROMPT: Duration = Duration::from_millis(100);

/// Just now: long enough to hold several rounds of any owner's loop.
pub(super) const LATEST: Duration = Duration::from_millis(240);

/// Minimum duration of a problem before zcrxd raises an alarm. A single failed allocation recovers by itself: NAPI runs again
/// within milliseconds, and drivers' timers (gve 20 ms, fbnic 1 s) fire within a second.
pub(super) const LASTING: Duration = Duration::from_millis(950);

/// Minimum duration of recurring failures where no figure shows dropped packets: the failures may be those of a NIC that tops
/// up its ring and loses nothing.
pub(super) const LASTING_WITHOUT_DROPS: Duration = Duration::from_secs(5);

/// How long a page pool may take to go. The kernel looks again once a second (`DEFER_TIME`), so a pool that is about
/// to go is seen detached for up to that long.
pub(super) const PINNED: Duration = Duration::from_millis(2500);

/// How long buffers must have been held without a break to be held throughout: longer than most owners need for one.
pub(super) const THROUGHOUT: Duration = Duration::from_secs(4);

/// Time without a problem after which an episode ends. Shorter pauses belong to the episode.
pub(super) const CALM: Duration = Duration::from_secs(5);

/// As [`CALM`], for problems that consist of single events: a receive that fails every ten seconds is one problem.
pub(super) const CALM_AFTER_EVENTS: Duration = Duration::from_secs(20);

/// The share of the area up to which a queue (completions, refill entries) counts as empty.
pub(super) const SHALLOW: f64 = 0.05;

/// The share of the area from which one place can be what keeps buffers away.
pub(super) const CONSIDERABLE: f64 = 0.25;

/// The share of the area from which one place is where most buffers are.
pub(super) const MOST: f64 = 0.5;

/// Share of refill entries consumed without effect above which the waste is real. A snapshot reads two counters one after the
/// other within milliseconds; in that time they move far less than this share of their change between samples.
pub(super) const WASTED: f64 = 0.025;

/// Buffers that a page pool's allocation cache may keep (`PP_ALLOC_CACHE_SIZE`).
pub(super) const POOL_CACHE: u64 = 128;

/// A cause with less effect than this is not worth a line.
pub(super) const NEGLIGIBLE: f64 = 0.02;

/// The share of the NIC's receive ring up to which nothing counts as posted: drivers keep a descriptor or two unused.
pub(super) const NOTHING_POSTED: f64 = 0.02;

/// How far back repeated moments of loss are one problem: holds three moments ten seconds apart, whatever the sampling.
pub(super) const REPEATED: Duration = Duration::from_secs(40);

/// Moments of loss within [`REPEATED`] from which they are no coincidence. Two may be the begin and the end of one.
pub(super) const REPEATED_MOMENTS: usize = 3;

/// The share of the time without a buffer to allocate from which a sample that also shows drops shows a starvation and
/// not a moment.
pub(super) const STARVED_SHARE: f64 = 0.1;

/// How long an owner that had returned buffers promptly all the time may pause before its held buffers count as lost:
/// garbage collectors, fsync and page faults take seconds, and a program seldom begins to lose every buffer at once.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// For how long an owner must have returned buffers for its sudden stop to be a pause.
pub(super) const PROMPT_BEFORE: Duration = Duration::from_secs(20);

/// The share of the time without a CPU (throttled, or ready and waiting) from which a thread counts as not running.
pub(super) const WITHOUT_CPU: f64 = 0.5;

/// The share of the payload that is copied from which a queue does not receive zero-copy, and the payload in a window
/// from which that is worth saying: the linear part of packets is copied on every queue.
pub(super) const MOSTLY_COPIED: f64 = 0.5;
pub(super) const WORTH_ZERO_COPY: u64 = 4 << 20;

/// The share of the area from which a leak counts as a cause, and the time over which it must have grown before it is an alarm
/// of its own (then it must have most of the area): a cache
/// that fills, or a load that begins, takes that much in less time, and what is faster fails allocations.
pub(super) const LEAKED: f64 = 0.25;
pub(super) const LEAK_SPAN: Duration = Duration::from_secs(30);

/// Refill entries that one provider call looks at, at least (`PP_ALLOC_CACHE_REFILL`; more since Linux 7.3). If more wait, a call that
/// yields nothing has looked at a full batch.
pub(super) const REFILL_BATCH: u64 = 64;

/// A buffer with less payload than one part of so many is wasted on a small packet. A full Ethernet frame fills a third of 4 KiB.
pub(super) const SMALL_PACKET_PARTS: u64 = 4;

/// Contributions of causes that raise an alarm by themselves while the queue also starves: what most buffers wait for explains the
/// starvation better, and comes first from [`MOST`] of the area on, or from a little more where the cause can explain it.
pub(super) const ENOSPC_BESIDE_STARVATION: f64 = 0.6;
pub(super) const COPIES_BESIDE_STARVATION: f64 = 0.5;
/// As above, of a cause that cannot explain a starvation: it is named after each that can.
pub(super) const MISSTEERED_BESIDE_STARVATION: f64 = 0.3;
pub(super) const NO_ZERO_COPY_BESIDE_STARVATION: f64 = 0.2;

/// References for each buffer from which buffers are delivered in fragments. Two figures of a sample are read one after the other,
/// and disagree by a few percent.
pub(super) const FRAGMENTED: f64 = 1.05;

/// CPU time between two samples up to which a thread in uninterruptible sleep did no work in between: the kernel counts it in ticks of
/// 1 to 10 ms.
pub(super) const NO_CPU_TIME: Duration = Duration::from_millis(5);
