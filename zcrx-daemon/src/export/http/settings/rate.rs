//! `rate_limit`: the maximum number of requests per time, of all clients together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::file::RateDraft;
use super::{Place, SettingsError};

/// A bucket of tokens. Each request takes one, each interval adds one, and more than `burst` are never kept.
#[derive(Debug)]
pub(in crate::export::http) struct Rate {
    interval: Duration,
    burst: u32,
    /// Tokens, and when the last one was added.
    state: Mutex<(u32, Instant)>,
}

impl Rate {
    fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self { interval, burst, state: Mutex::new((burst, now)) }
    }

    /// Whether a request may be answered now.
    pub(in crate::export::http) fn allows(&self, now: Instant) -> bool {
        // A poisoned lock is harmless: both values are written together.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = *state;
        let passed = now.saturating_duration_since(last);
        let new = u32::try_from(passed.as_nanos() / self.interval.as_nanos()).unwrap_or(u32::MAX);
        let tokens = tokens.saturating_add(new).min(self.burst);
        // Of a bucket that was full, no time is saved up.
        let last = self.interval.checked_mul(new).and_then(|time| last.checked_add(time)).unwrap_or(now);
        let last = if tokens == self.burst { now } else { last };
        *state = (tokens.saturating_sub(1), last);
        tokens > 0
    }
}

/// `None` for an interval of 0, which limits nothing.
pub(super) fn build(place: &Place<'_>, draft: &RateDraft) -> Result<Option<Rate>, SettingsError> {
    let Some(interval) = &draft.interval else { return Ok(None) };
    let duration = parse(&interval.value).ok_or_else(|| {
        place.at(
            interval.defined,
            &format!("{:?} is no duration; write it as in 500ms, 1s or 1m30s", interval.value),
        )
    })?;
    Ok((!duration.is_zero()).then(|| Rate::new(duration, draft.burst.unwrap_or(0), Instant::now())))
}

/// A duration as Go writes it.
fn parse(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("\u{b5}s", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    if let Ok(nanoseconds) = text.parse() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let unit = rest[number..]
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .map_or(rest.len(), |end| number + end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == &rest[number..unit])?;
        seconds += rest[..number].parse::<f64>().ok()? * factor;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_allows_its_burst_and_then_one_request_per_interval() {
        let begin = Instant::now();
        let rate = Rate::new(Duration::from_secs(1), 3, begin);
        let allowed = |at: f64| rate.allows(begin + Duration::from_secs_f64(at));
        assert_eq!([0.0, 0.1, 0.2, 0.3, 0.9].map(allowed), [true, true, true, false, false]);
        assert_eq!([1.05, 1.1, 2.1, 2.2].map(allowed), [true, false, true, false]);
        // An hour fills it, and no further.
        assert_eq!([3600.0, 3600.1, 3600.2, 3600.3].map(allowed), [true, true, true, false]);
    }

    #[test]
    fn without_a_burst_nothing_is_allowed() {
        let begin = Instant::now();
        let rate = Rate::new(Duration::from_secs(1), 0, begin);
        assert!(!rate.allows(begin) && !rate.allows(begin + Duration::from_secs(100)));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanoseconds) in [
            ("0", Some(0)),
            ("250", Some(250)),
            ("1s", Some(1_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("100ms", Some(100_000_000)),
            ("", None),
            ("s", None),
            ("1", Some(1)),
            ("1x", None),
            ("-1s", None),
            ("1s2", None),
        ] {
            assert_eq!(parse(text).map(|duration| duration.as_nanos()), nanoseconds, "{text:?}");
        }
    }
}
