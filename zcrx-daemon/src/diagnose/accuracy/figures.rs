//! The figures of [`Accuracy`] as shares, as targets and as Markdown.

use std::fmt::Write;

use super::{Accuracy, SAMPLES};
use crate::model::{Cause, Confidence};

/// The least share of situations whose first cause is right, of verdicts of high confidence that are right, and of right verdicts that
/// come in time.
const TOP_1: f64 = 0.97;
const HIGH_RIGHT: f64 = 0.98;
const IN_TIME: f64 = 1.0;

impl Accuracy {
    /// The targets that these situations miss, a line each.
    pub fn missed(&self) -> Vec<String> {
        let shares = [
            ("first cause right in the end", self.top_1(), TOP_1),
            ("right at confidence high", self.high_right(), HIGH_RIGHT),
            ("right within 3 samples of when the data allow it", self.in_time(), IN_TIME),
        ];
        let mut missed: Vec<String> = shares
            .into_iter()
            .filter(|(_, share, target)| share < target)
            .map(|(name, share, target)| {
                format!("{name}: {:.2} %, the target is {:.0} %", share * 100.0, target * 100.0)
            })
            .collect();
        if self.early > 0 {
            missed.push(format!("alarms before anything was done: {}, the target is 0", self.early));
        }
        missed
    }

    /// Wrong and late verdicts, a line each.
    pub fn listed(&self) -> impl Iterator<Item = &String> {
        self.wrong.iter().chain(&self.late_cases)
    }

    /// The share of situations whose first cause was right.
    pub fn top_1(&self) -> f64 {
        share(self.first, self.cases)
    }

    /// The share of the verdicts of high confidence that were right.
    pub fn high_right(&self) -> f64 {
        self.calibration.get(&Confidence::High).map_or(1.0, |(all, good)| share(*good, *all))
    }

    /// The share of the right verdicts that were right in time.
    pub fn in_time(&self) -> f64 {
        share(
            self.samples.iter().filter(|&&samples| samples <= SAMPLES).count() as u64,
            self.samples.len() as u64,
        )
    }

    /// The figures as Markdown.
    pub fn report(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _: std::fmt::Result = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "| Figure | Value |\n|---|---|")?;
        writeln!(
            out,
            "| situations that did harm | {} ({} did none and are left out) |",
            self.cases, self.harmless
        )?;
        writeln!(out, "| first cause right in the end (top-1) | {:.2} % |", self.top_1() * 100.0)?;
        writeln!(
            out,
            "| one of the first two right (top-2) | {:.2} % |",
            share(self.second, self.cases) * 100.0
        )?;
        for (confidence, (all, good)) in self.calibration.iter().rev() {
            let right = share(*good, *all) * 100.0;
            writeln!(out, "| right at confidence {} | {right:.2} % of {all} |", confidence.name())?;
        }
        writeln!(
            out,
            "| right within {SAMPLES} samples of when the data allow it | {:.2} % |",
            self.in_time() * 100.0
        )?;
        writeln!(out, "| alarms before anything was done | {} |", self.early)?;
        writeln!(out, "| changes away from a right first cause | {} |", self.flickers)?;
        for ((cause, form), count) in &self.late {
            writeln!(out, "| right later than that: {} ({form}) | {count} |", cause.name())?;
        }
        writeln!(out, "\n| Done | Said first | Situations |\n|---|---|---|")?;
        for ((done, said), count) in &self.confusion {
            let mark = if Some(*done) == *said { "" } else { " **wrong**" };
            writeln!(out, "| {} | {}{mark} | {count} |", done.name(), said.map_or("nothing", Cause::name))?;
        }
        Ok(())
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}
