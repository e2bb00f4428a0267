//! Labels and numbers, as Prometheus reads them.

use std::fmt::Write as _;

/// The value of a label.
#[derive(Clone, Copy)]
pub(super) enum LabelValue<'a> {
    Text(&'a str),
    Number(u64),
    /// Leaves the label out, as an empty text does: Prometheus treats both alike.
    Absent,
}

impl From<Option<u64>> for LabelValue<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }
}

impl From<Option<u32>> for LabelValue<'_> {
    fn from(number: Option<u32>) -> Self {
        number.map(u64::from).into()
    }
}

impl<'a> From<Option<&'a str>> for LabelValue<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

/// Appends `name="value",` for each label that has a value.
pub(super) fn labels(text: &mut String, names: &[&str], values: &[LabelValue<'_>]) {
    for (name, value) in names.iter().zip(values) {
        match *value {
            LabelValue::Absent | LabelValue::Text("") => continue,
            LabelValue::Text(value) => {
                text.push_str(name);
                text.push_str("=\"");
                escape(value, true, text);
            }
            LabelValue::Number(value) => {
                text.push_str(name);
                text.push_str("=\"");
                text.push_str(itoa::Buffer::new().format(value));
            }
        }
        text.push_str("\",");
    }
}

/// Appends a text, with the characters escaped that end a line or, where it stands in quotes, the text.
pub(super) fn escape(value: &str, quotes: bool, text: &mut String) {
    let Some(first) = memchr::memchr3(b'\\', b'"', b'\n', value.as_bytes()) else {
        text.push_str(value);
        return;
    };
    let (plain, rest) = value.split_at(first);
    text.push_str(plain);
    for character in rest.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' if quotes => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Appends a number.
pub(super) fn number(text: &mut String, value: f64) {
    if value == 0.0 {
        // Most values of a healthy host.
        text.push('0');
    } else if let Some(whole) = whole(value) {
        text.push_str(itoa::Buffer::new().format(whole));
    } else if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // Not by zmij, which is faster: of two shortest texts that are equally near, it takes the other one. Writing to a String cannot
        // fail.
        let _ = write!(text, "{value}");
    }
}

/// Appends the bound of a bucket; OpenMetrics wants a fraction in each.
pub(super) fn bound(text: &mut String, value: f64, fraction: bool) {
    number(text, value);
    if fraction && whole(value).is_some() {
        text.push_str(".0");
    }
}

/// A number that is whole, and small enough that every whole number has a float of its own.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = value as i64;
    #[expect(clippy::float_cmp, reason = "equal floats are the question")]
    let is_whole = whole as f64 == value && value.abs() < EXACT;
    is_whole.then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64) -> String {
        let mut text = String::new();
        number(&mut text, value);
        text
    }

    #[test]
    fn special_numbers_are_those_of_prometheus() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-3.0, "-3"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, &format!("{}", 1e300)),
            (1e-7, "0.0000001"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(value), expected);
        }
    }

    #[test]
    fn escaped_text_has_no_raw_quote_backslash_or_newline() {
        let mut text = String::new();
        escape("a\"b\\c\nd", true, &mut text);
        escape("\"", false, &mut text);
        assert_eq!(text, r#"a\"b\\c\nd""#);
    }
}
