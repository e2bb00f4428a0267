//! The help texts of metrics, read from the reference page that the export's tables generate.

/// Lengths of a help text in characters: long enough for a unit and a meaning, short enough for a tooltip.
const LENGTH: std::ops::RangeInclusive<usize> = 20..=200;

/// Phrases that make sense only beside another metric's help.
const NOT_ALONE: [&str; 5] = ["of these", "of those", "the same", "likewise", "as above"];

/// Returns one line for each help text that a reader cannot use by itself.
pub(super) fn check(reference: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, help) in help_texts(reference) {
        let length = help.chars().count();
        if !LENGTH.contains(&length) {
            complaints.push(format!(
                "{name}: {length} characters, not {} to {}",
                LENGTH.start(),
                LENGTH.end()
            ));
        }
        let lower = help.to_lowercase();
        for phrase in NOT_ALONE.into_iter().filter(|phrase| lower.contains(phrase)) {
            complaints.push(format!("{name}: \"{phrase}\" refers to another metric's help"));
        }
    }
    complaints
}

/// Names and help texts of all metrics: the rows of tables that have the columns "Name" and "Meaning".
pub(super) fn help_texts(reference: &str) -> Vec<(&str, &str)> {
    let mut meaning_column = None;
    let mut texts = Vec::new();
    for line in reference.lines() {
        let Some(row) = line.strip_prefix('|') else {
            meaning_column = None;
            continue;
        };
        let cells: Vec<_> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        match meaning_column {
            None if cells.first() == Some(&"Name") => {
                meaning_column = cells.iter().position(|cell| *cell == "Meaning");
            }
            Some(column) if cells[0].starts_with('`') => {
                let help = cells.get(column).copied().unwrap_or_default();
                texts.push((cells[0].trim_matches('`'), help));
            }
            _ => {}
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Metrics\n\n| Name | Type | Meaning |\n|---|---|---|\n\
        | `zcrx_a_bytes` | gauge | Size of the area in bytes. |\n\
        | `zcrx_b` | gauge | Of these, bad. |\n\n| Name | Other |\n|---|---|\n| `c` | d |\n";

    #[test]
    fn help_is_read_from_the_column_of_meanings() {
        assert_eq!(
            help_texts(PAGE),
            [("zcrx_a_bytes", "Size of the area in bytes."), ("zcrx_b", "Of these, bad.")]
        );
    }

    #[test]
    fn short_help_and_references_to_other_metrics_are_named() {
        assert_eq!(
            check(PAGE),
            ["zcrx_b: 14 characters, not 20 to 200", "zcrx_b: \"of these\" refers to another metric's help"]
        );
    }
}
