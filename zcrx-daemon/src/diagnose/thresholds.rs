//! Every number that a rule compares with, and why it is that number.

use std::time::Duration;

/// The recent past: what rates are taken over. Two seconds bound how late a cause is named, and hold at least two
/// samples of a daemon that samples every second.
pub(super) const RECENT: Duration = Duration::from_secs(2);

/// Just now: long enough to hold several rounds of any owner's loop.
pub(super) const LATEST: Duration = Duration::from_millis(240);

/// How long a trouble lasts before it is told. One failed allocation heals by itself: NAPI comes back within
/// milliseconds, and the drivers' own timers (gve 20 ms, fbnic 1 s) within a second.
pub(super) const LASTING: Duration = Duration::from_millis(950);

/// How long failures must recur where nothing tells whether packets are dropped: without that, failures may be those
/// of a NIC that tops up its ring and loses nothing.
pub(super) const LASTING_WITHOUT_DROPS: Duration = Duration::from_secs(5);

/// How long a page pool may take to go. The kernel looks again once a second (`DEFER_TIME`), so a pool that is about
/// to go is seen detached for up to that long.
pub(super) const PINNED: Duration = Duration::from_millis(2500);

/// How long buffers must have been held without a break to be held throughout: longer than most owners need for one.
pub(super) const THROUGHOUT: Duration = Duration::from_secs(4);

/// How long nothing may arrive before half an area in the owner's hands is a leak and not work.
pub(super) const IDLE_LEAK: Duration = Duration::from_secs(10);

/// The least time over which a growth of what is held is a trend.
pub(super) const TREND: Duration = Duration::from_secs(10);

/// A queue is calm again, and its episode closed, after this much time without trouble: shorter pauses are one episode.
pub(super) const CALM: Duration = Duration::from_secs(5);

/// While an episode is this young, a later diagnosis that is as sure replaces the earlier: more is seen by then.
/// Afterwards only a surer one does: the window forgets what the trouble began with.
pub(super) const SETTLING: Duration = Duration::from_secs(10);

/// The share of the area up to which a queue (completions, refill entries) counts as empty.
pub(super) const SHALLOW: f64 = 0.05;

/// The share of the area from which one place can be what keeps buffers away.
pub(super) const CONSIDERABLE: f64 = 0.25;

/// The share of the area from which one place is where most buffers are.
pub(super) const MOST: f64 = 0.5;

/// The share of refill entries consumed in vain from which they are no coincidence of two counters read one after the
/// other.
pub(super) const WASTED: f64 = 0.1;

/// The share of the area by which the least that is held must grow to be a leak.
pub(super) const LEAK_GROWTH: f64 = 0.2;

/// Buffers that a page pool's allocation cache may keep (`PP_ALLOC_CACHE_SIZE`).
pub(super) const POOL_CACHE: u64 = 128;

/// A cause with less effect than this is not worth a line.
pub(super) const NEGLIGIBLE: f64 = 0.02;

/// Room above the computed need in recommended sizes: rates are averages, bursts are not.
pub(super) const HEADROOM: f64 = 1.5;
