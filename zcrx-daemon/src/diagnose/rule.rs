//! What a rule is.

use super::facts::Facts;
use super::thresholds::{CONSIDERABLE, NEGLIGIBLE};
use super::words;
use crate::model::{Alarm, Cause, Confidence, Finding};

/// One cause: how it is recognised, which alarm it raises, and what helps.
pub struct Rule {
    /// The cause.
    pub cause: Cause,
    /// Its letter in `docs/causes.md`; newer causes have none.
    pub letter: Option<char>,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it looks like.
    pub signature: &'static str,
    /// What to change.
    pub remedy: &'static str,
    /// What to run now, to see it with other tools. `{pid}`, `{interface}`, `{queue}` and `{listen}` are filled in; a
    /// command with a place that is unknown is left out.
    pub run: &'static [&'static str],
    /// Where it can be seen happen.
    pub produced: Produced,
    /// Why it may be named first only after the second sample since the begin of an episode; `None` where it is not.
    pub late: Option<&'static str>,
    /// The alarm that this cause raises by itself, without a starvation; `None` where it only explains one.
    pub alarm: Option<fn(&Facts<'_>) -> Option<Alarm>>,
    /// Probes without which it is not named for a queue of another program.
    pub needs: &'static [&'static str],
    /// Whether it is judged by where buffers are, figures that disagree where the queue moved while they were read.
    pub by_placement: bool,
    /// Whether it fits what was seen.
    pub judge: fn(&Facts<'_>) -> Judgement,
}

/// How a cause is made to happen, so that what is said of it was seen and not only thought.
pub enum Produced {
    /// In the lab: the scenarios that declare it.
    Lab {
        /// By what.
        how: &'static str,
        /// On these kernels.
        kernels: &'static str,
    },
    /// Not in the lab, for this reason.
    Not(&'static str),
}

/// A rule's answer.
pub enum Judgement {
    /// It fits.
    Fits(Case),
    /// It does not.
    Not,
    /// It cannot be judged without this.
    Unknown(&'static str),
}

/// What speaks for a cause, and what against it.
pub struct Case {
    pub(super) confidence: Confidence,
    pub(super) contribution: f64,
    evidence: Vec<String>,
    against: Vec<String>,
}

impl Case {
    /// A case of this strength; `contribution` is the share of the lost buffers that it explains.
    pub const fn new(confidence: Confidence, contribution: f64) -> Self {
        let contribution = contribution.clamp(0.0, 1.0);
        Self { confidence, contribution, evidence: Vec::new(), against: Vec::new() }
    }

    /// Adds what speaks for it.
    #[must_use]
    pub fn evidence(mut self, words: String) -> Self {
        self.evidence.push(words);
        self
    }

    /// Adds what speaks for it, if it is known.
    #[must_use]
    pub fn evidence_if(self, words: Option<String>) -> Self {
        match words {
            Some(words) => self.evidence(words),
            None => self,
        }
    }

    /// If so, adds what speaks against it, and lowers the confidence.
    #[must_use]
    pub fn doubt_if(mut self, doubtful: bool, words: impl FnOnce() -> String) -> Self {
        if doubtful {
            self.confidence = self.confidence.lower();
            self.against.push(words());
        }
        self
    }

    /// Doubts a case that the movement of the queue during the reading could have made.
    pub(super) fn doubt_if_moved(self, facts: &Facts<'_>) -> Self {
        let error = facts.typical.error.unwrap_or(0.0);
        let least = self.contribution - error;
        self.doubt_if(error >= NEGLIGIBLE && least < CONSIDERABLE, || {
            format!(
                "{} moved while the sample was read: places are known to {:.0} % of the area",
                words::count(facts.placement.error.unwrap_or(0), "buffer"),
                error * 100.0
            )
        })
    }

    /// The answer that the cause fits.
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
