//! What the lab shows, one function per scenario.

mod before;
mod boot;
mod check;
mod churn;
mod completions;
mod contract;
mod crowd;
mod delivery;
mod diagnosed;
mod elsewhere;
mod ends;
mod failures;
mod faults;
mod features;
mod flows;
mod foreign;
mod healthy;
mod preparing;
mod probes;
mod receive;
mod recovery;
mod registration;
mod residence;
mod residence_cost;
mod starvation;
mod upheaval;
mod want;
mod words;
mod workers;

use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::{Need, ScenarioInfo};

use crate::lab;

/// Exit status of a scenario that found out that it cannot run here.
pub(crate) const SKIPPED: i32 = 77;

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// What it needs of the kernel.
    pub needs: &'static [Need],
    /// Hard stop, seconds.
    pub limit: u64,
    /// Whether the default set has it.
    pub default: bool,
    /// The scenario.
    pub run: fn() -> Result<()>,
}

impl Scenario {
    /// What the host may know.
    pub(crate) fn info(&self) -> ScenarioInfo {
        ScenarioInfo {
            name: self.name.to_owned(),
            about: self.about.to_owned(),
            needs: self.needs.to_vec(),
            limit: self.limit,
            default: self.default,
        }
    }
}

/// Every scenario, in the order they are run.
pub(crate) const ALL: &[Scenario] = &[
    boot::BOOT,
    probes::ATTACH,
    probes::MECHANISMS,
    check::HOST,
    check::INTERFACE,
    registration::REQUESTS,
    registration::INTERFACES,
    probes::COUNTED,
    words::WORDS,
    contract::REQUESTS,
    contract::NODEV,
    contract::DEVICE,
    contract::ACCOUNTING,
    receive::COPY,
    receive::NODEV,
    receive::AUTO,
    receive::ZERO_COPY,
    receive::CONNECTIONS,
    flows::SMALL_REFILL_RING,
    flows::TWO_HUNDRED,
    flows::MISPLACED,
    ends::RESETS,
    completions::REQUESTS,
    completions::ENDS,
    completions::ELSEWHERE,
    starvation::NEVER_RETURN,
    starvation::SLOW,
    starvation::NOT_READING,
    starvation::CQ_STALL,
    starvation::RING_OVERFLOW,
    starvation::BAD_TOKEN,
    faults::SMALL_AREA,
    faults::RETURN_TWICE,
    faults::WRONG_QUEUE,
    features::ALLOC_FAIL,
    features::COPIES,
    features::GROWTH,
    features::LARGE_BUFFERS,
    features::NO_LARGE_BUFFERS,
    features::SHARED,
    workers::DEVICE,
    workers::NODEV,
    workers::ALONE,
    want::WANT_DEVICE,
    want::WANT_NODEV,
    want::SLOW_DEVICE,
    want::SLOW_NODEV,
    want::STOP_DEVICE,
    want::STOP_NODEV,
    foreign::LEAK,
    delivery::COPIED,
    delivery::COPIED_KRETPROBE,
    delivery::COPIED_KPROBE_MULTI,
    delivery::ON_DEVICE,
    residence::RESIDENCE,
    residence::RESIDENCE_KRETPROBE,
    residence::RESIDENCE_SHARE,
    residence_cost::COST,
    foreign::BACKLOG,
    diagnosed::SLOW,
    diagnosed::SLOW_IN_BURSTS,
    diagnosed::UNREAPED,
    diagnosed::UNREAD,
    diagnosed::SMALL_AREA,
    diagnosed::REFILL_RING_FULL,
    diagnosed::LEAK,
    diagnosed::BAD_ENTRIES,
    diagnosed::DOUBLE_ENTRIES,
    diagnosed::FRAGMENT_PINNING,
    diagnosed::LAZY_CONSUMPTION,
    diagnosed::COPY_FALLBACK,
    diagnosed::CQ_EXHAUSTION,
    diagnosed::MISSTEERED,
    diagnosed::NO_DEVICE,
    diagnosed::PINNED,
    diagnosed::OWN_SLOW,
    diagnosed::OWN_SMALL_AREA,
    diagnosed::OWN_COPIES,
    diagnosed::OWN_MISSTEERED,
    diagnosed::OWN_PINNED,
    diagnosed::TWO_CAUSES,
    diagnosed::KILLED,
    diagnosed::FORECAST,
    diagnosed::AREA,
    diagnosed::REFILL_RING,
    healthy::MINUTE,
    healthy::TEN_MINUTES,
    elsewhere::NAMESPACE,
    before::BEFORE,
    before::WITHOUT_DEVICE,
    failures::BY_MECHANISM,
    preparing::APPLY_AND_RESTORE,
    preparing::KILLED,
    preparing::MEDDLED,
    preparing::REFUSED,
    preparing::BOUND,
    preparing::RUN,
    recovery::RING,
    recovery::DISK,
    recovery::THREAD,
    upheaval::DOWN_UP,
    upheaval::UNLOAD,
    upheaval::RELOAD,
    upheaval::KILL_DAEMON,
    upheaval::KILL_FOREIGN,
    upheaval::CYCLES,
    churn::CHURN,
    probes::REFUSED,
];

/// The scenario of that name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Ends a scenario because something it cannot know beforehand is missing.
#[derive(Debug)]
pub(crate) struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Runs one scenario in this process and leaves its verdict.
pub(crate) fn run(name: &str) -> Result<()> {
    let scenario = find(name).with_context(|| format!("there is no scenario {name}"))?;
    let Err(error) = (scenario.run)() else { return Ok(()) };
    fs::write(lab::verdict(), format!("{error:#}")).context("cannot leave the verdict")?;
    let skipped = error.is::<Skip>();
    if !skipped {
        eprintln!("{error:?}");
    }
    let code = if skipped { SKIPPED } else { 1 };
    #[expect(clippy::exit, reason = "the exit status is the verdict's first word")]
    std::process::exit(code)
}
