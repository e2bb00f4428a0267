//! When a queue starves, if things go on as they do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::diagnose::facts::{Facts, some};
use crate::diagnose::placement::out;
use crate::diagnose::words;

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

/// The least time that a rise must last, and the least number of samples that show it.
const LEAST: Duration = Duration::from_secs(4);
const LEAST_SAMPLES: usize = 4;

/// How much longer than any rise before, after which the buffers came back, a rise must last to be foretold.
const LONGER: f64 = 1.5;

/// Standard deviations on both sides that hold 80 % of a normal distribution.
const EIGHTY_PERCENT: f64 = 1.28;

/// The share of the area up to which a level counts as the lowest, and the share each second that is no rise.
const NEAR: f64 = 0.02;
const NOISE: f64 = 0.001;

/// The part of a rise that counts as its latest, and the share of the whole rise's rate below which that part has slackened.
const LATEST_PART: usize = 4;
const SLACKENED: f64 = 0.5;

/// A time that is foretold no better than within this factor is not foretold.
const WIDEST: f64 = 3.0;

/// Low levels further apart than so many times the longest time between two samples have a rise between them.
const BETWEEN_SAMPLES: f64 = 1.5;

/// The share of the area each second by which a rise too short to be foretold is worth a word: at that rate the area lasts 50 s.
const STEEP: f64 = 0.02;

/// The range of a leak that only hours show: the least held, from which its rate is taken, is known to about a third.
const SLOW_RANGE: (f64, f64) = (0.7, 1.4);
/// The slowest leak whose end is foretold, buffers a second: one in 30 years.
const LEAST_RATE: f64 = 1e-9;

/// When a queue starves, with the range that holds 80 % of what may come.
pub(super) fn starvation(facts: &Facts<'_>) -> (Answer<Starvation>, Option<(Duration, Duration)>) {
    // A failure that healed is no starvation; one that did not, or that goes on, is.
    let now = facts.starving_since().is_some() && some(facts.recent.failures);
    if now || facts.copies_starve() || facts.software_starving() || facts.dropping_with_nothing_posted() {
        return (Answer::Known(Starvation::Now), None);
    }
    let span = facts.whole.span;
    if span < Duration::from_secs(2) {
        return (Answer::Unknown(format!("watched for {} only", words::time(span))), None);
    }
    let Some(available) = facts.available() else {
        return (Answer::Unknown("what is free is unknown: no kernel snapshot".to_owned()), None);
    };
    match outlook(facts, available as f64) {
        Ok(Some((middle, range))) => (Answer::Known(Starvation::In(middle)), Some(range)),
        Ok(None) => match slow_leak(facts, available as f64) {
            Some(time) => (
                Answer::Known(Starvation::In(time)),
                Some((time.mul_f64(SLOW_RANGE.0), time.mul_f64(SLOW_RANGE.1))),
            ),
            None => (Answer::Known(Starvation::NotAtThisRate), None),
        },
        Err(why) => (Answer::Unknown(why), None),
    }
}

/// When a leak that only hours show takes the rest.
fn slow_leak(facts: &Facts<'_>, available: f64) -> Option<Duration> {
    let leak = facts.history.floors().slow()?;
    Duration::try_from_secs_f64(available / leak.per_second.max(LEAST_RATE)).ok()
}

/// A time, and the range that holds 80 % of what may come.
type Foretold = (Duration, (Duration, Duration));

/// The rise that lasts, carried on: when nothing is left, and the range for it. `None` where nothing rises.
fn outlook(facts: &Facts<'_>, available: f64) -> Result<Option<Foretold>, String> {
    let total = facts.placement.total.unwrap_or(0) as f64;
    let steps = facts.history.steps();
    let lowest = steps
        .iter()
        .map(|step| out(&step.placement))
        .reduce(|lowest, level| Some(lowest?.min(level?)))
        .flatten()
        .ok_or("what user space holds is unknown")? as f64;
    let near = |level: f64| level <= lowest + total * NEAR;
    // Most queues are at their lowest level: nothing rises, and there is nothing to carry on.
    if steps.back().and_then(|step| out(&step.placement)).is_none_or(|newest| near(newest as f64)) {
        return Ok(None);
    }
    let levels: Vec<(f64, f64)> =
        steps.iter().filter_map(|step| Some((step.at.as_secs_f64(), out(&step.placement)? as f64))).collect();
    let Some(begin) = levels.iter().rposition(|level| near(level.1)) else { return Ok(None) };
    let rise = &levels[begin..];
    let lasted = rise[rise.len() - 1].0 - rise[0].0;
    // What rose before and came back: the longest time between two low levels.
    let low: Vec<f64> = levels[..=begin].iter().filter(|level| near(level.1)).map(|level| level.0).collect();
    let before = low.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let sampled = levels.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(0.0, f64::max);
    if before > sampled * BETWEEN_SAMPLES && lasted < before * LONGER {
        return Ok(None);
    }
    let (slope, error) = fit(rise);
    if rise.len() < LEAST_SAMPLES || lasted < LEAST.as_secs_f64() {
        let rising = rise.len() > 2 && slope > total * STEEP;
        return if rising { Err(format!("it has risen for {lasted:.1} s only")) } else { Ok(None) };
    }
    if slope <= total * NOISE || slope <= error * EIGHTY_PERCENT {
        return Ok(None);
    }
    // A limit of the owner's own may have ended the rise.
    let (latest, latest_error) = fit(&rise[rise.len() - (rise.len() / LATEST_PART).max(LEAST_SAMPLES)..]);
    if latest + latest_error * EIGHTY_PERCENT < slope * SLACKENED {
        return Err("the rise has slowed down in the last seconds".to_owned());
    }
    let (fast, slow) = (slope + error * EIGHTY_PERCENT, slope - error * EIGHTY_PERCENT);
    if fast / slow > WIDEST {
        return Err(format!(
            "not steady: {} to {} more buffers are in use each second",
            slow.round(),
            fast.round()
        ));
    }
    let time = |slope: f64| Duration::try_from_secs_f64(available / slope).ok();
    Ok(time(slope).zip(time(fast).zip(time(slow))))
}

/// The slope of a straight line through the levels, and its standard error.
fn fit(levels: &[(f64, f64)]) -> (f64, f64) {
    let count = levels.len() as f64;
    let (time, level) =
        levels.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0 / count, sum.1 + one.1 / count));
    let (mut across, mut along) = (0.0, 0.0);
    for one in levels {
        across += (one.0 - time) * (one.1 - level);
        along += (one.0 - time) * (one.0 - time);
    }
    if along <= 0.0 {
        return (0.0, 0.0);
    }
    let slope = across / along;
    let residual = levels.iter().map(|one| (one.1 - level - slope * (one.0 - time)).powi(2)).sum::<f64>();
    (slope, (residual / (count - 2.0).max(1.0) / along).sqrt())
}
