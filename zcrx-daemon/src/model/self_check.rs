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

impl SelfCheck {
    /// Adds figures that were found to be wrong later. One that passed at the start does not pass any more.
    pub fn add_wrong(&mut self, wrong: impl Iterator<Item = CheckedFigure>) {
        for figure in wrong {
            match self.figures.iter_mut().find(|known| known.name == figure.name) {
                Some(known) => *known = figure,
                None => self.figures.push(figure),
            }
        }
    }
}

impl std::fmt::Display for CheckedFigure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.shown.as_deref().unwrap_or("unknown");
        write!(f, "{} is {} and was read as {shown}", self.name, self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_that_is_wrong_later_takes_the_place_of_one_that_passed() {
        let figure = |name: &str, shown: &str| CheckedFigure {
            name: name.to_owned(),
            expected: "3".to_owned(),
            shown: Some(shown.to_owned()),
        };
        let mut check = SelfCheck { figures: vec![figure("a", "3"), figure("b", "3")], unchecked: None };
        check.add_wrong([figure("b", "4"), figure("c", "5")].into_iter());
        let wrong: Vec<_> = check.wrong().map(ToString::to_string).collect();
        assert_eq!(wrong, ["b is 3 and was read as 4", "c is 3 and was read as 5"]);
        assert_eq!(check.figures.len(), 3, "each figure once");
    }
}
