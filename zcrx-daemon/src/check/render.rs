//! The report as text.

use super::{CheckReport, Finding, Summary, Verdict};
use crate::model::escaped;

/// Layout of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether verdicts have a colour.
    pub colour: bool,
    /// Columns after which lines are broken between words.
    pub width: usize,
}

/// Least number of columns for findings, on any terminal.
const NARROWEST: usize = 24;

/// Formats the report: a heading for each group, verdicts and names in columns, remedies behind an arrow, counts at the end.
pub fn text(report: &CheckReport, style: Style) -> String {
    let unknown = "an unknown kernel";
    let kernel = report.kernel.as_deref().map_or(unknown.to_owned(), |release| format!("Linux {release}"));
    let mut text = format!("zcrxd {} on {}\n", report.version, escaped(kernel));
    let width = report.findings.iter().map(|finding| name(finding).chars().count()).max().unwrap_or(0);
    let mut group = None;
    for finding in &report.findings {
        if group != Some(finding.group) {
            group = Some(finding.group);
            text.extend(["\n", finding.group.title(), "\n"]);
        }
        describe(&mut text, finding, width, style);
    }
    let Summary { pass, warn, fail, skip } = report.summary;
    text + &format!("\n{pass} pass, {warn} warn, {fail} fail, {skip} skip\n")
}

fn name(finding: &Finding) -> String {
    match &finding.interface {
        Some(interface) => format!("{interface} {}", finding.name),
        None => finding.name.clone(),
    }
}

fn describe(text: &mut String, finding: &Finding, width: usize, style: Style) {
    let verdict = paint(finding.verdict, style.colour);
    let indent = 2 + 4 + 2 + width + 2;
    let room = style.width.saturating_sub(indent).max(NARROWEST);
    let mut head = format!("  {verdict}  {:width$}  ", escaped(name(finding)));
    let remedy = finding.remedy.as_ref().map(|remedy| format!("-> {remedy}"));
    for part in [Some(&finding.found), remedy.as_ref()].into_iter().flatten() {
        for line in wrap(part, room) {
            *text += head.trim_end_matches(|_| line.is_empty());
            *text += &line;
            text.push('\n');
            head = " ".repeat(indent);
        }
    }
}

fn paint(verdict: Verdict, colour: bool) -> String {
    let word = verdict.word();
    let code = match verdict {
        Verdict::Pass => 32,
        Verdict::Warn => 33,
        Verdict::Fail => 31,
        Verdict::Skip => 2,
    };
    if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
}

/// Breaks text between words; a word longer than `room` gets its own line.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace().map(escaped) {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Group;

    fn report() -> CheckReport {
        let mut driver =
            Finding::new(Group::Interfaces, "driver", Verdict::Warn, "evil\u{1b}[2J: one two three")
                .remedy("another one, as soon as it is available");
        driver.interface = Some("eth0".to_owned());
        CheckReport {
            version: "1.2.3".to_owned(),
            kernel: Some("7.3.4".to_owned()),
            machine: None,
            summary: Summary { pass: 1, warn: 1, fail: 0, skip: 0 },
            findings: vec![Finding::new(Group::Kernel, "btf", Verdict::Pass, "shown"), driver],
        }
    }

    #[test]
    fn columns_align_and_long_lines_break_between_words() {
        assert_eq!(
            text(&report(), Style { colour: false, width: 45 }),
            "zcrxd 1.2.3 on Linux 7.3.4\n\
             \n\
             Kernel\n\
             \x20 pass  btf          shown\n\
             \n\
             Interfaces\n\
             \x20 warn  eth0 driver  evil\\u{1b}[2J: one two\n\
             \x20                    three\n\
             \x20                    -> another one, as soon\n\
             \x20                    as it is available\n\
             \n\
             1 pass, 1 warn, 0 fail, 0 skip\n"
        );
    }

    #[test]
    fn only_verdicts_have_colour() {
        let plain = text(&report(), Style { colour: false, width: 80 });
        let coloured = text(&report(), Style { colour: true, width: 80 });
        assert!(!plain.contains('\u{1b}'));
        assert_eq!(
            coloured.replace("\u{1b}[32m", "").replace("\u{1b}[33m", "").replace("\u{1b}[0m", ""),
            plain
        );
    }
}
