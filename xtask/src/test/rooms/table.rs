//! The table of rooms in docs/architecture.md.

use std::collections::{BTreeMap, BTreeSet};

/// The rooms that a room may import.
pub(super) enum MayKnow {
    /// Every room.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl MayKnow {
    /// Whether a room with this entry may import `room`.
    pub(super) fn allows(&self, room: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(rooms) => rooms.contains(room),
        }
    }
}

/// Returns each room of the daemon, with what it may import. A row names its rooms as `…/NAME` in its first cell; its
/// last cell names crates and rooms in code quotes, or says `all` or `nothing`.
pub(super) fn rooms(document: &str) -> BTreeMap<String, MayKnow> {
    let mut rooms = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| `…/")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let (Some(names), Some(may_know)) = (cells.first(), cells.last()) else { continue };
        for name in quoted(names).filter_map(|name| name.strip_prefix("…/")) {
            let may_know = if may_know.trim() == "all" {
                MayKnow::All
            } else {
                MayKnow::Only(quoted(may_know).map(str::to_owned).collect())
            };
            rooms.insert(name.to_owned(), may_know);
        }
    }
    rooms
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_may_name_several_rooms() {
        let rooms =
            rooms("| `…/export`, `…/view` | metrics | `model`, `observe` |\n| `…/cli` | commands | all |\n");
        assert!(rooms["view"].allows("observe") && !rooms["export"].allows("probe"));
        assert!(rooms["cli"].allows("anything"));
    }
}
