//! What metrics are about, and the labels that it has in each of its series.

use super::text::{LabelValue, labels};

/// What metrics are about. Its labels come first in each of its series.
pub(super) trait Subject {
    /// Names of its labels.
    const LABELS: &'static [&'static str] = &[];

    /// Their values, in that order.
    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        []
    }
}

/// The labels of each subject of a table, written once for all metrics of the table.
pub(super) struct SubjectLabels {
    text: String,
    /// Where in the text the labels of each subject end: those that others follow, and those that a value follows.
    ends: Vec<(usize, usize)>,
}

impl SubjectLabels {
    pub(super) fn of<S: Subject>(subjects: &[S]) -> Self {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let begin = text.len();
            text.push('{');
            labels(&mut text, S::LABELS, subject.label_values().as_ref());
            let open = text.len();
            // Without the comma, or the brace of a subject that has no labels.
            let last = open - 1;
            if last > begin {
                text.extend_from_within(begin..last);
                text.push('}');
            }
            text.push(' ');
            ends.push((open, text.len()));
        }
        Self { text, ends }
    }

    /// Labels that others follow: `{interface="eth0",queue="7",`.
    pub(super) fn open(&self, subject: usize) -> &str {
        &self.text[self.begin(subject)..self.ends[subject].0]
    }

    /// Labels that a value follows: `{interface="eth0",queue="7"} `.
    pub(super) fn closed(&self, subject: usize) -> &str {
        let (open, closed) = self.ends[subject];
        &self.text[open..closed]
    }

    /// Whether no two subjects have the same labels.
    pub(super) fn are_distinct(&self) -> bool {
        let mut sorted: Vec<_> = (0..self.ends.len()).map(|subject| self.open(subject)).collect();
        sorted.sort_unstable();
        sorted.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Whether no subject before this one has the same labels.
    pub(super) fn is_first(&self, subject: usize) -> bool {
        (0..subject).all(|before| self.open(before) != self.open(subject))
    }

    fn begin(&self, subject: usize) -> usize {
        subject.checked_sub(1).map_or(0, |before| self.ends[before].1)
    }
}
