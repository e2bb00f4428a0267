//! Shell commands that are shown to be pasted.

/// A value as a word of a shell command. Other users choose names of interfaces and paths of sockets, and an administrator runs
/// the command.
pub fn quoted(value: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.:/@%+".contains(character);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// Fills an interface into words whose commands call it `IF`.
pub fn on_interface(words: &str, interface: Option<&str>) -> String {
    let Some(interface) = interface.map(quoted) else { return words.to_owned() };
    words.replace(" IF ", &format!(" {interface} ")).replace(" IF`", &format!(" {interface}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_a_shell_stay_as_they_are() {
        for plain in ["eth0", "10.0.0.9:7000", "/run/ingest/in.sock", "eth0.100", "ens1f0np0@2"] {
            assert_eq!(quoted(plain), plain);
        }
        for (value, word) in [
            ("", "''"),
            ("eth0;reboot", "'eth0;reboot'"),
            ("$(reboot)", "'$(reboot)'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("~root", "'~root'"),
            ("[::1]:7000", "'[::1]:7000'"),
        ] {
            assert_eq!(quoted(value), word);
        }
    }

    #[test]
    fn commands_name_the_interface_as_one_word() {
        let words = "set it down (ip link set IF down) and look at `ethtool -S IF`";
        assert_eq!(
            on_interface(words, Some("e;h")),
            "set it down (ip link set 'e;h' down) and look at `ethtool -S 'e;h'`"
        );
        assert_eq!(on_interface(words, None), words);
    }
}
