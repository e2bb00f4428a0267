//! Sizes as text with a unit.

use bytesize::ByteSize;

/// Parses `64MiB`, `1.5GiB`, `4096`: a number of bytes, with or without a unit.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let unit = text.trim().trim_start_matches(|char: char| char.is_ascii_digit() || char == '.').trim();
    if let "k" | "K" | "M" | "G" | "T" | "kB" | "KB" | "MB" | "GB" | "TB" = unit {
        let number = text.trim().trim_end_matches(unit).trim();
        let letter = unit[..1].to_uppercase();
        return Err(format!(
            "{text:?} can mean powers of 1000 or of 1024; write {number}{letter}iB for powers of 1024"
        ));
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        format!("{text:?} is not a size: write a number of bytes, or one with a unit such as 64MiB")
    })
}

/// Writes a size so that reading it gives the same number again: in the greatest unit that divides it.
pub(super) fn write_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(bytesize::TIB, "TiB"), (bytesize::GIB, "GiB"), (bytesize::MIB, "MiB"), (bytesize::KIB, "KiB")];
    UNITS
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_what_people_write() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("1.5 GiB"), Ok(3 << 29));
        assert!(parse_size("64 bananas").is_err_and(|error| error.contains("64MiB")));
        assert!(parse_size("64M").is_err_and(|error| error.contains("64MiB")));
        assert!(parse_size("1 GB").is_err_and(|error| error.contains("1GiB")));
        assert!(parse_size("").is_err());
        assert!(parse_size("-1").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(bytes in prop_oneof![any::<u64>(), (0u64..1 << 20).prop_map(|n| n << 12)]) {
            prop_assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
        }
    }
}
