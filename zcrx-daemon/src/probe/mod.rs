//! The kernel's side: which probes this kernel allows, and what they counted.
//!
//! [`Probes::attach`] goes through the catalogue and attaches the first alternative of each probe that works. It never
//! fails: on a kernel that allows no probe, or without the privileges, every probe carries the reasons as text, and the
//! daemon continues.

mod allocation;
#[cfg(test)]
mod alterations;
mod attach;
mod bpf;
mod catalogue;
mod cost;
mod events;
mod identity;
mod iterator;
mod multi;
mod object;
mod offsets;
mod options;
mod page_pool;
mod prototype;
mod refusal;
mod registration;
mod residence;
mod self_check;
mod snapshot;
mod stacks;

use std::cell::LazyCell;
use std::sync::{Mutex, PoisonError};

use aya::{Ebpf, maps::PerCpuArray};
use tracing::{debug, warn};

use self::{attach::Hooks, multi::Multi};
use crate::{
    kernel::{Kernel, Part, Symbols},
    model::{Attempt, KernelSnapshot, Lives, Obstacle, ProbeSample, ProbeStatus, Scope, SelfCheck},
};

pub use options::{MechanismChoice, Options};

/// Attached probes. Dropping detaches them.
pub struct Probes {
    status: Vec<ProbeStatus>,
    self_check: Option<SelfCheck>,
    attached: Option<Mutex<Attached>>,
}

/// What only exists while the kernel holds our programs.
struct Attached {
    /// Owns programs and links.
    ebpf: Ebpf,
    /// Holds programs and links that aya does not know of.
    cost: cost::Reader,
    registration: Option<registration::Reader>,
    page_pool: Option<page_pool::Reader>,
    snapshot: Option<snapshot::Reader>,
    identities: identity::Identities,
    stacks: stacks::Stacks,
    allocation: Option<allocation::Reader>,
    events: Option<events::Reader>,
    residence: Option<residence::Reader>,
    /// Whether a sampler takes samples of queues: then others only show them.
    has_sampler: bool,
    /// Rings with queues that had ended when last sampled.
    rings_ended: Option<u64>,
    lost: Option<PerCpuArray<aya::maps::MapData, u64>>,
    log: Option<aya_log::EbpfLogger<&'static dyn tracing_log::log::Log>>,
}

impl Probes {
    /// Attaches what this kernel and this process's privileges allow, and checks snapshots before they are used.
    ///
    /// Lines that the programs log arrive through the `log` crate; how much they log is fixed by the level
    /// that is set now.
    pub fn attach(kernel: &Kernel) -> Self {
        Self::attach_with(kernel, Options { self_check: true, ..Options::default() })
    }

    /// The same, as the options say.
    pub fn attach_with(kernel: &Kernel, options: Options) -> Self {
        let fields = offsets::resolve(&kernel.btf);
        let ebpf = match object::load(kernel, &fields.offsets, options.residence) {
            Ok(ebpf) => ebpf,
            Err(reason) => {
                return Self {
                    status: catalogue::all_refused(&reason, options),
                    self_check: None,
                    attached: None,
                };
            }
        };
        let host = attach::Host {
            kernel,
            fields: &fields,
            btf: types_for_aya(kernel),
            symbols: LazyCell::new(|| Symbols::look_up(&catalogue::function_names())),
            only: options.mechanism.only(),
        };
        let maps = cost::Maps::of(&ebpf);
        let multi = Multi::new(&ebpf);
        let mut hooks = Hooks { ebpf, multi };
        let mut status: Vec<ProbeStatus> = Vec::new();
        let attach = |hooks: &mut Hooks, status: &mut Vec<ProbeStatus>, chosen: fn(&str) -> bool| {
            for probe in catalogue::CATALOGUE.iter().filter(|probe| chosen(probe.name)) {
                let attached = match probe.not_tried(options, status) {
                    Some(untried) => untried,
                    None => attach::attach(hooks, probe, &host),
                };
                status.push(attached);
            }
        };
        // The snapshot is checked before other probes count what the check does.
        attach(&mut hooks, &mut status, is_checked);
        let mut snapshot = snapshot(&mut hooks.ebpf, &mut status, &fields);
        if let Some(snapshot) = &mut snapshot
            && status.iter().any(|probe| probe.name == catalogue::SOCKETS && probe.attached.is_some())
        {
            snapshot.with_sockets(&mut hooks.ebpf);
        }
        let self_check =
            snapshot.as_mut().filter(|_| options.self_check).map(|reader| check(reader, &mut hooks.ebpf));
        if let Some(check) = &self_check {
            refuse_wrong(&mut snapshot, &mut status, check);
        }
        attach(&mut hooks, &mut status, |name| !is_checked(name));
        let place =
            |status: &ProbeStatus| catalogue::CATALOGUE.iter().position(|probe| probe.name == status.name);
        status.sort_by_key(place);
        let Hooks { mut ebpf, multi } = hooks;
        let cost = cost::Reader::new(&ebpf, maps, multi.finish(), options.statistics);
        for probe in &status {
            debug!(probe = probe.name, attached = ?probe.attached, refused = ?probe.refused);
        }
        let is_attached =
            |name: &str| status.iter().any(|probe| probe.name == name && probe.attached.is_some());
        if let Some(snapshot) = &mut snapshot
            && keeps_registry(&status)
        {
            snapshot.with_registry();
            if is_attached(catalogue::HOLDERS) {
                snapshot.with_changes(&mut ebpf);
            }
        }
        let attached = Attached {
            registration: is_attached(catalogue::REGISTRATION)
                .then(|| {
                    registration::Reader::new(&mut ebpf, is_on_function(&status, catalogue::REGISTRATION))
                })
                .flatten(),
            page_pool: is_attached(catalogue::PAGE_POOL).then(|| page_pool::Reader::new(&mut ebpf)).flatten(),
            snapshot,
            identities: identity::Identities::default(),
            stacks: stacks::Stacks::new(is_attached(catalogue::STACK)),
            allocation: is_attached(catalogue::ALLOCATION)
                .then(|| allocation::Reader::new(&mut ebpf))
                .flatten(),
            events: events::Reader::new(&mut ebpf, is_attached),
            residence: is_attached(catalogue::RESIDENCE).then(|| residence::Reader::new(&mut ebpf)).flatten(),
            has_sampler: false,
            rings_ended: None,
            lost: object::map(&mut ebpf, "LOST"),
            log: object::logger(&mut ebpf),
            ebpf,
            cost,
        };
        Self { status, self_check, attached: Some(Mutex::new(attached)) }
    }

    /// Reads all that the probes counted, and drains what they noted since the last call.
    pub fn sample(&self) -> ProbeSample {
        self.sample_of(Scope::All)
    }

    /// Like [`Probes::sample`], and leaves out what is not in the scope.
    pub fn sample_of(&self, scope: Scope) -> ProbeSample {
        let is_whole = scope == Scope::All;
        let mut sample = ProbeSample::default();
        if is_whole {
            sample.probes.clone_from(&self.status);
            sample.self_check.clone_from(&self.self_check);
        }
        let Some(attached) = &self.attached else { return sample };
        // A reader that panicked half-way leaves nothing worse than events already drained.
        let attached = &mut *attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.has_sampler |= !is_whole;
        // Extremes and stacks are for the samples that are kept: the sampler's, or all where there is no sampler.
        let is_kept = !is_whole || !attached.has_sampler;
        if let Some(reader) = &mut attached.registration {
            if is_whole {
                // Counts before events: a registration of zcrxd itself is then never counted as another process's.
                sample.registrations = reader.counts();
            }
            sample.recent_registrations = reader.recent();
            sample.foreign_registrations = sample.registrations.as_deref().map(|all| reader.foreign(all));
        }
        if is_whole {
            sample.page_pools = attached.page_pool.as_ref().and_then(page_pool::Reader::counts);
        }
        sample.snapshot =
            attached.snapshot.as_mut().map(|reader| reader.take(&mut attached.ebpf, attached.lost.as_ref()));
        // Whether a queue has counts and was not found.
        let mut missing = false;
        if let (Some(snapshot), Some(reader)) = (&mut sample.snapshot, &mut attached.allocation) {
            missing |= reader.forget_missed(snapshot);
            reader.join(snapshot);
            if is_kept {
                reader.begin_interval();
            }
        }
        if let Some(reader) = &mut attached.events {
            sample.lives = reader.lives();
            if let Some(snapshot) = &mut sample.snapshot {
                let (gone, new) = reader.forget_missed(snapshot);
                missing |= new;
                reader.join(snapshot);
                if let Some(reader) = &mut attached.residence {
                    reader.forget(&gone, sample.lives.queues_ended);
                    reader.join(snapshot);
                }
            }
        }
        if let Some(snapshot) = &mut sample.snapshot {
            attached.finish(snapshot, &sample.lives, missing, is_kept);
        }
        if is_whole {
            let lost = attached.lost.as_ref().and_then(cost::lost);
            sample.lost_events = lost.as_ref().map(|lost| lost.values().sum());
            sample.cost = Some(attached.cost.read(lost));
        }
        if let Some(log) = &mut attached.log {
            log.flush();
        }
        sample
    }
}

impl Attached {
    /// What is left to do when every reader has found its counts by the kernel's addresses.
    fn finish(&mut self, snapshot: &mut KernelSnapshot, lives: &Lives, missing: bool, is_kept: bool) {
        let Some(reader) = &mut self.snapshot else { return };
        if missing {
            reader.walk_next("a queue has counts and is in no snapshot");
        }
        if self.rings_ended.is_some() && lives.rings_ended != self.rings_ended {
            // An exported file may keep a queue that the ring had.
            reader.walk_next("a ring with queues ended");
        }
        self.rings_ended = lives.rings_ended;
        self.identities.replace(snapshot, reader.registered());
        if is_kept {
            self.stacks.fill(snapshot, &self.ebpf);
        }
    }
}

/// The types that aya looks for, by name.
fn types_for_aya(kernel: &Kernel) -> Part<aya::Btf> {
    let btf = kernel.btf.as_ref().map_err(Clone::clone)?;
    let blob = btf.only_named(&catalogue::type_names()).map_err(|error| error.to_string())?;
    aya::Btf::parse(&blob, aya::Endianness::default()).map_err(|error| error.to_string())
}

/// Whether a probe is attached before the self-check, which uses it.
fn is_checked(name: &str) -> bool {
    [catalogue::SNAPSHOT, catalogue::SOCKETS].contains(&name)
}

/// Compares a snapshot with a queue that is known, and lets the reader forget the queue.
fn check(reader: &mut snapshot::Reader, ebpf: &mut Ebpf) -> SelfCheck {
    if !reader.sees_all_processes() {
        let reason =
            "zcrxd runs in a pid namespace of its own, and cannot recognise its processes".to_owned();
        return SelfCheck { unchecked: Some(reason), ..SelfCheck::default() };
    }
    let check = self_check::run(|| reader.take(ebpf, None));
    reader.begin_again();
    if let Some(reason) = &check.unchecked {
        debug!("snapshots are not checked: {reason}");
    }
    check
}

/// Switches off what the self-check found to be wrong: some figures of snapshots, or snapshots as a whole.
fn refuse_wrong(snapshot: &mut Option<snapshot::Reader>, status: &mut [ProbeStatus], check: &SelfCheck) {
    let Some(reader) = snapshot else { return };
    for figure in check.wrong() {
        warn!(
            "self-check: {figure}; this figure is switched off. Report this with `zcrxd check` and the kernel's release"
        );
    }
    let Err(error) = reader.distrust(check) else { return };
    *snapshot = None;
    let probe = status.iter_mut().find(|probe| probe.name == catalogue::SNAPSHOT);
    if let Some((probe, (mechanism, target))) = probe.and_then(|probe| {
        let attached = probe.attached.take()?;
        Some((probe, attached))
    }) {
        probe.refused.push(Attempt { mechanism, target, error, obstacle: Obstacle::Failed });
    }
}

/// Whether the programs see every ring that gets a queue and every ring that ends.
fn keeps_registry(status: &[ProbeStatus]) -> bool {
    is_on_function(status, catalogue::REGISTRATION) && is_on_function(status, catalogue::TEARDOWN)
}

/// Whether a probe is attached to a function of the kernel, not to a tracepoint only.
fn is_on_function(status: &[ProbeStatus], name: &str) -> bool {
    let probe = status.iter().find(|probe| probe.name == name);
    probe.and_then(|probe| probe.attached.as_ref()).is_some_and(|(mechanism, _)| mechanism.is_on_function())
}

/// Whether zcrxd cannot do what it is for without the probe of that name: show the queues there are.
pub fn is_essential(name: &str) -> bool {
    name == catalogue::SNAPSHOT
}

/// The name of every probe.
pub fn names() -> Vec<&'static str> {
    catalogue::CATALOGUE.iter().map(|probe| probe.name).collect()
}

/// The reader of snapshots, if its programs were accepted. They may be, and still not find what they look for:
/// then the probe counts as refused.
fn snapshot(
    ebpf: &mut Ebpf,
    status: &mut [ProbeStatus],
    fields: &offsets::Resolved,
) -> Option<snapshot::Reader> {
    let status = status.iter_mut().find(|probe| probe.name == catalogue::SNAPSHOT)?;
    let (mechanism, target) = status.attached.clone()?;
    match snapshot::Reader::new(ebpf, fields) {
        Ok(reader) => Some(reader),
        Err(error) => {
            status.attached = None;
            status.refused.push(Attempt { mechanism, target, error, obstacle: Obstacle::Failed });
            None
        }
    }
}
