//! Holds every text of the project against `terms.toml`: comments, strings, documents, identifiers, metric help.
//!
//! The chapter on language in `CONTRIBUTING.md` explains the rules; the list names what a program can find.

mod extract;
mod help;
mod terms;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use self::extract::{Kind, Piece};
use self::terms::Terms;
use super::summary::{Outcome, Tally};
use xtask_tools::command::output;
use xtask_tools::workspace::root;

/// Largest number of listed words in each kind of text. Lower these with every sweep; the goal is 1 in 1,000 comment lines
/// and none elsewhere. Identifiers are reported only.
const CEILINGS: [(Kind, usize); 3] = [(Kind::Comment, 20), (Kind::Message, 16), (Kind::Document, 15)];

/// The generated page that has the help text of every metric.
const METRICS: &str = "docs/metrics.md";

/// Files that are no text of this project's, with the reason.
const SKIPPED: [(&str, &str); 4] = [
    ("LICENSE-APACHE", "a licence's own words"),
    ("LICENSE-GPL2", "a licence's own words"),
    ("Cargo.lock", "written by cargo"),
    ("xtask/src/test/language/terms.toml", "the list itself"),
];

/// Lines of one kind of text, and the listed words in them.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    lines: usize,
    found: usize,
}

impl Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} / {}", self.found, self.lines)
    }
}

/// Counts by room and kind of text.
type Rooms = BTreeMap<String, BTreeMap<Kind, Count>>;

const KINDS: [Kind; 4] = [Kind::Comment, Kind::Message, Kind::Document, Kind::Name];

/// Reads every file that git knows, prints each listed word with its place, and a table of rooms.
pub(super) fn check() -> Result<Outcome> {
    let root = root();
    let files = output(Command::new("git").arg("ls-files").current_dir(&root))?;
    let mut terms = Terms::load()?;
    let mut rooms = Rooms::new();
    for file in files.lines() {
        for piece in read(&root, file)? {
            let count = rooms.entry(room(file)).or_default().entry(piece.kind).or_default();
            count.lines += piece.lines.len();
            for finding in terms.find(file, &piece) {
                count.found += 1;
                println!(
                    "{file}:{}: {:?}: \"{}\": {}",
                    finding.line, piece.kind, finding.found, finding.write
                );
            }
        }
    }
    let reference = std::fs::read_to_string(root.join(METRICS)).with_context(|| METRICS)?;
    let mut complaints = help::check(&reference);
    if help::help_texts(&reference).is_empty() {
        complaints.push(format!("{METRICS}: no help texts found"));
    }
    complaints.extend(
        terms.unused_exceptions().iter().map(|entry| format!("terms.toml: unused exception: {entry}")),
    );
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("\n{}", table(&rooms));
    let within = CEILINGS.into_iter().all(|(kind, ceiling)| {
        let found = total(&rooms, kind).found;
        if found > ceiling {
            println!("{kind:?}: {found} listed words, at most {ceiling} are permitted");
        }
        found <= ceiling
    });
    Ok(Outcome::Checked(Tally::one(within && complaints.is_empty())))
}

/// Reads the pieces of one file; none for a file whose text the project does not write by hand.
fn read(root: &Path, file: &str) -> Result<Vec<Piece>> {
    if SKIPPED.iter().any(|(skipped, _)| *skipped == file) {
        return Ok(Vec::new());
    }
    let name = file.rsplit('/').next().unwrap_or(file);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    // Images are not text; the generator's strings stand for the JSON of dashboards.
    if ["png", "json"].contains(&extension) {
        return Ok(Vec::new());
    }
    let path = root.join(file);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // Deleted, and not committed yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok(match extension {
        "rs" => rust(file, &text),
        "c" | "h" => extract::comments(&text, "//"),
        "md" => extract::document(&text),
        _ if file.starts_with("deploy/") => extract::document(&text),
        _ => extract::comments(&text, "#"),
    })
}

/// Strings of tests repeat what the program prints, so only production code's strings count.
fn rust(file: &str, text: &str) -> Vec<Piece> {
    let is_test = file.contains("/tests/") || file.ends_with("/tests.rs");
    let is_command_line = file.starts_with("zcrx-daemon/src/cli/");
    let production_lines = if is_test { 0 } else { extract::production_part(text).lines().count() };
    let mut pieces = extract::rust(text, is_command_line);
    pieces.retain(|piece| piece.kind != Kind::Message || piece.lines[0].0 <= production_lines);
    pieces
}

/// The folder that a file's counts are added to: the third level in the daemon, the second elsewhere.
fn room(file: &str) -> String {
    let depth = if file.starts_with("zcrx-daemon/src/") || file.starts_with("xtask/lab/") { 3 } else { 2 };
    let folders: Vec<_> = file.split('/').collect();
    let depth = depth.min(folders.len() - 1);
    if depth == 0 { ".".to_owned() } else { folders[..depth].join("/") }
}

fn total(rooms: &Rooms, kind: Kind) -> Count {
    let counts = rooms.values().filter_map(|kinds| kinds.get(&kind));
    counts.fold(Count::default(), |sum, count| Count {
        lines: sum.lines + count.lines,
        found: sum.found + count.found,
    })
}

/// One line for each room, and one for all of them: listed words of lines, for each kind.
fn table(rooms: &Rooms) -> String {
    let head = row("found / lines", ["comments", "messages", "documents", "identifiers"].map(str::to_owned));
    let counts = |kinds: &BTreeMap<Kind, Count>| {
        KINDS.map(|kind| kinds.get(&kind).copied().unwrap_or_default()).map(|count| count.to_string())
    };
    let body = rooms.iter().map(|(room, kinds)| row(room, counts(kinds)));
    let all = row("all", KINDS.map(|kind| total(rooms, kind).to_string()));
    std::iter::once(head).chain(body).chain([all]).collect::<Vec<_>>().join("\n")
}

fn row(room: &str, cells: [String; 4]) -> String {
    let [comments, messages, documents, names] = cells;
    format!("{room:<32}{comments:>14}{messages:>14}{documents:>14}{names:>14}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_tests_do_not_count() {
        let text = "const A: &str = \"one\";\n#[cfg(test)]\nmod tests {\n    // Comment.\n    const B: &str = \"two\";\n}\n";
        let kinds = |file| rust(file, text).iter().filter(|piece| piece.kind == Kind::Message).count();
        assert_eq!(kinds("zcrx-daemon/src/a.rs"), 1);
        assert_eq!(kinds("zcrx-daemon/tests/a.rs"), 0);
    }

    #[test]
    fn rooms_are_folders() {
        assert_eq!(room("README.md"), ".");
        assert_eq!(room("docs/runbook/README.md"), "docs/runbook");
        assert_eq!(room("zcrx-daemon/src/lib.rs"), "zcrx-daemon/src");
        assert_eq!(room("zcrx-daemon/src/net/plan.rs"), "zcrx-daemon/src/net");
    }
}
