//! Text that others chose: names of processes, interfaces and cgroups.
//!
//! A process may name itself `\x1b[2J` or `a\nERROR`. Such text is escaped once, where it enters the model (from the kernel,
//! from `/proc`, from a recording), so that no view, log line, label or recording can be forged with it.

use std::fmt::Write;

use serde::{Deserialize, Deserializer};

/// Text with each control character as Rust writes it (`\n`, `\u{1b}`). Unicode's line separators and direction marks count
/// as control characters: they change what surrounds them. Text without any is returned as it is, so escaped text stays as
/// it is, too.
pub fn escaped(text: impl Into<String>) -> String {
    let text = text.into();
    if !text.chars().any(controls) {
        return text;
    }
    text.chars().fold(String::with_capacity(2 * text.len()), |mut safe, character| {
        if controls(character) {
            // Writing to a string cannot fail.
            _ = write!(safe, "{}", character.escape_default());
        } else {
            safe.push(character);
        }
        safe
    })
}

/// Escapes a zero-terminated name of the kernel's. Bytes that are no UTF-8 become U+FFFD.
pub fn from_kernel(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let name = &bytes[..end];
    // Most names need no second look.
    if name.iter().all(|&byte| byte.is_ascii_graphic() || byte == b' ')
        && let Ok(name) = str::from_utf8(name)
    {
        return name.to_owned();
    }
    escaped(String::from_utf8_lossy(name))
}

fn controls(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// For `serde`: escapes a text of a recording.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(escaped)
}

/// For `serde`: escapes an optional text of a recording.
pub(super) fn deserialize_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(escaped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, QueueKey};

    #[test]
    fn control_characters_are_escaped_and_all_others_kept() {
        for code in 0..=u32::from(char::MAX) {
            let Some(character) = char::from_u32(code) else { continue };
            let safe = escaped(character);
            assert!(!safe.chars().any(char::is_control), "{code:#x} became {safe:?}");
            assert!(controls(character) || safe == character.to_string(), "{code:#x} became {safe:?}");
        }
        assert_eq!(escaped("a\nERROR \u{1b}[2J\u{202e}b"), r"a\nERROR \u{1b}[2J\u{202e}b");
    }

    #[test]
    fn escaped_text_is_escaped_no_further() {
        let once = escaped("tab\t, bell\u{7}, a backslash \\n");
        assert_eq!(escaped(once.clone()), once);
    }

    #[test]
    fn names_end_at_their_zero() {
        assert_eq!(from_kernel(b"in\rgest\0rest"), r"in\rgest");
        assert_eq!(from_kernel(b"no zero"), "no zero");
        assert_eq!(from_kernel(&[0xff, 0]), "\u{fffd}");
    }

    #[test]
    fn recordings_cannot_carry_control_characters_in() {
        let owner: Owner = serde_json::from_str(r#"{"pid":1,"comm":"a\u001b[2J","fd":null,"cgroup":null}"#)
            .expect("an owner");
        assert_eq!(owner.comm, r"a\u{1b}[2J");
        let key: QueueKey = serde_json::from_str(r#"{"interface":"eth0\n","queue":1}"#).expect("a key");
        assert_eq!(key.to_string(), r"eth0\n:1");
    }
}
