//! The cgroups of queues' owners, by path.

use std::collections::HashMap;
use std::time::Duration;

use procfs::process::Process;

use crate::model::{Owner, escaped};

/// Time after which paths are read again: a process may have moved between the snapshot and the reading of its path.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Paths of cgroups. The kernel never gives an id to a second cgroup, and a cgroup of version 2 keeps its path: each path is
/// read once in a while, and not for each queue.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    by_id: HashMap<u64, String>,
    /// When the first of them was read.
    since: Duration,
}

impl Cgroups {
    /// Forgets paths that were read long before `now`.
    pub(super) fn refresh(&mut self, now: Duration) {
        if now.saturating_sub(self.since) >= REMEMBERED {
            self.by_id.clear();
            self.since = now;
        }
    }

    /// The cgroup (v2) of a process, as its mount has it: `/system.slice/ingest.service`. `None` where it cannot be read.
    pub(super) fn of(&mut self, owner: &Owner) -> Option<String> {
        let Some(id) = owner.cgroup else { return path(owner.pid) };
        if let Some(path) = self.by_id.get(&id) {
            return Some(path.clone());
        }
        let path = path(owner.pid)?;
        self.by_id.insert(id, path.clone());
        Some(path)
    }
}

fn path(pid: u32) -> Option<String> {
    let cgroups = Process::new(pid.try_into().ok()?).ok()?.cgroups().ok()?;
    cgroups.0.into_iter().find(|group| group.hierarchy == 0).map(|group| escaped(group.pathname))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_again_after_a_minute() {
        let owner = |pid, cgroup| Owner { pid, comm: String::new(), fd: None, cgroup };
        let own = std::process::id();
        let mut cgroups = Cgroups::default();
        let shown = path(own);
        assert_eq!(cgroups.of(&owner(own, None)), shown);
        // No process has that id.
        let exited = owner(u32::MAX, Some(7));
        assert_eq!(cgroups.of(&exited), None);
        assert_eq!(cgroups.of(&owner(own, Some(7))), shown, "what could not be read is not remembered");
        assert_eq!(cgroups.of(&exited), shown, "what was read is");
        cgroups.refresh(REMEMBERED);
        assert_eq!(cgroups.of(&exited), None);
    }
}
