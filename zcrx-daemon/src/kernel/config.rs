//! The kernel's build configuration, where it is shown.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
};

use flate2::read::GzDecoder;

use super::Part;

/// Options that are set: "CONFIG_BPF" to "y", "m", a number or a string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    options: BTreeMap<String, String>,
}

impl Config {
    /// Reads the configuration of the running kernel from the usual places.
    pub(super) fn read(release: &str) -> Part<Self> {
        const RUNNING: &str = "/proc/config.gz";
        if let Ok(file) = File::open(RUNNING) {
            return Self::parse(BufReader::new(GzDecoder::new(file))).map_err(|e| format!("{RUNNING}: {e}"));
        }
        let places = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
        for place in &places {
            if let Ok(file) = File::open(place) {
                return Self::parse(BufReader::new(file)).map_err(|e| format!("{place}: {e}"));
            }
        }
        Err(format!("not readable at {RUNNING}, {} or {}", places[0], places[1]))
    }

    pub(crate) fn parse(reader: impl BufRead) -> std::io::Result<Self> {
        // Kernels are configured in megabytes at most; a runaway decoder must not fill the memory.
        const LONGEST: u64 = 16 << 20;
        let mut options = BTreeMap::new();
        for line in reader.take(LONGEST).lines() {
            let line = line?;
            if line.starts_with('#') {
                continue;
            }
            if let Some((name, value)) = line.split_once('=') {
                options.insert(name.to_owned(), value.trim_matches('"').to_owned());
            }
        }
        Ok(Self { options })
    }

    /// The value of an option such as "CONFIG_KPROBES"; `None` if it is not set.
    pub fn get(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    /// Whether an option is built in or a module.
    pub fn is_on(&self, option: &str) -> bool {
        matches!(self.get(option), Some("y" | "m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_comments_are_not() -> std::io::Result<()> {
        let text =
            "# CONFIG_KPROBES is not set\nCONFIG_BPF=y\nCONFIG_HZ=250\nCONFIG_CC_VERSION_TEXT=\"gcc 14\"\n";
        let config = Config::parse(text.as_bytes())?;
        assert!(config.is_on("CONFIG_BPF"));
        assert!(!config.is_on("CONFIG_KPROBES"));
        assert!(!config.is_on("CONFIG_HZ"));
        assert_eq!(config.get("CONFIG_HZ"), Some("250"));
        assert_eq!(config.get("CONFIG_CC_VERSION_TEXT"), Some("gcc 14"));
        Ok(())
    }
}
