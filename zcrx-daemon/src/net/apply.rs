//! Taking steps behind a journal: forward, back when one fails, and back to the start when asked.

use super::NetError;
use super::driver::Driver;
use super::journal::{Identity, Journal, JournalError};
use super::merge::{WayBack, way_back};
use super::step::{Step, Taken, same_rule, steps, unpaired};
use super::target::target;
use super::wanted::Wanted;
use crate::model::{FlowRule, HeaderSplit, Reading, Setup};

/// Rounds of looking and stepping before giving up on a driver that keeps answering with something else.
const ROUNDS: usize = 4;

/// An interface that can be read and changed.
pub trait Device {
    /// As it is now.
    fn read(&mut self) -> Result<Setup, NetError>;

    /// Takes one step. A step that finds out which header split was configured passes that on at once.
    fn take(&mut self, step: &Step, learned: &mut dyn FnMut(HeaderSplit)) -> Result<Taken, NetError>;

    /// What is known of its driver.
    fn driver(&self) -> Driver {
        Driver::GENERIC
    }
}

/// Where journals are kept.
pub trait Keep {
    /// Keeps a journal so that it outlives the process and the machine's next crash.
    fn save(&mut self, journal: &Journal) -> Result<(), JournalError>;

    /// Forgets it.
    fn forget(&mut self, identity: &Identity) -> Result<(), JournalError>;
}

/// A change that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A step failed, and all before it were taken back.
    #[error("{0}; everything before it was taken back")]
    TakenBack(#[source] Failure),
    /// A step failed, and so did the way back.
    #[error("{failure}; taking back failed too: {back}. `zcrxd nic restore` tries again")]
    Stuck {
        /// The step that failed first.
        failure: Failure,
        /// What failed on the way back.
        back: String,
    },
    /// The interface cannot be read.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The journal cannot be kept, so nothing more is changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel or driver refused it.
    #[error("{command}: {error}")]
    Refused {
        /// The step, in ethtool's words.
        command: String,
        /// Why.
        error: NetError,
    },
    /// The driver takes the steps and stays as it is.
    #[error("the driver accepts but does not do: {0}")]
    Ignored(String),
    /// The interface cannot be read.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Failure {
    /// Whether a capability is missing.
    pub const fn is_permission(&self) -> bool {
        matches!(self, Self::Refused { error, .. } | Self::Net(error) if error.is_permission())
    }
}

/// What restoring did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Steps taken.
    pub steps: Vec<Step>,
    /// What another program changed since and was left alone.
    pub foreign: Vec<String>,
    /// Steps that failed, each with the reason; empty means that all is back and the journal is forgotten.
    pub failed: Vec<String>,
}

/// Changes an interface to the wanted settings, or restores all of them if a step fails.
///
/// An interface prepared before keeps its first original. Returns the steps taken; none means that nothing had to change.
pub fn apply(
    device: &mut impl Device,
    keep: &mut impl Keep,
    identity: &Identity,
    earlier: Option<&Journal>,
    wanted: &Wanted,
) -> Result<Vec<Step>, ApplyError> {
    let before = device.read()?;
    let mut journal = match earlier {
        Some(earlier) => {
            let mut journal = earlier.clone();
            journal.adopt(&before);
            journal
        }
        None => Journal::begin(identity.clone(), before.clone()),
    };
    // Rules of zcrxd's own may be moved to another queue; any other rule is another program's and stays.
    let ours = journal.added.clone();
    let driver = device.driver();
    let mut walk = Walk::new(device, keep, &mut journal, &identity.name);
    let goal = |now: &Setup| {
        let mut goal = target(now, wanted, &driver, &ours);
        keep_rules(&mut goal, &before, wanted, &ours);
        goal
    };
    let Err(failure) = walk.to(goal) else {
        let taken = walk.taken;
        if taken.is_empty() && earlier.is_none() {
            keep.forget(identity)?;
        }
        return Ok(taken);
    };
    let mut before = before;
    if let (Some(split), Reading::Known(rings)) = (walk.split_before, &mut before.rings) {
        rings.split_configured = Some(split);
    }
    // Only this call's own changes go back: those of an earlier one are the next restore's.
    walk.settle();
    let earlier_rules = earlier.map_or(&[][..], |earlier| &earlier.added);
    let mut added = walk.journal.added.clone();
    added.retain(|rule| !earlier_rules.iter().any(|other| same_rule(other, rule)));
    let back = walk.back(&before, &added);
    if !back.failed.is_empty() {
        return Err(ApplyError::Stuck { failure, back: back.failed.join("; ") });
    }
    match earlier {
        Some(earlier) => keep.save(earlier)?,
        None => keep.forget(identity)?,
    }
    Err(ApplyError::TakenBack(failure))
}

/// Whether a step only asks for another *reported* header split, while what is configured is right: bnxt reports "on" for
/// as long as hardware GRO is on, and refuses "off".
fn is_drivers_choice(step: &Step, now: &Setup, goal: &Setup) -> bool {
    let configured = |setup: &Setup| setup.rings.known().and_then(|rings| rings.split_configured);
    matches!(step, Step::HeaderSplit { split: Some(HeaderSplit::Off), threshold: None })
        && configured(goal) != Some(HeaderSplit::Off)
        && configured(goal).is_some()
        && configured(now) == configured(goal)
}

/// Keeps rules in the goal that a step's side effect removed: they existed before, and the plan does not remove them.
fn keep_rules(goal: &mut Setup, before: &Setup, wanted: &Wanted, ours: &[FlowRule]) {
    let (Reading::Known(goal), Some(before)) = (&mut goal.rules, before.rules.known()) else { return };
    let (_, lost) = unpaired(&goal.rules, &before.rules, goal.driver_places);
    for rule in lost {
        let moved = ours.iter().any(|other| same_rule(other, &rule))
            && wanted.flows.iter().any(|flow| flow.steered_by(&rule).is_some());
        let taken = |other: &FlowRule| !goal.driver_places && other.location == rule.location;
        if !moved && !wanted.drops(&rule, ours) && !goal.rules.iter().any(taken) {
            goal.rules.push(rule);
        }
    }
}

/// Restores the settings from before the first [`apply`], and deletes the journal once all are restored.
pub fn restore(
    device: &mut impl Device,
    keep: &mut impl Keep,
    mut journal: Journal,
) -> Result<Restored, JournalError> {
    let identity = journal.identity.clone();
    let mut walk = Walk::new(device, keep, &mut journal, &identity.name);
    walk.settle();
    let (original, added) = (walk.journal.original.clone(), walk.journal.added.clone());
    let restored = walk.back(&original, &added);
    if restored.failed.is_empty() {
        keep.forget(&identity)?;
    }
    Ok(restored)
}

/// Steps being taken: each is in the journal before it begins and after it ends.
struct Walk<'a, D, K> {
    device: &'a mut D,
    keep: &'a mut K,
    journal: &'a mut Journal,
    name: &'a str,
    taken: Vec<Step>,
    /// Header split that was configured before the first step of this walk that set it.
    split_before: Option<HeaderSplit>,
}

impl<'a, D: Device, K: Keep> Walk<'a, D, K> {
    fn new(device: &'a mut D, keep: &'a mut K, journal: &'a mut Journal, name: &'a str) -> Self {
        Self { device, keep, journal, name, taken: Vec::new(), split_before: None }
    }

    /// Goes on until the interface is at the goal, which may depend on how it answers.
    fn to(&mut self, goal: impl Fn(&Setup) -> Setup) -> Result<(), Failure> {
        for _ in 0..ROUNDS {
            let now = self.device.read()?;
            let steps = steps(&now, &goal(&now));
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                self.journal.begun = Some(step.clone());
                self.keep.save(self.journal)?;
                self.take(step)?;
                self.keep.save(self.journal)?;
            }
        }
        let now = self.device.read()?;
        let missing = steps(&now, &goal(&now));
        if missing.is_empty() { Ok(()) } else { Err(Failure::Ignored(self.commands(&missing))) }
    }

    /// Accounts for a step that was begun and whose end is unknown, before another one takes its place in the journal.
    fn settle(&mut self) {
        // If zcrxd cannot read the interface, the next step reports the error.
        if let Ok(now) = self.device.read() {
            self.journal.adopt(&now);
        }
    }

    /// Restores the original as far as possible: a setting that cannot be restored does not prevent the others.
    fn back(&mut self, original: &Setup, added: &[FlowRule]) -> Restored {
        let mut refused: Vec<Step> = Vec::new();
        let mut failed = Vec::new();
        // Changes of other programs that the first reading found are kept, even if a step's side effect undoes them.
        let mut first: Option<WayBack> = None;
        for round in 0..=ROUNDS {
            let now = match self.device.read() {
                Ok(now) => now,
                Err(error) => {
                    failed.push(error.to_string());
                    return Restored { steps: self.taken.clone(), foreign: Vec::new(), failed };
                }
            };
            let mut way = way_back(self.journal, original, added, &now);
            match &first {
                None => first = Some(way.clone()),
                Some(first) => way.keep(first),
            }
            let mut steps = steps(&now, &way.target);
            steps.retain(|step| !refused.contains(step));
            if round == ROUNDS && !steps.is_empty() {
                failed.push(Failure::Ignored(self.commands(&steps)).to_string());
            }
            if round == ROUNDS || steps.is_empty() {
                return Restored { steps: self.taken.clone(), foreign: way.foreign, failed };
            }
            for step in steps {
                self.journal.begun = Some(step.clone());
                // A full disk must not keep the interface from being put back: the way is in memory too.
                let kept = self.keep.save(self.journal);
                if let Err(failure) = self.take(step.clone()) {
                    if !is_drivers_choice(&step, &now, &way.target) {
                        failed.push(failure.to_string());
                    }
                    refused.push(step);
                }
                if let Err(error) = kept.and_then(|()| self.keep.save(self.journal)) {
                    failed.push(error.to_string());
                }
            }
        }
        Restored { steps: self.taken.clone(), foreign: Vec::new(), failed }
    }

    /// Takes a step and records how it left the interface, which a failed step may have changed as well.
    fn take(&mut self, step: Step) -> Result<(), Failure> {
        let before = self.device.read()?;
        let (journal, keep, split_before) = (&mut *self.journal, &mut *self.keep, &mut self.split_before);
        let result = self.device.take(&step, &mut |split| {
            journal.learn_split(split);
            *split_before = split_before.or(Some(split));
            // Where that fails, so does keeping the journal after the step, which is reported.
            keep.save(journal).ok();
        });
        let now = self.device.read()?;
        match result {
            Ok(outcome) => {
                if let (Step::InsertRule(rule), Some(place)) = (&step, outcome.place) {
                    // The driver may report the rule in another form; that form identifies the rule later.
                    let told = now.rules.known().and_then(|rules| {
                        rules.rules.iter().find(|other| other.location == Some(place)).cloned()
                    });
                    let asked = FlowRule { location: Some(place), ..rule.clone() };
                    self.journal.added.push(told.unwrap_or(asked));
                }
                self.journal.ended(&before, &now);
                // A request that changed nothing is no step, even if it revealed the configuration.
                if outcome.changed != Some(false) {
                    self.taken.push(step);
                }
                Ok(())
            }
            Err(error) => {
                self.journal.ended(&before, &now);
                Err(Failure::Refused { command: step.command(self.name), error })
            }
        }
    }

    fn commands(&self, steps: &[Step]) -> String {
        let commands: Vec<String> = steps.iter().map(|step| step.command(self.name)).collect();
        commands.join("; ")
    }
}
