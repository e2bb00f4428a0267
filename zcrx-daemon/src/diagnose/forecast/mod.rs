//! When buffers run out, and which sizes would carry the load.

mod sizes;
mod starvation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Change, Facts, Placement};
use crate::model::{QueueSample, Window};

pub use sizes::Sizes;
pub use starvation::Starvation;

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// Known.
    Known(T),
    /// Not known, for this reason.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The answer, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}
/// What is to be expected of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// When it starves.
    pub starvation: Answer<Starvation>,
    /// Buffers that can still be given out, as a share of the area.
    pub headroom: Option<f64>,
    /// Buffers that go out, a second.
    pub arrivals: Option<f64>,
    /// Buffers that come back, a second.
    pub returns: Option<f64>,
    /// How long user space has a buffer, on average (Little's law: held = rate x time).
    pub hold_time: Option<Duration>,
    /// Sizes that would do.
    pub sizes: Answer<Sizes>,
}

/// How far back rates are taken from.
const PAST: Duration = Duration::from_secs(10);
/// Looks ahead from a window; `None` if it is empty.
pub fn forecast(window: &Window) -> Option<Forecast> {
    let facts = Facts::of(window)?;
    let since = facts.now.at.saturating_sub(PAST);
    let past: Vec<&QueueSample> = window.samples().filter(|sample| sample.at >= since).collect();
    let change = Change::between(past.first()?, facts.now);
    let per_second = |count: f64| {
        let seconds = change.span.as_secs_f64();
        (seconds > 0.0).then_some(count / seconds)
    };
    let fragments = facts.placement.fragments.unwrap_or(1.0);
    let returns = change.returned.and_then(|returned| per_second(returned as f64 / fragments));
    let growth = slope(&past);
    let arrivals = returns.zip(growth).map(|(returns, growth)| (returns + growth).max(0.0));
    let user = past.iter().filter_map(|sample| user(sample)).map(|user| user as f64).collect::<Vec<_>>();
    let mean = (!user.is_empty()).then(|| user.iter().sum::<f64>() / user.len() as f64);
    let hold_time = mean
        .zip(returns.filter(|&returns| returns > 0.0))
        .and_then(|(mean, returns)| Duration::try_from_secs_f64(mean / returns).ok());
    Some(Forecast {
        starvation: starvation::starvation(&facts, &past, change.span),
        headroom: available(facts.now).and_then(|available| facts.placement.share(Some(available))),
        arrivals,
        returns,
        hold_time,
        sizes: sizes::sizes(&facts, arrivals, returns),
    })
}

/// Buffers that user space has and that no allocation could get: held, stashed, in unread completions.
fn user(sample: &QueueSample) -> Option<u64> {
    let placement = Placement::of(sample);
    Some(placement.held? + placement.completed? + placement.stashed.unwrap_or(0))
}

/// Buffers that are out of the allocator's reach: with user space and in sockets.
fn out(sample: &QueueSample) -> Option<u64> {
    Some(user(sample)? + Placement::of(sample).sockets.unwrap_or(0))
}

/// Buffers that an allocation could still get: free, in the pool's cache, in the refill ring.
pub(in crate::diagnose) fn available(sample: &QueueSample) -> Option<u64> {
    let placement = Placement::of(sample);
    match (placement.free, &sample.kernel) {
        (Some(free), Some(kernel)) => {
            let cache = kernel.pool.and_then(|pool| pool.cache).unwrap_or(0);
            Some(free + u64::from(cache) + placement.pending?)
        }
        // The software interface queue posts nothing: what is not out is there.
        _ => Some(placement.total?.saturating_sub(out(sample)?)),
    }
}
/// How much more is out each second; `None` where that is unknown.
fn slope(past: &[&QueueSample]) -> Option<f64> {
    let (first, last) = (past.first()?, past.last()?);
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    (seconds > 0.0).then_some((out(last)? as f64 - out(first)? as f64) / seconds)
}
