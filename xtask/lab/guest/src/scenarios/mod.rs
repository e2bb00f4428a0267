//! What the lab shows, one constant per scenario.

mod diagnosis;
mod lifecycle;
mod nic;
mod receive;
mod registration;

use std::fs;

use anyhow::{Context, Result};

use crate::harness;
use crate::harness::scenario::{SKIPPED, Scenario, Skip};

/// Every scenario, in the order they are run.
pub(crate) const ALL: &[Scenario] = &[
    lifecycle::boot::BOOT,
    diagnosis::probes::ATTACH,
    diagnosis::probes::MECHANISMS,
    nic::check::HOST,
    nic::check::INTERFACE,
    registration::requests::REQUESTS,
    registration::requests::INTERFACES,
    diagnosis::probes::COUNTED,
    registration::registration_errors::WORDS,
    registration::conformance::REQUESTS,
    registration::conformance::NODEV,
    registration::conformance::DEVICE,
    registration::conformance::ACCOUNTING,
    receive::backends::COPY,
    receive::backends::NODEV,
    receive::backends::AUTO,
    receive::backends::ZERO_COPY,
    receive::backends::CONNECTIONS,
    receive::flows::SMALL_REFILL_RING,
    receive::flows::TWO_HUNDRED,
    receive::flows::MISPLACED,
    receive::ends::RESETS,
    receive::completions::REQUESTS,
    receive::completions::ENDS,
    receive::completions::ELSEWHERE,
    diagnosis::starvation::NEVER_RETURN,
    diagnosis::starvation::SLOW,
    diagnosis::starvation::NOT_READING,
    diagnosis::starvation::CQ_STALL,
    diagnosis::starvation::RING_OVERFLOW,
    diagnosis::starvation::BAD_TOKEN,
    diagnosis::faults::SMALL_AREA,
    diagnosis::faults::RETURN_TWICE,
    diagnosis::faults::WRONG_QUEUE,
    receive::features::ALLOC_FAIL,
    receive::features::COPIES,
    receive::features::GROWTH,
    receive::features::LARGE_BUFFERS,
    receive::features::NO_LARGE_BUFFERS,
    receive::features::SHARED,
    receive::workers::DEVICE,
    receive::workers::NODEV,
    receive::workers::ALONE,
    receive::pressure::WANT_DEVICE,
    receive::pressure::WANT_NODEV,
    receive::pressure::SLOW_DEVICE,
    receive::pressure::SLOW_NODEV,
    receive::pressure::STOP_DEVICE,
    receive::pressure::STOP_NODEV,
    diagnosis::owner::LEAK,
    diagnosis::delivery::COPIED,
    diagnosis::delivery::COPIED_KRETPROBE,
    diagnosis::delivery::COPIED_KPROBE_MULTI,
    diagnosis::delivery::ON_DEVICE,
    diagnosis::residence::RESIDENCE,
    diagnosis::residence::RESIDENCE_KRETPROBE,
    diagnosis::residence::RESIDENCE_SHARE,
    diagnosis::residence_cost::COST,
    diagnosis::owner::BACKLOG,
    diagnosis::foreign_queue::SLOW,
    diagnosis::foreign_queue::SLOW_IN_BURSTS,
    diagnosis::foreign_queue::UNREAPED,
    diagnosis::foreign_queue::UNREAD,
    diagnosis::foreign_queue::SMALL_AREA,
    diagnosis::foreign_queue::REFILL_RING_FULL,
    diagnosis::foreign_queue::LEAK,
    diagnosis::foreign_queue::BAD_ENTRIES,
    diagnosis::foreign_queue::DOUBLE_ENTRIES,
    diagnosis::foreign_queue::FRAGMENT_PINNING,
    diagnosis::foreign_queue::LAZY_CONSUMPTION,
    diagnosis::foreign_queue::COPY_FALLBACK,
    diagnosis::foreign_queue::CQ_EXHAUSTION,
    diagnosis::foreign_queue::MISSTEERED,
    diagnosis::foreign_queue::NO_DEVICE,
    diagnosis::teardown::PINNED,
    diagnosis::local_queue::OWN_SLOW,
    diagnosis::local_queue::OWN_SMALL_AREA,
    diagnosis::local_queue::OWN_COPIES,
    diagnosis::local_queue::OWN_MISSTEERED,
    diagnosis::local_queue::OWN_PINNED,
    diagnosis::stories::TWO_CAUSES,
    diagnosis::stories::KILLED,
    diagnosis::stories::FORECAST,
    diagnosis::sizes::AREA,
    diagnosis::sizes::REFILL_RING,
    diagnosis::healthy::MINUTE,
    diagnosis::healthy::TEN_MINUTES,
    lifecycle::netns::NAMESPACE,
    diagnosis::foreign_snapshot::BEFORE,
    diagnosis::foreign_snapshot::WITHOUT_DEVICE,
    diagnosis::failures::BY_MECHANISM,
    nic::preparation::APPLY_AND_RESTORE,
    nic::preparation::KILLED,
    nic::preparation::MEDDLED,
    nic::preparation::REFUSED,
    nic::preparation::BOUND,
    nic::preparation::RUN,
    receive::recovery::RING,
    receive::recovery::DISK,
    receive::recovery::THREAD,
    lifecycle::lifecycle_faults::DOWN_UP,
    lifecycle::lifecycle_faults::UNLOAD,
    lifecycle::lifecycle_faults::RELOAD,
    lifecycle::lifecycle_faults::KILL_DAEMON,
    lifecycle::lifecycle_faults::KILL_FOREIGN,
    lifecycle::lifecycle_faults::CYCLES,
    lifecycle::churn::CHURN,
    diagnosis::probes::REFUSED,
];

/// The scenario of that name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Runs one scenario in this process and leaves its verdict.
pub(crate) fn run(name: &str) -> Result<()> {
    let scenario = find(name).with_context(|| format!("there is no scenario {name}"))?;
    let Err(error) = (scenario.run)() else { return Ok(()) };
    fs::write(harness::verdict(), format!("{error:#}")).context("cannot leave the verdict")?;
    let skipped = error.is::<Skip>();
    if !skipped {
        eprintln!("{error:?}");
    }
    let code = if skipped { SKIPPED } else { 1 };
    #[expect(clippy::exit, reason = "the exit status is the verdict's first word")]
    std::process::exit(code)
}
