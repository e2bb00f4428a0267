//! Says what is wrong with a queue, why, and for how long it will last: pure functions of a window of samples.
//!
//! [`diagnose`] asks each rule of [`causes`] whether its cause fits; [`alarms`] says whether anything is wrong at all;
//! [`Tracker`] follows one queue and makes episodes of alarms; [`forecast`] says when buffers run out. Nothing in here
//! reads a clock, a file or the kernel: a recording gives the same answer as the live queue did.
//!
//! To add a cause: its name in [`crate::model::Cause`], one file in `causes/` with its [`Rule`], one line in
//! [`causes::RULES`]. What it compares with stands in `thresholds.rs`; what the window says, in `facts/`.

mod alarms;
pub mod causes;
mod episodes;
pub mod facts;
mod forecast;
mod host;
#[cfg(test)]
pub(crate) mod queue_model;
mod reference;
mod replay;
mod report;
mod rule;
#[cfg(test)]
mod tests;
mod thresholds;
mod vitals;
mod watch;
mod words;

use crate::model::{Confidence, Diagnosis, Finding, Window};

pub use alarms::alarms;
pub use episodes::{Event, Tally, Tracker};
use facts::Facts;
pub use forecast::{Answer, Forecast, Sizes, Starvation, forecast};
#[cfg(test)]
pub(crate) use host::fixture::troubled;
pub use host::{HostDiagnosis, HostWatch, Past};
pub use reference::{explain, reference};
pub use replay::{Replayed, replay};
pub use report::{Report, When, title, write_episode, write_report};
pub use rule::{Case, Judgement, Produced, Rule};
pub use vitals::{Rates, Trace, Vitals};
pub use watch::{Life, Watch};

/// What the window says about its queue. An empty window says nothing.
pub fn diagnose(window: &Window) -> Diagnosis {
    let Some(facts) = Facts::of(window) else { return Diagnosis::default() };
    let mut diagnosis = Diagnosis { alarms: alarms(&facts), ..Diagnosis::default() };
    for rule in causes::RULES {
        match (rule.judge)(&facts) {
            Judgement::Fits(case) if case.effect >= thresholds::NEGLIGIBLE => {
                diagnosis.causes.push(case.into_finding(rule));
            }
            Judgement::Fits(_) | Judgement::Not => {}
            Judgement::Untold(missing) => {
                if !diagnosis.missing.iter().any(|known| known == missing) {
                    diagnosis.missing.push(missing.to_owned());
                }
            }
        }
    }
    diagnosis.causes.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    diagnosis
}

/// What causes are ranked by: the effect, as far as it is believed.
fn weight(finding: &Finding) -> f64 {
    let belief = match finding.confidence {
        Confidence::High => 1.0,
        Confidence::Medium => 0.6,
        Confidence::Low => 0.25,
    };
    finding.effect * belief
}
