//! Figures of a queue that zcrxd registered for a check, beside what they had to be.

use serde::{Deserialize, Serialize};

/// What a snapshot showed of a queue whose every figure was known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelfCheck {
    /// The figures that were compared.
    pub figures: Vec<CheckedFigure>,
    /// Why nothing was compared, if so.
    pub unchecked: Option<String>,
}

/// One figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckedFigure {
    /// Its name.
    pub name: String,
    /// What it had to be.
    pub expected: String,
    /// What the snapshot showed; `None` where this kernel lacks the figure.
    pub shown: Option<String>,
}

impl CheckedFigure {
    /// Whether the snapshot showed the truth; `None` if it showed nothing.
    pub fn is_right(&self) -> Option<bool> {
        Some(*self.shown.as_ref()? == self.expected)
    }
}

impl SelfCheck {
    /// Figures that the snapshot showed wrongly: zcrxd does not use them.
    pub fn wrong(&self) -> impl Iterator<Item = &CheckedFigure> {
        self.figures.iter().filter(|figure| figure.is_right() == Some(false))
    }
}

impl std::fmt::Display for CheckedFigure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.shown.as_deref().unwrap_or("unknown");
        write!(f, "{} is {} and was read as {shown}", self.name, self.expected)
    }
}
