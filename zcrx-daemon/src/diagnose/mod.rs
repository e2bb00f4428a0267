//! Finds problems of a queue, their causes, and the time until it starves: pure functions of the queue's history.
//!
//! A [`History`] keeps the last samples, what each shows (computed once, when it arrives), and a bounded memory of the last
//! day. [`diagnose`] raises the alarms (of `symptoms` and of the rules) and asks each rule of [`causes`] whether its cause
//! fits; [`Tracker`] follows one queue and turns alarms into episodes; [`forecast`] estimates when buffers run out. No code
//! here reads a clock, a file or the kernel: a recording gives the same answer as the live queue.
//!
//! To add a cause: its name in [`crate::model::Cause`], one file in `causes/` with its [`Rule`], one line in
//! [`causes::RULES`]. Its thresholds belong in `thresholds.rs`; what the history shows belongs in `facts/`.

#[cfg(any(test, feature = "queue-model"))]
pub mod accuracy;
pub mod causes;
mod change;
mod episodes;
pub mod facts;
mod floors;
mod forecast;
mod history;
mod host;
mod losses;
mod placement;
#[cfg(any(test, feature = "queue-model"))]
#[expect(missing_docs, reason = "test code: its fields are named after what they are")]
pub mod queue_model;
mod reference;
mod replay;
mod report;
mod rule;
#[cfg(test)]
mod situations;
mod step;
mod symptoms;
#[cfg(test)]
mod tests;
mod thresholds;
mod verdict;
mod vitals;
mod watch;
mod what_if;
mod words;

use crate::model::{Confidence, Diagnosis, Finding};

pub use episodes::{Event, Tally, Tracker};
use facts::Facts;
pub use floors::{Floors, Leak, Stretch};
pub use forecast::{Answer, Forecast, Sizes, Starvation, forecast};
pub use history::{Absences, History, PiledUp, Returns};
#[cfg(test)]
pub(crate) use host::fixture::{outlook, troubled};
pub use host::{HostDiagnosis, HostOutlook, HostWatch, Past};
pub use losses::Losses;
pub use reference::{explain, reference};
pub use replay::{Replayed, replay};
pub use report::{Outlook, Report, When, title, write_episode, write_report};
pub use rule::{Case, Judgement, Produced, Rule};
pub use step::Step;
pub use verdict::{CauseWords, SOON, Urgency, Verdict};
pub use vitals::{Rates, Trace, Vitals};
pub use watch::{Changes, Life, Watch};
pub use what_if::{Need, Needs, Outcome, SizesError, TriedSizes, WhatIf, write_what_if};

/// Diagnoses the queue of a history. An empty history has an empty diagnosis. Without an alarm there is no cause: the queue
/// causes no harm.
pub fn diagnose(history: &History) -> Diagnosis {
    Facts::of(history).map_or_else(Diagnosis::default, |facts| judge(&facts))
}

/// The same from facts that are known already.
fn judge(facts: &Facts<'_>) -> Diagnosis {
    let mut diagnosis = Diagnosis { alarms: symptoms::alarms(facts), ..Diagnosis::default() };
    if diagnosis.alarms.is_empty() {
        return diagnosis;
    }
    for rule in causes::RULES {
        match (rule.judge)(facts) {
            Judgement::Fits(case) if case.contribution >= thresholds::NEGLIGIBLE => {
                let case = if rule.by_placement { case.doubt_if_moved(facts) } else { case };
                diagnosis.causes.push(case.into_finding(rule));
            }
            Judgement::Fits(_) | Judgement::Not => {}
            Judgement::Unknown(missing) => {
                if !diagnosis.missing.iter().any(|known| known == missing) {
                    diagnosis.missing.push(missing.to_owned());
                }
            }
        }
    }
    diagnosis.causes.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    // A buffer is counted for the first cause that claims it: contributions add up to the whole at most. What is left with
    // nothing is another explanation of the same buffers.
    let mut left = 1.0_f64;
    for finding in &mut diagnosis.causes {
        finding.effect = finding.effect.min(left);
        left -= finding.effect;
    }
    diagnosis
}

/// What causes are ranked by: the contribution, as far as it is believed.
fn weight(finding: &Finding) -> f64 {
    let belief = match finding.confidence {
        Confidence::High => 1.0,
        Confidence::Medium => 0.6,
        Confidence::Low => 0.25,
    };
    finding.effect * belief
}
