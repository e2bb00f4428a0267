//! What outlives the process: counts of queues, and the programs that go on with them.
//!
//! A program runs as long as a descriptor of its link is open anywhere, and a map exists as long as a program uses it. So the
//! programs count on while systemd, which keeps the descriptors, starts zcrxd again. The next zcrxd attaches its own programs,
//! copies the counts into their maps, and lets the earlier programs end. Both sets count while the copy is made, so a copy that
//! replaces what the new programs have counted has counted the same events.
//!
//! A queue is known by its address, which the kernel uses again. The counts stay those of the right queue because at any time one
//! of the programs sees queues end.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::{fs, io, mem};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, Map, MapData, MapError},
};
use serde::{Deserialize, Serialize};
use zcrx_common::{allocation::State, event::Events, layout::LAYOUT};

use super::multi::map_fd;

/// The maps with counts of queues.
const MAPS: [&str; 2] = ["ALLOCATIONS", "QUEUE_EVENTS"];

/// How often the counts of one queue are copied at most. A copy takes microseconds.
const COPIES: u32 = 100;

/// Name of a link among a process's open files.
const LINK: &str = "anon_inode:bpf_link";

/// Programs that go on without zcrxd, and the maps that they count in. Dropped, the programs end, unless the descriptors are open
/// elsewhere too.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    layout: u64,
    /// First the maps, then the links.
    #[serde(skip)]
    descriptors: Vec<OwnedFd>,
}

impl Kept {
    /// Takes the descriptors, which are not part of what is serialized.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.descriptors)
    }

    /// Gives the descriptors back, in the same order.
    pub fn set_descriptors(&mut self, descriptors: Vec<OwnedFd>) {
        self.descriptors = descriptors;
    }

    /// What this process keeps: copies of the maps' descriptors, and of those of all its links. `None` without a link.
    pub(super) fn of(maps: &Maps) -> io::Result<Option<Self>> {
        let links = links()?;
        if links.is_empty() {
            return Ok(None);
        }
        let maps = maps.0.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        Ok(Some(Self { layout: LAYOUT, descriptors: maps.into_iter().chain(links).collect() }))
    }
}

/// The maps with counts, before readers take them.
pub(super) struct Maps(Vec<OwnedFd>);

impl Maps {
    pub(super) fn of(ebpf: &Ebpf) -> Option<Self> {
        let descriptor = |name: &&str| map_fd(ebpf.map(name)?)?.try_clone_to_owned().ok();
        MAPS.iter().map(descriptor).collect::<Option<Vec<_>>>().map(Self)
    }
}

/// Copies of the descriptors of all BPF links of this process. aya does not show those of its links.
fn links() -> io::Result<Vec<OwnedFd>> {
    let mut links = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // A descriptor that another thread has closed meanwhile was no link: those stay open until the probes are dropped.
        let is_link = fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == LINK);
        let number = entry.file_name().to_str().and_then(|number| number.parse().ok());
        if let (true, Some(number)) = (is_link, number) {
            // SAFETY: it is open until the probes are dropped, which the caller holds.
            let link = unsafe { BorrowedFd::borrow_raw(number) };
            links.push(link.try_clone_to_owned()?);
        }
    }
    Ok(links)
}

/// What an earlier zcrxd left. Its programs run until this is dropped.
pub(super) struct Inherited {
    pub(super) allocations: HashMap<MapData, u64, State>,
    pub(super) events: HashMap<MapData, u64, Events>,
    _links: Vec<OwnedFd>,
}

impl Inherited {
    pub(super) fn open(mut kept: Kept) -> Result<Self, String> {
        if kept.layout != LAYOUT {
            return Err("another version of zcrxd left them".to_owned());
        }
        let mut descriptors = kept.take_descriptors().into_iter();
        Ok(Self {
            allocations: open(descriptors.next())?,
            events: open(descriptors.next())?,
            _links: descriptors.collect(),
        })
    }
}

fn open<V: Pod>(descriptor: Option<OwnedFd>) -> Result<HashMap<MapData, u64, V>, String> {
    let descriptor = descriptor.ok_or("a map is missing")?;
    let map = MapData::from_fd(descriptor).and_then(Map::from_map_data).and_then(HashMap::try_from);
    map.map_err(|error| format!("a map is not as expected: {error}"))
}

/// Copies one map, with each value changed by `resumed`. `total` only rises during the life of a queue.
///
/// The earlier value takes the place of what the new programs have counted: the earlier ones have counted that as well. What they
/// count between the reading of a value and its insertion would be lost, so a value is copied again until it stands still, or until
/// the queue was busy all the time. `is_quiet` says that no call is under way, which only the earlier programs would see to its end.
pub(super) fn copy<V: Pod + PartialEq>(
    from: &HashMap<MapData, u64, V>,
    to: &mut HashMap<MapData, u64, V>,
    resumed: impl Fn(&V) -> V,
    total: impl Fn(&V) -> u64,
    is_quiet: impl Fn(&V) -> bool,
) -> Result<usize, MapError> {
    let mut queues = 0;
    for entry in from {
        let (ifq, mut value) = entry?;
        let mut attempts = 0;
        let is_same_queue = loop {
            to.insert(ifq, resumed(&value), 0)?;
            attempts += 1;
            match from.get(&ifq, 0) {
                Ok(now) if total(&now) < total(&value) => break false,
                Ok(now) if (now == value && is_quiet(&now)) || attempts == COPIES => break true,
                Ok(now) => value = now,
                Err(_) => break false,
            }
        };
        if is_same_queue {
            queues += 1;
        } else {
            // It has ended, or another queue has taken its address. A program may have removed it as well.
            to.remove(&ifq).ok();
        }
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_another_layout_are_not_read() -> Result<(), serde_json::Error> {
        let other: Kept = serde_json::from_str(&format!(r#"{{"layout": {}}}"#, LAYOUT ^ 1))?;
        assert_eq!(Inherited::open(other).err().as_deref(), Some("another version of zcrxd left them"));
        let own: Kept = serde_json::from_str(&format!(r#"{{"layout": {LAYOUT}}}"#))?;
        assert_eq!(Inherited::open(own).err().as_deref(), Some("a map is missing"));
        Ok(())
    }
}
