//! The daemon's rooms: docs/architecture.md says which may know which, and the imports must agree; no two files of the
//! daemon know each other, directly or through others.

mod circles;
mod imports;
mod table;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use xtask_tools::workspace::root;

use self::imports::Imports;
use super::summary::{Outcome, Tally};

const DAEMON: &str = "zcrx-daemon/src";
const DOCUMENT: &str = "docs/architecture.md";

/// Compares the table with the imports, and looks for circles between files.
pub(super) fn check() -> Result<Outcome> {
    let document =
        std::fs::read_to_string(root().join(DOCUMENT)).context("cannot read the table of rooms")?;
    let imports = Imports::read(&root().join(DAEMON))?;
    let forbidden = forbidden(&table::rooms(&document), &imports);
    let circles = circles::find(&imports.files);
    for line in &forbidden {
        println!("{line}");
    }
    for circle in &circles {
        println!("these files know each other: {}", circle.join(", "));
    }
    println!("{} files, {} imports between rooms", imports.files.len(), imports.rooms.len());
    let tallies = [Tally::one(forbidden.is_empty()), Tally::one(circles.is_empty())];
    Ok(Outcome::Checked(tallies.into_iter().sum()))
}

/// One line for each import between rooms that the table does not allow.
fn forbidden(rooms: &BTreeMap<String, table::MayKnow>, imports: &Imports) -> Vec<String> {
    let mut lines = Vec::new();
    for ((room, known), file) in &imports.rooms {
        match rooms.get(room) {
            None => lines.push(format!("{DOCUMENT} has no row for the room `{room}`")),
            Some(may_know) if may_know.allows(known) => {}
            Some(_) => lines.push(format!(
                "{DAEMON}/{file}: `{room}` imports `{known}`, which the table in {DOCUMENT} does not allow"
            )),
        }
    }
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_the_table_lacks_is_reported_with_its_file() {
        let rooms = table::rooms("| `…/diagnose` | pure functions | `model` |\n");
        let imports = Imports {
            files: BTreeMap::new(),
            rooms: BTreeMap::from([
                (("diagnose".to_owned(), "model".to_owned()), "diagnose/mod.rs".to_owned()),
                (("diagnose".to_owned(), "probe".to_owned()), "diagnose/facts.rs".to_owned()),
            ]),
        };
        let lines = forbidden(&rooms, &imports);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("diagnose/facts.rs: `diagnose` imports `probe`"), "{lines:?}");
    }
}
