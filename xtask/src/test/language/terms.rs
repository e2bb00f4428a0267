//! The project's terms, as `terms.toml` lists them, and where a text departs from them.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::extract::{Kind, Piece};

/// The list, a file that people edit.
const LIST: &str = include_str!("terms.toml");

/// `terms.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    term: Vec<Term>,
    /// Type names that said nothing, each with its successor.
    retired_types: HashMap<String, String>,
    #[serde(default)]
    exception: Vec<Exception>,
}

/// Words that the project does not use, and what it writes instead.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Term {
    /// Words or phrases, in lower case.
    not: Vec<String>,
    write: String,
    /// Words that make the phrase right when they precede it ("its own ring").
    #[serde(default)]
    unless_after: Vec<String>,
    /// Words that make the phrase right when they follow it ("is out of memory").
    #[serde(default)]
    unless_before: Vec<String>,
}

/// A place where a listed word is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// The listed word or phrase.
    not: String,
    /// A file, or a folder and all below it.
    path: String,
    /// Part of the line; without it, every line of the path.
    text: Option<String>,
    reason: String,
}

/// A listed word in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Kind of the text.
    pub kind: Kind,
    /// Line, from 1.
    pub line: usize,
    /// The word or phrase.
    pub found: String,
    /// What to write instead.
    pub write: String,
}

/// The list, prepared for look-ups, and the exceptions that were needed.
pub(super) struct Terms {
    list: List,
    /// First word of a phrase -> the phrase's words and its entry in the list.
    by_first_word: HashMap<String, Vec<(Vec<String>, usize)>>,
    used: Vec<bool>,
}

impl Terms {
    /// Reads the project's list.
    pub(super) fn load() -> Result<Self> {
        Self::parse(LIST)
    }

    fn parse(text: &str) -> Result<Self> {
        let list: List = toml::from_str(text).context("terms.toml")?;
        let mut by_first_word: HashMap<String, Vec<_>> = HashMap::new();
        for (index, term) in list.term.iter().enumerate() {
            for phrase in &term.not {
                let words: Vec<_> = phrase.split(' ').map(str::to_owned).collect();
                by_first_word.entry(words[0].clone()).or_default().push((words, index));
            }
        }
        for exception in &list.exception {
            ensure!(
                !exception.reason.trim().is_empty(),
                "terms.toml: exception {} has no reason",
                exception.path
            );
        }
        let used = vec![false; list.exception.len()];
        Ok(Self { list, by_first_word, used })
    }

    /// Returns the listed words in a piece of text, without those that an exception permits in this file.
    pub(super) fn find(&mut self, path: &str, piece: &Piece) -> Vec<Finding> {
        let found = match piece.kind {
            Kind::Name => self.find_in_names(piece),
            _ => self.find_in_text(piece),
        };
        let line_text =
            |line| piece.lines.iter().find(|(number, _)| *number == line).map_or("", |(_, text)| text);
        found
            .into_iter()
            .filter(|finding| !self.is_excepted(path, line_text(finding.line), finding))
            .collect()
    }

    /// Returns the exceptions that no finding needed, as lines for a person.
    pub(super) fn unused_exceptions(&self) -> Vec<String> {
        let all = self.list.exception.iter().zip(&self.used);
        all.filter(|(_, used)| !**used)
            .map(|(entry, _)| format!("\"{}\" in {}", entry.not, entry.path))
            .collect()
    }

    fn is_excepted(&mut self, path: &str, line: &str, finding: &Finding) -> bool {
        let mut excepted = false;
        for (entry, used) in self.list.exception.iter().zip(&mut self.used) {
            let in_path = path == entry.path || path.starts_with(&format!("{}/", entry.path));
            let in_line = entry.text.as_ref().is_none_or(|text| line.contains(text));
            if entry.not == finding.found && in_path && in_line {
                *used = true;
                excepted = true;
            }
        }
        excepted
    }

    fn find_in_text(&self, piece: &Piece) -> Vec<Finding> {
        let words: Vec<(usize, String)> =
            piece.lines.iter().flat_map(|(line, text)| split(text).map(|word| (*line, word))).collect();
        let mut findings = Vec::new();
        for (at, (line, word)) in words.iter().enumerate() {
            for (phrase, index) in self.by_first_word.get(word).into_iter().flatten() {
                let term = &self.list.term[*index];
                let matches =
                    phrase.iter().zip(&words[at..]).filter(|(wanted, (_, word))| *wanted == word).count();
                if matches < phrase.len() {
                    continue;
                }
                let before = at.checked_sub(1).map(|before| &words[before].1);
                let after = words.get(at + phrase.len()).map(|(_, word)| word);
                let is_right = before.is_some_and(|word| term.unless_after.contains(word))
                    || after.is_some_and(|word| term.unless_before.contains(word));
                if !is_right {
                    findings.push(Finding {
                        kind: piece.kind,
                        line: *line,
                        found: phrase.join(" "),
                        write: term.write.clone(),
                    });
                }
            }
        }
        findings
    }

    fn find_in_names(&self, piece: &Piece) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (line, name) in &piece.lines {
            if let Some(successor) = self.list.retired_types.get(name) {
                let write = successor.clone();
                findings.push(Finding { kind: Kind::Name, line: *line, found: name.clone(), write });
                continue;
            }
            let as_text = Piece { kind: Kind::Name, lines: vec![(*line, words_of(name))] };
            findings.extend(self.find_in_text(&as_text));
        }
        findings
    }
}

/// Splits text into words in lower case. An identifier and a compound with hyphens stay one word.
fn split(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '\'' && c != '-');
    words.map(|word| word.trim_matches(['\'', '-'])).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Splits `snake_case` and `CamelCase` into words.
fn words_of(name: &str) -> String {
    let mut words = String::new();
    let mut previous_is_lower = false;
    for char in name.chars() {
        if char == '_' || (char.is_uppercase() && previous_is_lower) {
            words.push(' ');
        }
        if char != '_' {
            words.push(char);
        }
        previous_is_lower = char.is_lowercase() || char.is_numeric();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
        [[term]]
        not = ["nobody", "for want of"]
        write = "name the actor"

        [[term]]
        not = ["own ring", "is out"]
        write = "zcrxd's ring; held"
        unless_after = ["its"]
        unless_before = ["of"]

        [[exception]]
        not = "nobody"
        path = "deploy/package"
        text = "User=nobody"
        reason = "a user's name"

        [retired_types]
        Desk = "ConnectionInbox"
    "#;

    fn found(path: &str, kind: Kind, text: &str) -> Vec<(usize, String)> {
        let mut terms = Terms::parse(EXAMPLE).expect("the example is valid");
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect();
        let findings = terms.find(path, &Piece { kind, lines });
        findings.into_iter().map(|finding| (finding.line, finding.found)).collect()
    }

    #[test]
    fn phrases_are_found_across_lines_and_case() {
        let text = "Ends for\nwant of memory. Nobody reads it.";
        assert_eq!(
            found("a.rs", Kind::Comment, text),
            [(1, "for want of".to_owned()), (2, "nobody".to_owned())]
        );
    }

    #[test]
    fn neighbouring_words_make_a_phrase_right() {
        assert_eq!(found("a.rs", Kind::Comment, "its own ring is out of memory"), []);
        assert_eq!(found("a.rs", Kind::Comment, "an own ring is out").len(), 2);
    }

    #[test]
    fn identifiers_are_split_only_as_names() {
        assert_eq!(found("a.rs", Kind::Comment, "nobody_reads"), []);
        assert_eq!(found("a.rs", Kind::Name, "nobody_reads"), [(1, "nobody".to_owned())]);
        assert_eq!(found("a.rs", Kind::Name, "ReadByNobody"), [(1, "nobody".to_owned())]);
        assert_eq!(found("a.rs", Kind::Name, "Desk"), [(1, "Desk".to_owned())]);
    }

    #[test]
    fn an_exception_permits_its_line_in_its_path_only() {
        assert_eq!(found("deploy/package/unit", Kind::Document, "User=nobody"), []);
        assert_eq!(found("deploy/package/unit", Kind::Document, "nobody"), [(1, "nobody".to_owned())]);
        assert_eq!(found("deploy/other", Kind::Document, "User=nobody"), [(1, "nobody".to_owned())]);
    }

    #[test]
    fn an_exception_without_use_is_reported() {
        let terms = Terms::parse(EXAMPLE).expect("the example is valid");
        assert_eq!(terms.unused_exceptions(), ["\"nobody\" in deploy/package"]);
    }

    #[test]
    fn the_projects_list_is_valid() {
        assert!(Terms::load().is_ok());
    }
}
