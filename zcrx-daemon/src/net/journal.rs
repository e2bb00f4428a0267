//! What was there before, on disk before the first change: the way back survives the process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::step::{Part, Step, same_rule};
use crate::model::{FlowRule, HeaderSplit, Interface, Reading, Setup};

/// Which interface a journal is about. Settings do not outlive a boot, and an index is not used twice in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
    /// Interface index.
    pub index: u32,
    /// Its name then.
    pub name: String,
    /// Address on its bus, which finds it again in another namespace; older journals lack it.
    #[serde(default)]
    pub bus: Option<String>,
    /// Hardware address, for a driver that names no bus address.
    #[serde(default)]
    pub mac: Option<String>,
}

impl Identity {
    /// Of an interface of this namespace, now.
    pub fn of(interface: &Interface) -> Result<Self, JournalError> {
        let netns = match &interface.netns {
            Reading::Known(netns) => netns.cookie,
            Reading::Unknown(why) => return Err(JournalError::Namespace(why.clone())),
        };
        Ok(Self {
            boot_id: boot_id()?,
            netns_cookie: netns,
            index: interface.index,
            name: interface.name.clone(),
            bus: interface.bus.clone(),
            mac: interface.mac.clone(),
        })
    }

    /// Whether both are the same device, renamed or not.
    pub fn same_device(&self, other: &Self) -> bool {
        (&self.boot_id, self.netns_cookie, self.index) == (&other.boot_id, other.netns_cookie, other.index)
    }
}

/// The id of this boot.
pub fn boot_id() -> Result<String, JournalError> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(PATH).map_err(|error| JournalError::Read { path: PATH.into(), error })?;
    Ok(id.trim().to_owned())
}

/// One interface's way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Whose.
    pub identity: Identity,
    /// As it was found.
    pub original: Setup,
    /// As it was left, in the parts that were changed: what differs from it later, another program changed.
    pub left: Setup,
    /// The step that was begun and whose end is not recorded.
    pub begun: Option<Step>,
    /// Rules that were added, with the places they went to.
    pub added: Vec<FlowRule>,
}

impl Journal {
    /// Before the first change.
    pub fn begin(identity: Identity, original: Setup) -> Self {
        Self { identity, left: original.clone(), original, begun: None, added: Vec::new() }
    }

    /// Records that the begun step has ended: what is not as it was just before is the step's doing, be it a side
    /// effect or its purpose, and is left that way by zcrxd.
    pub fn ended(&mut self, before: &Setup, now: &Setup) {
        fn follow<T: PartialEq + Clone>(left: &mut T, before: &T, now: &T) {
            if before != now {
                left.clone_from(now);
            }
        }
        let left = &mut self.left;
        follow(&mut left.channels, &before.channels, &now.channels);
        follow(&mut left.rss, &before.rss, &now.rss);
        follow(&mut left.rules, &before.rules, &now.rules);
        match (&mut left.rings, &before.rings, &now.rings) {
            (Reading::Known(left), Reading::Known(before), Reading::Known(now)) => {
                follow(&mut left.tcp_data_split, &before.tcp_data_split, &now.tcp_data_split);
                follow(&mut left.hds_thresh, &before.hds_thresh, &now.hds_thresh);
                follow(&mut left.split_configured, &before.split_configured, &now.split_configured);
            }
            (left, before, now) => follow(left, before, now),
        }
        match (&mut left.features, &before.features, &now.features) {
            (Reading::Known(left), Reading::Known(before), Reading::Known(now)) => {
                for (name, feature) in left {
                    if let (Some(before), Some(now)) = (before.get(name), now.get(name)) {
                        follow(feature, before, now);
                    }
                }
            }
            (left, before, now) => follow(left, before, now),
        }
        self.begun = None;
    }

    /// Records which header split was configured before the first change of it.
    pub(super) fn learn_split(&mut self, configured: HeaderSplit) {
        if let (Reading::Known(original), Reading::Known(left)) =
            (&mut self.original.rings, &mut self.left.rings)
            && original.split_configured.is_none()
            && left.split_configured.is_none()
        {
            original.split_configured = Some(configured);
        }
    }

    /// Records the end of a step of which it is not known whether it was done: all it may have changed counts.
    pub fn adopt(&mut self, now: &Setup) {
        let Some(step) = self.begun.take() else { return };
        let mut left = self.left.clone();
        for part in step.touches() {
            match part {
                Part::Channels => left.channels.clone_from(&now.channels),
                Part::Rings => {
                    left.rings.clone_from(&now.rings);
                    // What is configured cannot be read: it counts as done, and so is not learned as found.
                    if let (Step::HeaderSplit { split: Some(split), .. }, Reading::Known(rings)) =
                        (&step, &mut left.rings)
                    {
                        rings.split_configured = Some(*split);
                    }
                }
                Part::Features => left.features.clone_from(&now.features),
                Part::Rss => left.rss.clone_from(&now.rss),
                Part::Rules => left.rules.clone_from(&now.rules),
            }
        }
        if let (Step::InsertRule(rule), Some(rules), Some(before)) =
            (&step, now.rules.known(), self.left.rules.known())
        {
            let is_new = |found: &&FlowRule| !before.rules.iter().any(|other| same_rule(other, found));
            self.added
                .extend(rules.rules.iter().filter(|found| same_rule(found, rule)).find(is_new).cloned());
        }
        self.left = left;
    }
}

/// A journal that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No directory will take it.
    #[error("no state directory can be written: {0} (name one with --state-dir, or set STATE_DIRECTORY)")]
    NoDirectory(String),
    /// Reading failed.
    #[error("cannot read {}: {error}", .path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}: {error}", .path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Not a journal.
    #[error("{} is no journal of this zcrxd: {error} (the settings in it are plain JSON: put them back by hand, then delete it)", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        error: serde_json::Error,
    },
    /// The kernel reports no permanent identity of the namespace.
    #[error("cannot identify the network namespace: {0} (needs Linux 5.14)")]
    Namespace(String),
}

/// Where journals are kept, in the order they are looked for.
pub fn directories(explicit: Option<&Path>) -> Vec<PathBuf> {
    if let Some(directory) = explicit {
        return vec![directory.to_owned()];
    }
    let mut directories = Vec::new();
    if let Some(list) = std::env::var_os("STATE_DIRECTORY") {
        // systemd gives several directories with colons between them; the first is the unit's own.
        directories.extend(std::env::split_paths(&list).next());
    }
    directories.push(PathBuf::from("/var/lib/zcrxd"));
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    directories.extend(state.or_else(home).map(|path| path.join("zcrxd")));
    directories
}

/// A directory of journals, locked against other writers for as long as this lives.
pub struct Store {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    /// The first of the directories that can be written, made if need be.
    pub fn open(directories: &[PathBuf]) -> Result<Self, JournalError> {
        let mut refused = Vec::new();
        for directory in directories {
            match Self::lock(directory) {
                Ok(lock) => return Ok(Self { directory: directory.clone(), _lock: lock }),
                Err(error) => refused.push(format!("{}: {error}", directory.display())),
            }
        }
        Err(JournalError::NoDirectory(refused.join("; ")))
    }

    /// Every directory that exists and may be written.
    pub fn open_existing(directories: &[PathBuf]) -> Vec<Self> {
        let existing = directories.iter().filter(|directory| directory.is_dir());
        existing
            .filter_map(|directory| {
                Some(Self { directory: directory.clone(), _lock: Self::lock(directory).ok()? })
            })
            .collect()
    }

    fn lock(directory: &Path) -> io::Result<File> {
        fs::create_dir_all(directory)?;
        let file =
            File::options().create(true).truncate(false).write(true).open(directory.join("nic.lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn path(&self, identity: &Identity) -> PathBuf {
        path(&self.directory, identity)
    }

    /// The journal of one interface, read without the right to write it; `None` without one.
    pub fn peek(directory: &Path, identity: &Identity) -> Option<Journal> {
        read(&path(directory, identity)).ok()?.filter(|journal| journal.identity.same_device(identity))
    }

    /// The journal of one interface.
    pub fn load(&self, identity: &Identity) -> Result<Option<Journal>, JournalError> {
        let journal = read(&self.path(identity))?;
        Ok(journal.filter(|journal| journal.identity.same_device(identity)))
    }

    /// All journals here.
    pub fn all(&self) -> Result<Vec<Journal>, JournalError> {
        let entries = fs::read_dir(&self.directory)
            .map_err(|error| JournalError::Read { path: self.directory.clone(), error })?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("nic-") && name.ends_with(".json")
        });
        paths.sort();
        paths.iter().filter_map(|path| read(path).transpose()).collect()
    }

    /// Writes a journal so that it is on the disk, whole, when this returns.
    pub fn save(&self, journal: &Journal) -> Result<(), JournalError> {
        let path = self.path(&journal.identity);
        let new = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(journal)?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| JournalError::Write { path: path.clone(), error })
    }

    /// Forgets an interface.
    pub fn remove(&self, identity: &Identity) -> Result<(), JournalError> {
        let path = self.path(identity);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::Write { path, error }),
            _ => Ok(()),
        }
    }
}

fn path(directory: &Path, identity: &Identity) -> PathBuf {
    directory.join(format!("nic-{}-{}.json", identity.netns_cookie, identity.index))
}

fn read(path: &Path) -> Result<Option<Journal>, JournalError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| JournalError::Read { path: path.to_owned(), error })?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| JournalError::Malformed { path: path.to_owned(), error })
}
