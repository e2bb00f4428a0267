//! Rules: one for each cause.

use super::facts::Facts;
use super::thresholds::{CONSIDERABLE, NEGLIGIBLE};
use super::words;
use crate::model::{Alarm, Cause, Confidence, Finding};

/// One cause: its signature, its alarm and its remedy.
pub struct Rule {
    /// The cause.
    pub cause: Cause,
    /// Its letter in `docs/causes.md`; newer causes have none.
    pub letter: Option<char>,
    /// Title of the cause.
    pub title: &'static str,
    /// Signature: what the figures of a queue with this cause show.
    pub signature: &'static str,
    /// Remedy: what the user should change.
    pub remedy: &'static str,
    /// Commands that show the problem with other tools. zcrxd fills in `{pid}`, `{interface}`, `{queue}` and `{listen}`; a
    /// command with an unknown value is left out.
    pub run: &'static [&'static str],
    /// How the lab produces the cause.
    pub produced: Produced,
    /// Why zcrxd may name the cause first only after the second sample since the begin of an episode; `None` if it does not.
    pub late: Option<&'static str>,
    /// The alarm that this cause raises by itself, without a starvation; `None` where it only explains one.
    pub alarm: Option<fn(&Facts<'_>) -> Option<Alarm>>,
    /// Probes that zcrxd needs to name the cause for a foreign queue.
    pub needs: &'static [&'static str],
    /// Whether the rule judges by the places of buffers: these figures disagree if the queue moved while the snapshot read them.
    pub by_placement: bool,
    /// Judges whether the cause fits the facts.
    pub judge: fn(&Facts<'_>) -> Judgement,
}

/// How the lab produces a cause, as evidence for its signature.
pub enum Produced {
    /// Produced by the scenarios of the lab that declare it.
    Lab {
        /// How the scenarios produce the cause.
        how: &'static str,
        /// Linux versions on which they do.
        kernels: &'static str,
    },
    /// Not produced in the lab, for this reason.
    Not(&'static str),
}

/// Judgement of a rule.
pub enum Judgement {
    /// The cause fits.
    Fits(Case),
    /// The cause does not fit.
    Not,
    /// The rule cannot judge without this figure.
    Unknown(&'static str),
}

/// Evidence for a cause and against it.
pub struct Case {
    pub(super) confidence: Confidence,
    pub(super) contribution: f64,
    evidence: Vec<String>,
    against: Vec<String>,
}

impl Case {
    /// Creates a case; `contribution` is the share of the lost buffers that the cause explains.
    pub const fn new(confidence: Confidence, contribution: f64) -> Self {
        let contribution = contribution.clamp(0.0, 1.0);
        Self { confidence, contribution, evidence: Vec::new(), against: Vec::new() }
    }

    /// Adds evidence for the cause.
    #[must_use]
    pub fn evidence(mut self, words: String) -> Self {
        self.evidence.push(words);
        self
    }

    /// Adds evidence for the cause, if it is known.
    #[must_use]
    pub fn evidence_if(self, words: Option<String>) -> Self {
        match words {
            Some(words) => self.evidence(words),
            None => self,
        }
    }

    /// Under a condition, adds evidence against the cause, and lowers the confidence.
    #[must_use]
    pub fn doubt_if(mut self, doubtful: bool, words: impl FnOnce() -> String) -> Self {
        if doubtful {
            self.confidence = self.confidence.lower();
            self.against.push(words());
        }
        self
    }

    /// Lowers the confidence of a case that the movement of the queue during the snapshot could explain.
    pub(super) fn doubt_if_moved(self, facts: &Facts<'_>) -> Self {
        let error = facts.typical().error.unwrap_or(0.0);
        let least = self.contribution - error;
        self.doubt_if(error >= NEGLIGIBLE && least < CONSIDERABLE, || {
            format!(
                "{} moved while the sample was read: places are known to {:.0} % of the area",
                words::count(facts.placement.error.unwrap_or(0), "buffer"),
                error * 100.0
            )
        })
    }

    /// Returns the judgement that the cause fits.
    pub const fn fits(self) -> Judgement {
        Judgement::Fits(self)
    }

    pub(super) fn into_finding(self, rule: &Rule) -> Finding {
        Finding {
            cause: rule.cause,
            confidence: self.confidence,
            effect: self.contribution,
            evidence: self.evidence,
            against: self.against,
            remedy: rule.remedy.to_owned(),
        }
    }
}
