//! A value with its place in the input, so an error can name the place.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A range of bytes of the file.
    File(Range<usize>),
    /// A flag.
    Flag(&'static str),
}

/// A value and its source.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Spanned<T>", bound = "T: Deserialize<'de>")]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

impl<T> From<Spanned<T>> for Said<T> {
    fn from(spanned: Spanned<T>) -> Self {
        let span = spanned.span();
        Self { value: spanned.into_inner(), source: Source::File(span) }
    }
}

impl<T> Said<T> {
    pub(super) const fn by_flag(value: T, flag: &'static str) -> Self {
        Self { value, source: Source::Flag(flag) }
    }
}

/// The file as text; empty when there is none.
pub(super) struct Document<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Document<'_> {
    /// `name:line:column` of a source in the file, the flag's name otherwise.
    pub(super) fn place(&self, source: &Source) -> String {
        match source {
            Source::Flag(flag) => (*flag).to_owned(),
            Source::File(span) => {
                let before = self.text.get(..span.start).unwrap_or(self.text);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                format!("{}:{line}:{column}", self.name)
            }
        }
    }
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Place of the error.
    pub place: String,
    /// The error.
    pub what: String,
    /// Remedy; empty where the error implies it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}
