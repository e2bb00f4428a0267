//! Numbers for people.

use std::time::Duration;

use bytesize::ByteSize;

/// `117.7 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `1 234 567`, with narrow no-break spaces.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `250 µs`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`: two places are enough to judge by.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_micros() < 1000 => format!("{} µs", duration.as_micros()),
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// The time of day, given since the Unix epoch: `14:03:59 UTC`.
pub(super) fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs() % 86400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

/// A share as a style sheet has it, `33.3%`, from 0 to 100; 0 of nothing is 0.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part.min(whole) as f64 / whole as f64 };
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(5, 3), "100.0%");
        assert_eq!(percent(5, 0), "0.0%");
    }

    #[test]
    fn durations_have_two_places() {
        for (millis, text) in [
            (0, "0 µs"),
            (20, "20 ms"),
            (4_250, "4.2 s"),
            (59_000, "59 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (349_200_000, "4 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(utc(Duration::from_secs(86400 + 3661)), "01:01:01 UTC");
    }
}
