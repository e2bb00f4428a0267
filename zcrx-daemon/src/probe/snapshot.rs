//! Takes snapshots: runs the iterators to their end and puts their records together.

mod assemble;
mod holders;
mod invariants;
mod operations;
mod process;
mod sockets;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
};
use zcrx_common::{
    loss::{HOLDER_CHANGE, REGISTRY_RING, SNAPSHOT_RECORD, SOCKET_SUM},
    snapshot::{Config, RegisteredRing},
};

use self::{assemble::Assembly, holders::Holders, operations::Operations};
use super::{iterator, object, offsets::Resolved};
use crate::kernel::clock::monotonic;
use crate::model::{CheckedFigure, Discovery, Doubts, KernelSnapshot};

pub(super) use assemble::Known;

/// Iterators of a walk, in the order in which they are read.
const WALK: [&str; 2] = ["snapshot_task_file", "snapshot_task"];
/// The iterator that reads the registry.
const REGISTRY: &str = "snapshot_registry";

/// Buffers of an area whose references are counted. Of a larger area about so many are sampled, which takes a millisecond.
const MOST_BUFFERS: u32 = 1 << 16;

/// Processes whose files are read one by one in a snapshot, because they are new or executed another program. With more of them the
/// snapshot walks.
const MOST_CHANGES: usize = 64;

/// Snapshots from one removal of processes that have exited from the table of holders to the next.
const HOLDERS_KEPT: u64 = 64;

/// Inode number of the initial pid namespace: fixed in every kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

pub(super) struct Reader {
    config: Array<MapData, Config>,
    records: RingBuf<MapData>,
    rings: HashMap<MapData, u64, RegisteredRing>,
    registered: BTreeMap<u64, u64>,
    asked: Config,
    known: Known,
    sockets: Option<sockets::Reader>,
    /// Whether the programs keep the registry: every registration and teardown is seen.
    registry: bool,
    /// Processes that hold a ring and forked or executed another program since the last snapshot.
    changes: Option<HashMap<MapData, u32, u64>>,
    /// Processes for which the programs had no room, when last looked.
    holders_lost: u64,
    /// Rings for which the registry had no room, when last looked.
    rings_lost: u64,
    /// Processes that hold a queue without a ring, by an exported file: their files are read for each snapshot.
    exporters: BTreeSet<u32>,
    /// Processes that hold a ring, as walks found them.
    holders: Holders,
    /// Why the next snapshot has to walk, if it has to.
    walk: Option<&'static str>,
    /// Whether zcrxd sees all processes, under the ids that the kernel gives them.
    initial_namespace: bool,
    /// Reasons, known from the start, why every snapshot lacks something.
    incomplete: Vec<String>,
    /// Figures that broke what holds of every queue.
    doubts: Doubts,
    /// Whether one of them is a figure without which no snapshot can be relied on.
    is_unusable: bool,
}

impl Reader {
    /// Learns what kind of file a ring is.
    pub(super) fn new(ebpf: &mut Ebpf, fields: &Resolved) -> Result<Self, String> {
        let mut reader = Self {
            config: object::map(ebpf, "SNAPSHOT_CONFIG").ok_or("the eBPF object has no SNAPSHOT_CONFIG")?,
            records: object::map(ebpf, "SNAPSHOT_RECORDS")
                .ok_or("the eBPF object has no SNAPSHOT_RECORDS")?,
            rings: object::map(ebpf, "REGISTERED_RINGS").ok_or("the eBPF object has no REGISTERED_RINGS")?,
            registered: BTreeMap::new(),
            asked: Config { most_buffers: MOST_BUFFERS, ..Config::default() },
            known: Known::of(fields),
            sockets: None,
            registry: false,
            changes: None,
            holders_lost: 0,
            rings_lost: 0,
            exporters: BTreeSet::new(),
            holders: Holders::default(),
            walk: Some("the first snapshot"),
            initial_namespace: true,
            incomplete: Vec::new(),
            doubts: Doubts::immediate(),
            is_unusable: false,
        };
        let found = operations::find(|own_fd| reader.learn(ebpf, own_fd))?;
        reader.asked.ring_operations = found.rings;
        reader.asked.superblock = found.superblock;
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        if namespace.is_ok_and(|namespace| namespace.as_os_str() != INITIAL_PID_NAMESPACE) {
            reader.initial_namespace = false;
            reader.incomplete.push("only processes of zcrxd's own pid namespace are seen".to_owned());
        }
        Ok(reader)
    }

    /// Whether zcrxd sees all processes, under the ids that the kernel gives them.
    pub(super) const fn sees_all_processes(&self) -> bool {
        self.initial_namespace
    }

    /// Forgets everything that was seen. Addresses in the registry mean nothing while no probe sees teardowns.
    pub(super) fn begin_again(&mut self) {
        let rings: Vec<u64> = self.rings.keys().filter_map(Result::ok).collect();
        for ring in rings {
            // One that is not there is forgotten as well.
            self.rings.remove(&ring).ok();
        }
        self.holders = Holders::default();
        self.exporters.clear();
        self.walk = Some("the first snapshot");
    }

    /// Does without the figures that a check found to be wrong. Fails, with the reason, where nothing is left that can be relied on.
    pub(super) fn distrust(&mut self, wrong: &[&CheckedFigure]) -> Result<(), String> {
        for figure in wrong {
            if !self.known.forget(&figure.name) {
                let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
                return Err(format!("the self-check failed: {}", wrong.join(", ")));
            }
        }
        Ok(())
    }

    /// Reads the owners' sockets too, from now on.
    pub(super) fn with_sockets(&mut self, ebpf: &mut Ebpf) {
        self.sockets = sockets::Reader::new(ebpf);
    }

    /// Reads rings by the registry from now on, which needs the probes on registration and teardown. The first snapshot still walks, for
    /// the rings that were there before the probes.
    pub(super) fn with_registry(&mut self) {
        self.registry = true;
    }

    /// Reads the files of processes that forked or executed another program, from now on.
    pub(super) fn with_changes(&mut self, ebpf: &mut Ebpf) {
        self.changes = object::map(ebpf, "HOLDER_CHANGES");
    }

    /// Lets the next snapshot walk: something shows that a queue or its holder is not in the registry.
    pub(super) fn walk_next(&mut self, reason: &'static str) {
        self.walk = self.walk.or(Some(reason));
    }

    /// What the file behind an own descriptor is known by.
    fn learn(&mut self, ebpf: &mut Ebpf, own_fd: u32) -> Result<Operations, String> {
        let asked = Config { own_fd, ..self.asked };
        self.config.set(0, asked, 0).map_err(|error| format!("SNAPSHOT_CONFIG: {error}"))?;
        iterator::run(ebpf, WALK[0])?;
        let answered = self.config.get(&0, 0).map_err(|error| format!("SNAPSHOT_CONFIG: {error}"))?;
        Ok(Operations { rings: answered.ring_operations, superblock: answered.superblock })
    }

    /// Takes a snapshot, as [`Self::take`] does, without the figures that cannot be true of any queue. `None` once zcrxd has seen that it
    /// reads areas wrongly.
    pub(super) fn take_checked(
        &mut self,
        ebpf: &mut Ebpf,
        lost: Option<&PerCpuArray<MapData, u64>>,
    ) -> Option<KernelSnapshot> {
        if self.is_unusable {
            return None;
        }
        let mut snapshot = self.take(ebpf, lost);
        for figure in self.doubts.apply(&mut snapshot, invariants::broken_rules) {
            self.is_unusable |= !self.known.forget(figure);
        }
        (!self.is_unusable).then_some(snapshot)
    }

    /// Figures that snapshots have shown to be wrong since the start.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &CheckedFigure> {
        self.doubts.wrong()
    }

    /// Whether one of them is a figure without which no snapshot can be relied on.
    pub(super) const fn is_unusable(&self) -> bool {
        self.is_unusable
    }

    /// Reads the state of every queue. By the registry it takes some 0.1 ms and grows with queues; a walk grows with open files, by about
    /// 150 ns each.
    pub(super) fn take(
        &mut self,
        ebpf: &mut Ebpf,
        lost: Option<&PerCpuArray<MapData, u64>>,
    ) -> KernelSnapshot {
        self.asked.generation += 1;
        let mut incomplete = self.incomplete.clone();
        let lost_before = lost.and_then(|lost| slot(lost, SNAPSHOT_RECORD));
        let now_lost = lost.and_then(|lost| slot(lost, REGISTRY_RING)).unwrap_or(self.rings_lost);
        if now_lost != self.rings_lost {
            // The walk enters every ring. What finds no room again is counted again.
            self.rings_lost = now_lost;
            self.walk_next("the registry of rings was full");
        }
        let now_lost = lost.and_then(|lost| slot(lost, HOLDER_CHANGE)).unwrap_or(self.holders_lost);
        let holders_lost = now_lost != self.holders_lost;
        if holders_lost {
            self.holders_lost = now_lost;
            self.walk_next("a table of processes that hold rings was full");
        }
        let began = monotonic();
        if let Err(error) = self.config.set(0, self.asked, 0) {
            incomplete.push(format!("SNAPSHOT_CONFIG: {error}"));
        }
        let mut discovery = Discovery::Walk;
        // Without a ring there is neither a queue nor an owner whose sockets count.
        let mut idle = false;
        if self.registry && self.walk.is_none() {
            discovery = Discovery::Registry;
            idle = self.exporters.is_empty() && self.rings.keys().next().is_none();
        }
        // The kernel looks at each bucket of a table, also of an empty one.
        let changed = if idle { Vec::new() } else { self.changed() };
        if discovery == Discovery::Registry && changed.len() > MOST_CHANGES {
            self.walk_next("many processes that hold rings forked");
            discovery = Discovery::Walk;
        }
        if discovery == Discovery::Registry
            && !idle
            && let Err(reason) = iterator::run_once(ebpf, REGISTRY)
        {
            tracing::debug!("the registry cannot be read, so open files are walked from now on: {reason}");
            self.registry = false;
            discovery = Discovery::Walk;
        }
        if (holders_lost || self.asked.generation.is_multiple_of(HOLDERS_KEPT))
            && self.initial_namespace
            && let Some(sockets) = &mut self.sockets
        {
            sockets.forget_exited();
        }
        if discovery == Discovery::Walk {
            tracing::debug!(reason = self.walk, "walking the open files of all processes");
            self.walk = None;
            // Before the files are read: a change that comes meanwhile is noted once more.
            self.forget_changes(&changed);
            for program in WALK {
                if let Err(reason) = iterator::run(ebpf, program) {
                    incomplete.push(reason);
                }
            }
        }
        if discovery == Discovery::Registry && !idle {
            self.forget_changes(&changed);
            let exporters =
                std::mem::take(&mut self.exporters).into_iter().filter(|&pid| process::lives(pid));
            let again = changed.into_iter().chain(exporters).collect();
            self.read_again(ebpf, &again, &mut incomplete);
        }
        let mut assembly = Assembly::new(self.known);
        while let Some(record) = self.records.next() {
            assembly.add(&record);
        }
        if let (Some(before), Some(after)) = (lost_before, lost.and_then(|lost| slot(lost, SNAPSHOT_RECORD)))
            && before != after
        {
            incomplete.push(format!("{} records found the buffer full", after - before));
        }
        match discovery {
            Discovery::Walk => self.holders.learn(&assembly),
            Discovery::Registry => {
                self.holders.learn_changed(&assembly);
                self.holders.add_to(&mut assembly);
                if self.holders.new_exits(&assembly) {
                    self.walk_next("the thread of a ring exited");
                }
            }
        }
        let sums = match &mut self.sockets {
            Some(_) if idle => Ok(sockets::Sums::new()),
            Some(sockets) => {
                let owners = self.initial_namespace.then(|| assembly.processes());
                let lost = || lost.and_then(|lost| slot(lost, SOCKET_SUM));
                let before = lost();
                let sums = sockets.read(ebpf, self.asked.generation, owners.as_ref());
                if lost() == before { sums } else { Err("the table of sums is full".to_owned()) }
            }
            None => Err("the probe for sockets is not attached".to_owned()),
        };
        let ended = monotonic();
        self.registered = assembly.take_registered();
        let mut snapshot = assembly.finish(began, ended, incomplete, sums.as_ref().map_err(String::as_str));
        snapshot.discovery = Some(discovery);
        let without_ring = snapshot.queues.iter().filter(|queue| queue.rings.is_empty());
        let exporters = without_ring.flat_map(|queue| &queue.owners).map(|owner| owner.pid).collect();
        if self.initial_namespace {
            self.exporters = exporters;
        } else if !exporters.is_empty() {
            self.walk_next("a queue has no ring, only an exported file");
        }
        snapshot
    }

    /// Processes whose files may have changed: children of a fork, and those that executed another program. Those that have exited
    /// leave the tables.
    fn changed(&mut self) -> Vec<u32> {
        let Some(changes) = &mut self.changes else { return Vec::new() };
        let noted: Vec<u32> = changes.keys().filter_map(Result::ok).collect();
        let (living, exited): (Vec<u32>, Vec<u32>) =
            noted.into_iter().partition(|process| !self.initial_namespace || process::lives(*process));
        for process in exited {
            // One that is not there is forgotten as well.
            changes.remove(&process).ok();
            if let Some(sockets) = &mut self.sockets {
                sockets.forget(process);
            }
        }
        living
    }

    fn forget_changes(&mut self, processes: &[u32]) {
        let Some(changes) = &mut self.changes else { return };
        for process in processes {
            changes.remove(process).ok();
        }
    }

    /// Reads the files of these processes.
    fn read_again(&mut self, ebpf: &Ebpf, processes: &BTreeSet<u32>, incomplete: &mut Vec<String>) {
        for &process in processes {
            if let Err(reason) = iterator::run_for_process(ebpf, WALK[0], process) {
                incomplete.push(reason);
            }
            self.holders.forget(process);
        }
    }

    /// When each ring of the last snapshot entered the registry, by address.
    pub(super) const fn registered(&self) -> &BTreeMap<u64, u64> {
        &self.registered
    }

    /// The functions that a thread is in, innermost first.
    pub(super) fn stack(ebpf: &Ebpf, tid: u32) -> Result<Vec<String>, String> {
        let mut file = iterator::open_once(ebpf, "stack_task", tid)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| format!("stack_task: {error}"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

fn slot(lost: &PerCpuArray<MapData, u64>, slot: u32) -> Option<u64> {
    Some(lost.get(&slot, 0).ok()?.iter().sum())
}

#[cfg(test)]
mod tests;
