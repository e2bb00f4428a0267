//! Numbers for people.

use std::time::Duration;

use bytesize::ByteSize;

/// `117.7 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `1 234 567`, with narrow no-break spaces.
pub(crate) fn count(number: u64) -> String {
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
pub(crate) fn duration(duration: Duration) -> String {
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

/// `<1s`, `4s`, `3m`, `2h`, `4d`: one place, for columns.
pub(crate) fn brief(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "<1s".to_owned(),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", (seconds / 86400).min(99_999)),
    }
}

/// The time of day, given since the Unix epoch: `14:03:59 UTC`.
pub(crate) fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs() % 86400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

/// A share as a style sheet has it, `33.3%`, from 0 to 100; 0 of nothing is 0.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part.min(whole) as f64 / whole as f64 };
    format!("{:.1}%", share * 100.0)
}

/// Bytes a second in the decimal units that networks are rated in: `1.24 GB/s`, `830 MB/s`, `0 B/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    let (mut value, mut unit) = (bytes_per_second.max(0.0), "B/s");
    for next in ["kB/s", "MB/s", "GB/s", "TB/s"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let places = if unit == "B/s" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.places$} {unit}")
}

/// A share of one as whole percent: `93%`; `<1%` and `>99%` where rounding would say nothing or all.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.5 {
        "<1%".to_owned()
    } else if (99.5..100.0).contains(&percent) {
        ">99%".to_owned()
    } else {
        format!("{percent:.0}%")
    }
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
        for (bytes, text) in [
            (0.0, "0 B/s"),
            (999.0, "999 B/s"),
            (999.6, "1.00 kB/s"),
            (1_240_000_000.0, "1.24 GB/s"),
            (12_340_000.0, "12.3 MB/s"),
            (830_000_000.0, "830 MB/s"),
        ] {
            assert_eq!(rate(bytes), text);
        }
        for (part, text) in [(0.0, "0%"), (0.001, "<1%"), (0.5, "50%"), (0.999, ">99%"), (1.0, "100%")] {
            assert_eq!(share(part), text);
        }
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
        for (seconds, text) in [(0, "<1s"), (119, "119s"), (121, "2m"), (7_201, "2h"), (864_000, "10d")] {
            assert_eq!(brief(Duration::from_secs(seconds)), text);
        }
        assert_eq!(utc(Duration::from_secs(86400 + 3661)), "01:01:01 UTC");
    }
}
