//! When a queue starves, if things go on as they do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Answer, PAST, available, slope};
use crate::diagnose::facts::{Facts, some};
use crate::diagnose::words;
use crate::model::QueueSample;

/// When a queue starves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Starvation {
    /// It does.
    Now,
    /// After this time, if things go on as they do.
    In(Duration),
    /// Never, if things go on as they do: as much comes back as goes out.
    NotAtThisRate,
}
/// The least time that rates are taken over.
const LEAST: Duration = Duration::from_secs(2);
pub(super) fn starvation(facts: &Facts<'_>, past: &[&QueueSample], span: Duration) -> Answer<Starvation> {
    // A failure that healed is no starvation; one that did not, or that goes on, is.
    if facts.starving_since().is_some() && some(facts.recent.failures) || facts.software_starving() {
        return Answer::Known(Starvation::Now);
    }
    if span < LEAST {
        return Answer::Unknown(format!("watched for {} only", words::time(span)));
    }
    let Some(available) = available(facts.now) else {
        return Answer::Unknown("what is free is unknown: no kernel snapshot".to_owned());
    };
    // A load that has only just begun, or changed, is steady over less time than one that has not.
    let younger = facts.now.at.saturating_sub(PAST / 2);
    let younger: Vec<&QueueSample> = past.iter().copied().filter(|sample| sample.at >= younger).collect();
    let answer = outlook(facts, past, available);
    if matches!(answer, Answer::Unknown(_)) && span > PAST / 2 {
        let of_late = outlook(facts, &younger, available);
        if matches!(of_late, Answer::Known(Starvation::In(_))) {
            return of_late;
        }
    }
    answer
}

/// When a queue starves that has so much left, by how what is out grew in these samples.
fn outlook(facts: &Facts<'_>, past: &[&QueueSample], available: u64) -> Answer<Starvation> {
    let (earlier, later) = past.split_at(past.len() / 2);
    // The halves share the sample in the middle, so that no time is lost between them.
    let earlier: Vec<_> = earlier.iter().chain(later.first()).copied().collect();
    let (Some(whole), Some(then), Some(now)) = (slope(past), slope(&earlier), slope(later)) else {
        return Answer::Unknown("what user space holds is unknown".to_owned());
    };
    let total = facts.placement.total.unwrap_or(0) as f64;
    // Less than a hundredth of the area a second is the noise of a queue that is in use.
    if whole <= total / 100.0 && now <= total / 100.0 && !grows_steadily(whole, then, now) {
        return Answer::Known(Starvation::NotAtThisRate);
    }
    if !grows_steadily(whole, then, now) {
        return Answer::Unknown(format!(
            "not steady: what is out grew by {} and then by {}",
            words::rate(then.max(0.0)),
            words::rate(now.max(0.0))
        ));
    }
    Duration::try_from_secs_f64(available as f64 / whole)
        .map_or(Answer::Known(Starvation::NotAtThisRate), |time| Answer::Known(Starvation::In(time)))
}

/// Whether both halves grow, and about as fast.
fn grows_steadily(whole: f64, then: f64, now: f64) -> bool {
    whole > 0.0 && then > 0.0 && now > 0.0 && now < then * 2.0 && then < now * 2.0
}
