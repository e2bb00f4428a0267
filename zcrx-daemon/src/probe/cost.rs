//! Reads what the attached programs and their maps cost.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use aya::{Ebpf, sys::Stats};
use tracing::{debug, warn};
use zcrx_common::loss;

use super::{bpf, multi};
use crate::model::{MapCost, ProbeCost, ProgramCost};

/// Kinds of map that have keys: `BPF_MAP_TYPE_HASH`, `PERCPU_HASH`, `LRU_HASH`, `LRU_PERCPU_HASH`.
const HASHES: [u64; 4] = [1, 5, 9, 10];

/// How often the keys of maps are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Reader {
    programs: Vec<Program>,
    maps: Vec<Map>,
    /// While it is open, the kernel keeps statistics of all programs on the host.
    statistics: Option<OwnedFd>,
}

struct Program {
    name: String,
    fd: OwnedFd,
    /// Link of the program, where the kernel reports the runs that it missed.
    link: Option<OwnedFd>,
}

struct Map {
    name: String,
    fd: OwnedFd,
    bytes: Option<u64>,
    key_bytes: usize,
    capacity: u64,
    is_hash: bool,
    /// The last count of keys, and when it was made: counting takes a system call a key.
    counted: Cell<Option<(Instant, u64)>>,
}

/// The maps of the object, by name.
pub(super) struct Maps(Vec<Map>);

impl Maps {
    /// Must come before any map is taken out.
    pub(super) fn of(ebpf: &Ebpf) -> Self {
        let mut maps: Vec<_> =
            ebpf.maps().filter_map(|(name, map)| Map::look(name, multi::map_fd(map)?)).collect();
        maps.sort_by(|a, b| a.name.cmp(&b.name));
        Self(maps)
    }
}

impl Reader {
    /// Looks at what is attached.
    pub(super) fn new(ebpf: &Ebpf, Maps(maps): Maps, multi: Vec<multi::Attached>, statistics: bool) -> Self {
        let by_aya = ebpf.programs().filter_map(|(name, program)| {
            // One that was never loaded has no descriptor: most alternatives.
            let fd = program.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
            Some(Program { name: name.to_owned(), fd, link: None })
        });
        let by_link = multi.into_iter().map(|attached| Program {
            name: attached.name.to_owned(),
            fd: attached.program,
            link: Some(attached.link),
        });
        let mut programs: Vec<_> = by_aya.chain(by_link).collect();
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        for program in &programs {
            if let Ok(info) = bpf::program_info(program.fd.as_fd()) {
                debug!(program = program.name, verified_instructions = info.verified);
            }
        }
        Self { programs, maps, statistics: statistics.then(enable_statistics).flatten() }
    }

    pub(super) fn read(&self, lost: Option<BTreeMap<String, u64>>) -> ProbeCost {
        ProbeCost {
            programs: self.programs.iter().map(|program| self.program(program)).collect(),
            maps: self.maps.iter().map(Map::read).collect(),
            lost: lost.unwrap_or_default(),
        }
    }

    fn program(&self, program: &Program) -> ProgramCost {
        let info = bpf::program_info(program.fd.as_fd()).ok();
        // Another program may have enabled the kernel's statistics.
        let runs = info
            .map(|info| (info.runs, info.run_time))
            .filter(|(runs, _)| self.statistics.is_some() || *runs > 0);
        let by_link = program.link.as_ref().map_or(Some(0), |link| bpf::link_missed(link.as_fd()).ok());
        let missed = info.map(|info| info.missed).zip(by_link).map(|(itself, link)| itself + link);
        ProgramCost { program: program.name.clone(), runs, missed }
    }
}

/// Has the kernel keep statistics of programs, as long as the descriptor is open. Needs CAP_SYS_ADMIN.
fn enable_statistics() -> Option<OwnedFd> {
    aya::sys::enable_stats(Stats::RunTime)
        .inspect_err(|error| {
            warn!("runs of probes are not counted, though probes.statistics says so: {error}");
        })
        .ok()
}

impl Map {
    fn look(name: &str, fd: BorrowedFd<'_>) -> Option<Self> {
        let fd = fd.try_clone_to_owned().ok()?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
        let number = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line?.trim().parse::<u64>().ok()
        };
        Some(Self {
            name: name.trim_start_matches('.').to_lowercase(),
            fd,
            // All maps of ours take their memory when they are made.
            bytes: number("memlock"),
            key_bytes: number("key_size")?.try_into().ok()?,
            capacity: number("max_entries")?,
            is_hash: HASHES.contains(&number("map_type")?),
            counted: Cell::new(None),
        })
    }

    fn read(&self) -> MapCost {
        let entries = self.is_hash.then(|| self.entries());
        MapCost { map: self.name.clone(), bytes: self.bytes, entries, capacity: self.capacity }
    }

    /// Keys in use, counted at most every [`COUNT_INTERVAL`].
    fn entries(&self) -> u64 {
        if let Some((when, count)) = self.counted.get()
            && when.elapsed() < COUNT_INTERVAL
        {
            return count;
        }
        let count = bpf::count_keys(self.fd.as_fd(), self.key_bytes, self.capacity);
        self.counted.set(Some((Instant::now(), count)));
        count
    }
}

/// What could not be recorded, by what it was.
pub(super) fn lost(slots: &aya::maps::PerCpuArray<aya::maps::MapData, u64>) -> Option<BTreeMap<String, u64>> {
    let counts = loss::NAMES.iter().zip(0..).map(|(name, slot)| {
        let count = slots.get(&slot, 0).ok()?.iter().sum();
        Some(((*name).to_owned(), count))
    });
    counts.collect()
}
