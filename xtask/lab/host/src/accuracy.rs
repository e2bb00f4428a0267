//! `cargo xtask lab accuracy`: how often zcrxd's first cause is the fault that was made, on real kernels.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::Args;
use xtask_tools::apt::Network;
use xtask_tools::page::replace_part;
use zcrx_lab_guest::protocol::{JUDGED_CASE, JudgedCase};

use super::machine::PARAMETERS;
use super::{Lab, Tally};

/// Samples after the data first allow it within which a verdict must be right.
const SAMPLES: u64 = 3;

/// Share of the cases whose first cause must be right, percent.
const RIGHT_PERCENT: u64 = 90;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct AccuracyOptions {
    /// Random cases
    #[arg(long, default_value_t = 60)]
    cases: u64,
    /// Seed of the cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Series to run them on, as in 7.3; the newest if none is named
    #[arg(long = "kernel")]
    kernels: Vec<String>,
    /// Write the figures to docs/accuracy.md
    #[arg(long)]
    write: bool,
}

/// Runs the cases on each kernel, one boot each, and prints or writes the figures.
pub(crate) fn run(options: &AccuracyOptions, network: Network) -> Result<()> {
    let numbers = [options.seed, options.cases];
    let lab = Lab {
        parameters: PARAMETERS.into_iter().zip(numbers).collect(),
        ..Lab::open(network, &options.kernels)?
    };
    let scenarios = lab.scenarios(&["accuracy".to_owned()])?;
    let mut tally = Tally::default();
    let mut page = vec![made_by(options)];
    let mut missed = Vec::new();
    for row in lab.rows(&options.kernels)? {
        let report = lab.run_row(&row, &scenarios, false)?;
        tally.add(&report);
        let facts = report.facts.iter().filter(|(name, _)| name.starts_with(JUDGED_CASE));
        let cases = facts.map(|(name, line)| {
            serde_json::from_str(line).with_context(|| format!("cannot read {name}: {line}"))
        });
        let cases = cases.collect::<Result<Vec<JudgedCase>>>()?;
        let figures = Figures::of(&cases);
        for wrong in &figures.wrong {
            println!("{wrong}");
        }
        let release = report.release.as_deref().unwrap_or("unknown");
        missed.extend(figures.missed().into_iter().map(|missed| format!("Linux {release}: {missed}")));
        page.push(format!("### Linux {release}"));
        page.push(figures.tables());
    }
    let text = page.join("\n\n");
    println!("{text}");
    lab.close(&tally)?;
    if tally.passed == 0 {
        bail!("no case could be run here: there are no figures");
    }
    if options.write {
        replace_part("docs/accuracy.md", "lab", &text)?;
    }
    if !missed.is_empty() {
        bail!("targets missed:\n  {}", missed.join("\n  "));
    }
    Ok(())
}

fn made_by(options: &AccuracyOptions) -> String {
    let mut command = format!("cargo xtask lab accuracy --cases {} --seed {}", options.cases, options.seed);
    for kernel in &options.kernels {
        command += " --kernel ";
        command += kernel;
    }
    format!("Made by `{command}`.")
}

/// What came of all cases.
#[derive(Debug, Default)]
struct Figures {
    /// By what was made, what was said first in the end.
    confusion: BTreeMap<(String, Option<String>), u64>,
    cases: u64,
    right: u64,
    high: (u64, u64),
    in_time: u64,
    healthy: u64,
    healthy_seconds: f64,
    false_alarms: u64,
    left_out: u64,
    /// Wrong and late verdicts, false alarms, and cases that were left out, with what was drawn.
    wrong: Vec<String>,
    /// The same without the cases that were left out, a line each, for the page.
    listed: Vec<String>,
}

impl Figures {
    fn of(cases: &[JudgedCase]) -> Self {
        let mut figures = Self::default();
        for case in cases {
            figures.add(case);
        }
        figures
    }

    fn add(&mut self, case: &JudgedCase) {
        self.healthy_seconds += case.healthy_seconds;
        self.false_alarms += case.false_alarms.len() as u64;
        for alarm in &case.false_alarms {
            self.wrong.push(format!("false alarm in case {}: {alarm}; {}", case.number, case.drawn));
            self.listed.push(format!("case {}: false alarm, {alarm}", case.number));
        }
        if let Some(why) = &case.left_out {
            self.left_out += 1;
            self.wrong.push(format!("case {} is left out: {why}; {}", case.number, case.drawn));
            return;
        }
        let Some(made) = &case.made else {
            self.healthy += 1;
            return;
        };
        self.cases += 1;
        let said = case.said.last().and_then(|(_, said)| said.clone());
        let is_right = said.as_ref() == Some(made);
        self.right += u64::from(is_right);
        let in_time = case.samples.is_some_and(|samples| samples <= SAMPLES);
        self.in_time += u64::from(is_right && in_time);
        if case.confidence.as_deref() == Some("high") {
            self.high = (self.high.0 + 1, self.high.1 + u64::from(is_right));
        }
        if !is_right {
            self.wrong.push(format!(
                "case {}: {made}, said {:?} with {:?}: {}\n  {}\n  {}",
                case.number, case.said, case.confidence, case.evidence, case.ledger, case.drawn
            ));
            let said = said.as_deref().unwrap_or("nothing");
            self.listed.push(format!("case {}: {made}, said {said}", case.number));
        } else if !in_time {
            let samples = case.samples.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
            let late = format!("case {}: {made}, right after {samples} samples", case.number);
            let course: Vec<String> = case
                .said
                .iter()
                .map(|(at, said)| format!("{at:.1} s {}", said.as_deref().unwrap_or("nothing")))
                .collect();
            self.listed.push(format!("{late}: {}", course.join(", ")));
            self.wrong.push(format!("{late}: {}\n  {}\n  {}", course.join(", "), case.ledger, case.drawn));
        }
        *self.confusion.entry((made.clone(), said)).or_default() += 1;
    }

    /// The targets that these cases miss.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if self.right * 100 < self.cases * RIGHT_PERCENT {
            missed.push(format!(
                "the first cause is right in {} of {} cases, the target is {RIGHT_PERCENT} %",
                self.right, self.cases
            ));
        }
        if self.false_alarms > 0 {
            missed.push(format!("{} false alarms, the target is none", self.false_alarms));
        }
        missed
    }

    /// The figures as Markdown.
    fn tables(&self) -> String {
        let percent = |part: u64, whole: u64| {
            if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 / whole as f64 * 100.0) }
        };
        let rows = [
            ("cases with a fault that did harm".to_owned(), self.cases.to_string()),
            ("first cause right in the end (top-1)".to_owned(), percent(self.right, self.cases)),
            (
                "right at confidence high".to_owned(),
                format!("{} of {}", percent(self.high.1, self.high.0), self.high.0),
            ),
            (
                format!("right within {SAMPLES} samples of when the data allow it"),
                percent(self.in_time, self.right),
            ),
            ("healthy cases".to_owned(), self.healthy.to_string()),
            (
                "healthy time, before faults and in healthy cases".to_owned(),
                format!("{:.0} s", self.healthy_seconds),
            ),
            ("false alarms".to_owned(), self.false_alarms.to_string()),
            (
                "cases left out: the fault did no harm, or a healthy queue lost packets".to_owned(),
                self.left_out.to_string(),
            ),
        ];
        let mut text = "| Figure | Value |\n|---|---|\n".to_owned();
        for (name, value) in rows {
            text.extend(["| ", name.as_str(), " | ", value.as_str(), " |\n"]);
        }
        text += "\n| Done | Said first | Cases |\n|---|---|---|\n";
        for ((made, said), count) in &self.confusion {
            let mark = if said.as_ref() == Some(made) { "" } else { " **wrong**" };
            let said = said.as_deref().unwrap_or("nothing");
            let count = count.to_string();
            text.extend(["| ", made.as_str(), " | ", said, mark, " | ", count.as_str(), " |\n"]);
        }
        text += &self.list();
        text
    }

    /// Wrong and late verdicts and false alarms, or that there are none, as Markdown. Times are seconds since the data first allow a verdict.
    fn list(&self) -> String {
        if self.listed.is_empty() {
            return format!("\nNo wrong verdict, none later than {SAMPLES} samples, no false alarm.\n");
        }
        let begin = "\nWrong and late verdicts (with what was said when, in seconds since the data allow a verdict) and false alarms:\n\n";
        self.listed.iter().fold(begin.to_owned(), |text, line| text + "* " + line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(made: Option<&str>, said: Option<&str>) -> JudgedCase {
        let text = |word: &str| word.to_owned();
        JudgedCase {
            made: made.map(text),
            said: vec![(-1.0, None), (0.5, said.map(text))],
            confidence: Some("high".to_owned()),
            samples: Some(1),
            ..JudgedCase::default()
        }
    }

    #[test]
    fn wrong_verdicts_and_cases_without_harm_are_counted_apart() {
        let left_out = JudgedCase { left_out: Some("no harm".to_owned()), ..case(Some("a"), None) };
        let false_alarm = JudgedCase { false_alarms: vec!["x".to_owned()], ..case(None, None) };
        let figures =
            Figures::of(&[case(Some("a"), Some("a")), case(Some("a"), Some("b")), left_out, false_alarm]);
        assert_eq!((figures.cases, figures.right, figures.high), (2, 1, (2, 1)));
        assert_eq!((figures.left_out, figures.false_alarms, figures.healthy), (1, 1, 1));
        assert!(figures.tables().contains("| a | b **wrong** | 1 |"), "{}", figures.tables());
        assert!(figures.tables().contains("* case 0: a, said b\n"), "{}", figures.tables());
        assert_eq!(figures.missed().len(), 2, "half are right, and one false alarm: {:?}", figures.missed());
    }

    #[test]
    fn late_verdicts_are_listed_with_their_course() {
        let late = JudgedCase { number: 7, samples: Some(SAMPLES + 1), ..case(Some("a"), Some("a")) };
        let figures = Figures::of(&[late, case(Some("a"), Some("a"))]);
        assert_eq!((figures.right, figures.in_time), (2, 1));
        let course = "* case 7: a, right after 4 samples: -1.0 s nothing, 0.5 s a\n";
        assert!(figures.tables().contains(course), "{}", figures.tables());
        assert!(figures.wrong[0].contains("case 7"), "{:?}", figures.wrong);
        assert!(figures.missed().is_empty(), "{:?}", figures.missed());
        let fine = Figures::of(&[case(Some("a"), Some("a"))]);
        assert!(fine.tables().contains("No wrong verdict"), "{}", fine.tables());
    }
}
