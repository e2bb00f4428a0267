//! Figures as text.

use std::time::Duration;

use super::facts::Facts;

/// "952 of 1024 buffers (93 %)", or "952 buffers" where the size of the area is unknown.
pub(super) fn buffers(facts: &Facts<'_>, count: u64) -> String {
    match (facts.placement.total, facts.placement.share(Some(count))) {
        (Some(total), Some(share)) => format!("{count} of {total} buffers ({:.0} %)", share * 100.0),
        _ => format!("{count} buffers"),
    }
}

/// "4.1 s", "130 ms", "3 min".
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// "just now", "12 s ago".
pub(super) fn ago(age: Duration) -> String {
    if age < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", seconds(age)) }
}

/// "12 a second", "0.5 a second".
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 10.0 || per_second == 0.0 {
        format!("{per_second:.0} a second")
    } else {
        format!("{per_second:.1} a second")
    }
}

/// "the last 2.0 s".
pub(super) fn recently(facts: &Facts<'_>) -> String {
    last(facts.recent.span)
}

/// "the last 60.0 s".
pub(super) fn last(span: Duration) -> String {
    format!("the last {}", time(span))
}

/// "1 allocation", "3 allocations".
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// "37", "0.4", "0.04": two figures that say something.
pub(super) fn decimals(value: f64) -> String {
    if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else if value >= 0.1 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// "0 B", "82.1 MB", "1.2 GB".
pub(super) fn bytes(count: f64) -> String {
    match count {
        count if count >= 1e9 => format!("{:.1} GB", count / 1e9),
        count if count >= 1e6 => format!("{:.1} MB", count / 1e6),
        count if count >= 1e3 => format!("{:.1} kB", count / 1e3),
        count => format!("{count:.0} B"),
    }
}

/// "23 s", "4 min", "3 h": whole units, for a line that is read at a glance.
pub(super) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3600.0),
    }
}
