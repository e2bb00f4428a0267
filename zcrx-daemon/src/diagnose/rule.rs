//! What a rule is.

use super::facts::Facts;
use crate::model::{Cause, Confidence, Finding};

/// One cause: how it is recognised and what helps.
pub struct Rule {
    /// The cause.
    pub cause: Cause,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it looks like.
    pub signature: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// Where it can be seen happen.
    pub produced: Produced,
    /// Why it may be named first only after the second sample since the begin of an episode; `None` where it is not.
    pub late: Option<&'static str>,
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
    /// It cannot be told without this.
    Untold(&'static str),
}

/// What speaks for a cause, and what against it.
pub struct Case {
    pub(super) confidence: Confidence,
    pub(super) effect: f64,
    evidence: Vec<String>,
    against: Vec<String>,
}

impl Case {
    /// A case of this strength; `effect` is the share of the trouble that it explains.
    pub const fn new(confidence: Confidence, effect: f64) -> Self {
        Self { confidence, effect: effect.clamp(0.0, 1.0), evidence: Vec::new(), against: Vec::new() }
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

    /// If so, adds what speaks against it, and is less sure.
    #[must_use]
    pub fn doubt_if(mut self, doubtful: bool, words: impl FnOnce() -> String) -> Self {
        if doubtful {
            self.confidence = self.confidence.lower();
            self.against.push(words());
        }
        self
    }

    /// The answer that the cause fits.
    pub const fn fits(self) -> Judgement {
        Judgement::Fits(self)
    }

    pub(super) fn into_finding(self, rule: &Rule) -> Finding {
        Finding {
            cause: rule.cause,
            confidence: self.confidence,
            effect: self.effect,
            evidence: self.evidence,
            against: self.against,
            remedy: rule.remedy.to_owned(),
        }
    }
}
