//! Times as text with a unit.

use std::time::Duration;

/// Parses `1s`, `250ms`, `0.5s`, `50us`.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    if let Some(number) = text.trim().strip_suffix('m').filter(|number| number.trim().parse::<f64>().is_ok())
    {
        let number = number.trim();
        return Err(format!(
            "{text:?} can mean minutes or milliseconds; write {number}ms, or minutes in seconds such as 60s"
        ));
    }
    let wrong = || format!("{text:?} is not a time: write one with its unit, such as 1s or 250ms");
    let text = text.trim();
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// Writes a time so that reading it gives the same again, to the microsecond.
pub(super) fn write_interval(interval: Duration) -> String {
    match interval.subsec_millis() {
        _ if !interval.subsec_micros().is_multiple_of(1000) => format!("{}us", interval.as_micros()),
        0 => format!("{}s", interval.as_secs()),
        _ => format!("{}ms", interval.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, millis) in [("1s", 1000), ("250ms", 250), ("0.5 s", 500), (" 2s ", 2000)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert!(parse_interval("1m").is_err_and(|said| said.contains("1ms") && said.contains("60s")));
        for wrong in ["", "1", "s", "1h", "-1s", "inf s", "nan s", "1e300s"] {
            assert!(parse_interval(wrong).is_err_and(|said| said.contains("250ms")), "{wrong}");
        }
        for millis in [1, 250, 1000, 1500, 60_000] {
            let interval = Duration::from_millis(millis);
            assert_eq!(parse_interval(&write_interval(interval)), Ok(interval));
        }
    }
}
