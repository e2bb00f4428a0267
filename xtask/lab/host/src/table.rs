//! The table of kernels: what was measured, as a document, and whether the committed one still says the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use zcrx_lab_guest::protocol::{Need, Outcome, ScenarioInfo};

use super::session::Report;

/// Prefix of the facts that say how a probe is attached.
const PROBE: &str = "probe ";

/// The row that changes with every point release, and so says nothing about staleness.
const RELEASE: &str = "Release";

/// A row's title, and what it reads from a report.
type Row = (String, Box<dyn Fn(&Report) -> String>);

/// One kernel's column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The series' name, or the host's.
    pub series: String,
    /// What it came to.
    pub report: Report,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Table<'a> {
    /// What stands above it.
    pub head: &'static str,
    /// Debian's kernels, newest first.
    pub kernels: &'a [Column],
    /// This machine's own kernel.
    pub host: Option<&'a Column>,
    /// The scenarios that were asked for.
    pub scenarios: &'a [ScenarioInfo],
}

impl Table<'_> {
    /// The document.
    pub(crate) fn document(&self) -> String {
        let mut text = self.head.to_owned();
        let kernels: Vec<_> = self.kernels.iter().collect();
        self.grid(&mut text, &kernels);
        self.reasons(&mut text, &kernels);
        if let Some(host) = self.host {
            text.push_str(
                "\n## The kernel of the machine that measured\n\nNot in a virtual machine, so without what would \
                 disturb a machine in use. Not part of the check.\n\n",
            );
            self.grid(&mut text, &[host]);
            self.reasons(&mut text, &[host]);
        }
        self.legend(&mut text);
        text
    }

    fn legend(&self, text: &mut String) {
        text.push_str("\n## Scenarios\n\n");
        for scenario in self.scenarios {
            write_line(text, format_args!("- `{}`: {}.", scenario.name, scenario.about));
        }
    }

    fn grid(&self, text: &mut String, columns: &[&Column]) {
        let names: Vec<_> = columns.iter().map(|column| column.series.as_str()).collect();
        write_line(text, format_args!("| | {} |", names.join(" | ")));
        write_line(text, format_args!("|---|{}", "---|".repeat(columns.len())));
        for (name, read) in self.rows() {
            let cells: Vec<_> = columns.iter().map(|column| read(&column.report)).collect();
            write_line(text, format_args!("| {name} | {} |", cells.join(" | ")));
        }
    }

    /// Every row with what it reads from a report.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = vec![(
            RELEASE.to_owned(),
            // What follows the version says who built it, which for the host's own kernel is nobody's business.
            Box::new(|report| report.release.as_ref().map_or("-", |release| version(release)).to_owned()),
        )];
        for need in [Need::Zcrx, Need::Nodev, Need::Events, Need::Btf] {
            rows.push((
                need.name().to_owned(),
                Box::new(move |report| match report.needs.get(&need) {
                    None => "-".to_owned(),
                    Some(None) => "yes".to_owned(),
                    Some(Some(_)) => "no".to_owned(),
                }),
            ));
        }
        for probe in self.probes() {
            let title = format!("probe `{}`", probe.trim_start_matches(PROBE));
            rows.push((
                title,
                Box::new(move |report| {
                    let fact = report.facts.get(&probe).map_or("-", String::as_str);
                    fact.split(' ').next().unwrap_or("-").replace('-', "no")
                }),
            ));
        }
        for scenario in self.scenarios {
            let name = scenario.name.clone();
            rows.push((
                format!("`{name}`"),
                Box::new(move |report| {
                    match report.verdicts.iter().find(|verdict| verdict.scenario == name) {
                        _ if report.release.is_none() => "-".to_owned(),
                        None => "-".to_owned(),
                        Some(verdict) => match verdict.outcome {
                            Outcome::Passed => "passed".to_owned(),
                            Outcome::Failed(_) => "FAILED".to_owned(),
                            Outcome::Skipped(_) => "skipped".to_owned(),
                        },
                    }
                }),
            ));
        }
        rows
    }

    fn probes(&self) -> Vec<String> {
        let columns = self.kernels.iter().chain(self.host);
        let mut names: Vec<_> = columns
            .flat_map(|column| column.report.facts.keys())
            .filter(|name| name.starts_with(PROBE))
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// What the probes are attached to, and why what was not passed was not: kernels with the same answer together,
    /// and then scenarios with the same answer on the same kernels.
    fn reasons(&self, text: &mut String, columns: &[&Column]) {
        let mut answers: Vec<Answer> = Vec::new();
        let mut add = |about: String, says: String, series: &str| match answers
            .iter_mut()
            .find(|answer| answer.about == about && answer.says == says)
        {
            Some(answer) => answer.kernels.push(series.to_owned()),
            None => answers.push(Answer { about, says, kernels: vec![series.to_owned()] }),
        };
        for probe in self.probes() {
            for column in columns {
                if let Some(fact) = column.report.facts.get(&probe).filter(|fact| *fact != "-") {
                    add(title(&probe), format!("is attached as `{fact}`"), &column.series);
                }
            }
        }
        for scenario in self.scenarios {
            for column in columns {
                let verdict = column.report.verdicts.iter().find(|verdict| verdict.scenario == scenario.name);
                let name = format!("`{}`", scenario.name);
                match verdict.map(|verdict| &verdict.outcome) {
                    Some(Outcome::Skipped(reason)) => add(name, format!("skipped: {reason}"), &column.series),
                    Some(Outcome::Failed(reason)) => add(name, format!("FAILED: {reason}"), &column.series),
                    Some(Outcome::Passed) | None => {}
                }
            }
        }
        let mut lines: Vec<Answer> = Vec::new();
        for answer in answers {
            match lines.iter_mut().find(|line| line.says == answer.says && line.kernels == answer.kernels) {
                Some(line) => {
                    write!(line.about, ", {}", answer.about).expect("writing to a String cannot fail");
                }
                None => lines.push(answer),
            }
        }
        text.push('\n');
        for line in lines {
            write_line(text, format_args!("- {} {} ({})", line.about, line.says, line.kernels.join(", ")));
        }
    }

    /// Where a committed document says something else than was measured now. Point releases may differ, and so may
    /// kernels that are not available now: nothing is known of them. The host's kernel is no part of it.
    pub(crate) fn differences(&self, committed: &str) -> Vec<String> {
        let measured = self.document();
        let (then, now) = (cells(committed), cells(&measured));
        let unknown = |series: &str| {
            self.kernels.iter().any(|column| column.series == series && column.report.release.is_none())
        };
        let mut differences = Vec::new();
        for ((row, series), cell) in &now {
            if row == RELEASE || unknown(series) {
                continue;
            }
            match then.get(&(row.clone(), series.clone())) {
                Some(said) if said == cell => {}
                Some(said) => {
                    differences.push(format!("{row} on {series}: measured {cell}, the table says {said}"));
                }
                None => {
                    differences.push(format!("{row} on {series}: measured {cell}, the table says nothing"));
                }
            }
        }
        for (row, series) in then.keys() {
            if !now.contains_key(&(row.clone(), series.clone())) {
                differences.push(format!("{row} on {series}: in the table, and not measured"));
            }
        }
        differences
    }
}

/// The version in a release: "7.3.4" of "7.3.4+deb13-cloud-amd64".
fn version(release: &str) -> &str {
    release.split(['+', '-']).next().unwrap_or(release)
}

/// The same answer about something on some kernels.
struct Answer {
    about: String,
    says: String,
    kernels: Vec<String>,
}

fn title(probe: &str) -> String {
    format!("probe `{}`", probe.trim_start_matches(PROBE))
}

fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

/// The first grid of a document, by row and column.
fn cells(document: &str) -> BTreeMap<(String, String), String> {
    let mut grid =
        document.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let split = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let head = grid.next().map(split).unwrap_or_default();
    let mut cells = BTreeMap::new();
    for line in grid.skip(1) {
        let row = split(line);
        for (column, cell) in head.iter().zip(&row).skip(1) {
            cells.insert((row[0].clone(), column.clone()), cell.clone());
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::Verdict;

    fn column(series: &str, release: &str, outcome: Outcome) -> Column {
        let verdict = Verdict { scenario: "boot".to_owned(), outcome, took: Duration::ZERO };
        let report = Report {
            release: Some(release.to_owned()),
            needs: BTreeMap::from([(Need::Zcrx, None), (Need::Nodev, Some("too old".to_owned()))]),
            facts: BTreeMap::from([("probe registration".to_owned(), "fexit io_register_zcrx".to_owned())]),
            verdicts: vec![verdict],
            boots: 1,
            repeated: Vec::new(),
        };
        Column { series: series.to_owned(), report }
    }

    fn scenarios() -> Vec<ScenarioInfo> {
        let about = "it boots".to_owned();
        vec![ScenarioInfo {
            name: "boot".to_owned(),
            about,
            needs: Vec::new(),
            proves: Vec::new(),
            limit: 1,
            default: true,
            drivers: false,
        }]
    }

    #[test]
    fn a_point_release_is_no_difference_and_an_outcome_is() {
        let scenarios = scenarios();
        let then = [column("7.3", "7.3.4", Outcome::Passed), column("7.2", "7.2.1", Outcome::Passed)];
        let committed =
            Table { head: "# Kernels\n\n", kernels: &then, host: None, scenarios: &scenarios }.document();
        let mut now = [column("7.3", "7.3.5", Outcome::Passed), column("7.2", "7.2.1", Outcome::Passed)];
        let table = Table { head: "# Kernels\n\n", kernels: &now, host: None, scenarios: &scenarios };
        assert_eq!(table.differences(&committed), Vec::<String>::new());

        now[1] = column("7.2", "7.2.1", Outcome::Failed("no".to_owned()));
        let table = Table { head: "# Kernels\n\n", kernels: &now, host: None, scenarios: &scenarios };
        assert_eq!(table.differences(&committed), ["`boot` on 7.2: measured FAILED, the table says passed"]);

        // Not available: nothing is known.
        now[1].report.release = None;
        let table = Table { head: "# Kernels\n\n", kernels: &now, host: None, scenarios: &scenarios };
        assert_eq!(table.differences(&committed), Vec::<String>::new());
    }

    #[test]
    fn kernels_with_the_same_reason_stand_together() {
        let scenarios = scenarios();
        let skipped = || Outcome::Skipped("no NIC".to_owned());
        let kernels = [column("7.1", "7.1.1", skipped()), column("7.0", "7.0.1", skipped())];
        let text =
            Table { head: "# Kernels\n\n", kernels: &kernels, host: None, scenarios: &scenarios }.document();
        assert!(text.contains("- `boot` skipped: no NIC (7.1, 7.0)\n"), "{text}");
        assert!(text.contains("| probe `registration` | fexit | fexit |\n"), "{text}");
        assert!(text.contains("| nodev | no | no |\n"), "{text}");
    }
}
