//! Attaches all probes: in which order, what is checked before it is used, and what an earlier zcrxd left.

use std::cell::LazyCell;

use aya::maps::MapError;
use tracing::{debug, warn};

use super::attach::{self, Hooks, Host};
use super::attached::Attached;
use super::catalogue::{self, Probe};
use super::keep::{self, Kept};
use super::multi::Multi;
use super::options::Options;
use super::{allocation, cost, events, identity, object, offsets, page_pool};
use super::{registration, residence, self_check, snapshot, stacks};
use crate::{
    kernel::{Kernel, Part, Symbols},
    model::{CheckedFigure, ProbeStatus, SelfCheck},
};

/// The attached probes, and what happened on the way.
pub(super) struct Started {
    pub(super) status: Vec<ProbeStatus>,
    pub(super) self_check: Option<SelfCheck>,
    /// `None` if the kernel takes no program at all.
    pub(super) attached: Option<Attached>,
    /// Number of queues whose counts go on from an earlier zcrxd, or why none do; `None` without an earlier one.
    pub(super) inherited: Option<Result<usize, String>>,
}

/// Attaches the probes, best alternative first.
pub(super) fn start(kernel: &Kernel, options: Options, kept: Option<Kept>) -> Started {
    let earlier = kept.map(keep::Inherited::open);
    let fields = offsets::resolve(&kernel.btf);
    let ebpf = match object::load(kernel, &fields.offsets, options.residence) {
        Ok(ebpf) => ebpf,
        Err(reason) => {
            return Started {
                status: catalogue::all_refused(&reason, &options),
                self_check: None,
                attached: None,
                inherited: earlier.map(|_| Err(reason)),
            };
        }
    };
    let host = Host {
        kernel,
        fields: &fields,
        btf: types_for_aya(kernel),
        symbols: LazyCell::new(|| Symbols::look_up(&catalogue::function_names())),
        only: options.mechanism.only(),
    };
    let maps = cost::Maps::of(&ebpf);
    let lasting = keep::Maps::of(&ebpf);
    let multi = Multi::new(&ebpf);
    let mut start = Start { host, options, hooks: Hooks { ebpf, multi }, status: Vec::new() };
    // What is checked comes first: no other probe counts what the check does.
    start.attach(is_checked);
    let mut snapshot = start.snapshot();
    let mut events = events::Reader::new(&mut start.hooks.ebpf);
    let self_check = match &mut snapshot {
        Some(reader) if start.options.self_check => Some(start.check(reader, events.as_mut())),
        _ => None,
    };
    if let Some(check) = &self_check {
        start.refuse_wrong(&mut snapshot, check);
    }
    start.attach(|name| !is_checked(name));
    start.finish(Found { snapshot, events, self_check, maps, lasting, earlier })
}

/// The state while probes are attached one after the other.
struct Start<'a> {
    host: Host<'a>,
    options: Options,
    hooks: Hooks,
    status: Vec<ProbeStatus>,
}

/// Results of the steps before the last one.
struct Found {
    snapshot: Option<snapshot::Reader>,
    events: Option<events::Reader>,
    self_check: Option<SelfCheck>,
    maps: cost::Maps,
    lasting: Option<keep::Maps>,
    earlier: Option<Result<keep::Inherited, String>>,
}

impl Start<'_> {
    fn attach(&mut self, chosen: fn(&str) -> bool) {
        for probe in catalogue::probes().filter(|probe| chosen(probe.name)) {
            let attached = match probe.not_tried(&self.options, &self.status) {
                Some(untried) => untried,
                None => attach::attach(&mut self.hooks, probe, &self.host),
            };
            self.status.push(attached);
        }
    }

    fn is_attached(&self, name: &str) -> bool {
        is_attached(&self.status, name)
    }

    /// Whether a probe is attached to a function of the kernel, not to a tracepoint only.
    fn is_on_function(&self, name: &str) -> bool {
        let probe = self.status.iter().find(|probe| probe.name == name);
        probe
            .and_then(|probe| probe.attached.as_ref())
            .is_some_and(|(mechanism, _)| mechanism.is_on_function())
    }

    /// The reader of snapshots, if its programs were accepted. They may be, and still not find what they look for:
    /// then the probe counts as refused.
    fn snapshot(&mut self) -> Option<snapshot::Reader> {
        if !self.is_attached(catalogue::state::SNAPSHOT) {
            return None;
        }
        match snapshot::Reader::new(&mut self.hooks.ebpf, self.host.fields) {
            Ok(mut reader) => {
                if self.is_attached(catalogue::state::SOCKETS) {
                    reader.with_sockets(&mut self.hooks.ebpf);
                }
                Some(reader)
            }
            Err(error) => {
                self.refuse(catalogue::state::SNAPSHOT, error);
                None
            }
        }
    }

    /// Compares a snapshot, and what probes counted, with a queue that is known; then lets the readers forget the queue.
    fn check(&mut self, reader: &mut snapshot::Reader, mut events: Option<&mut events::Reader>) -> SelfCheck {
        if !reader.sees_all_processes() {
            let reason =
                "zcrxd runs in a pid namespace of its own, and cannot recognise its processes".to_owned();
            return SelfCheck { unchecked: Some(reason), ..SelfCheck::default() };
        }
        if let Some(events) = &mut events {
            events.count_for(|name| self.is_attached(name));
        }
        let check = self_check::run(|| {
            let mut snapshot = reader.take(&mut self.hooks.ebpf, None);
            if let Some(events) = &events {
                events.join(&mut snapshot);
            }
            snapshot
        });
        reader.begin_again();
        if let Some(events) = events {
            events.begin_again();
        }
        if let Some(reason) = &check.unchecked {
            debug!("snapshots are not checked: {reason}");
        }
        check
    }

    /// Switches off what the self-check found to be wrong: probes that count, some figures of snapshots, or snapshots as a whole.
    fn refuse_wrong(&mut self, snapshot: &mut Option<snapshot::Reader>, check: &SelfCheck) {
        let Some(reader) = snapshot else { return };
        for figure in check.wrong() {
            warn!(
                "self-check: {figure}; this figure is switched off. Report this with `zcrxd check` and the kernel's release"
            );
        }
        let (counted, read): (Vec<_>, Vec<_>) =
            check.wrong().partition(|figure| counting_probe(figure).is_some());
        for figure in counted {
            if let Some(probe) = counting_probe(figure) {
                self.detach(probe);
                self.refuse(probe.name, format!("the self-check failed: {figure}"));
            }
        }
        if let Err(error) = reader.distrust(&read) {
            *snapshot = None;
            self.refuse(catalogue::state::SNAPSHOT, error);
        }
    }

    fn detach(&mut self, probe: &Probe) {
        for alternative in probe.alternatives {
            attach::detach(&mut self.hooks, alternative);
        }
    }

    /// Notes that an attached probe cannot be used.
    fn refuse(&mut self, name: &str, error: String) {
        if let Some(probe) = self.status.iter_mut().find(|probe| probe.name == name) {
            probe.fail(error);
        }
    }

    /// Gives each probe its reader, and hands over what an earlier zcrxd left.
    fn finish(mut self, found: Found) -> Started {
        let Found { mut snapshot, mut events, self_check, maps, lasting, earlier } = found;
        let place = |status: &ProbeStatus| catalogue::probes().position(|probe| probe.name == status.name);
        self.status.sort_by_key(place);
        for probe in &self.status {
            debug!(probe = probe.name, attached = ?probe.attached, refused = ?probe.refused);
        }
        if let Some(events) = &mut events {
            events.count_for(|name| self.is_attached(name));
        }
        if let Some(snapshot) = &mut snapshot
            && self.keeps_registry()
        {
            snapshot.with_registry();
            if self.is_attached(catalogue::lives::HOLDERS) {
                snapshot.with_changes(&mut self.hooks.ebpf);
            }
        }
        let on_function = self.is_on_function(catalogue::state::REGISTRATION);
        let Self { hooks: Hooks { mut ebpf, multi }, status, options, .. } = self;
        let is_attached = |name: &str| is_attached(&status, name);
        let registration = is_attached(catalogue::state::REGISTRATION)
            .then(|| registration::Reader::new(&mut ebpf, on_function))
            .flatten();
        let page_pool =
            is_attached(catalogue::state::PAGE_POOL).then(|| page_pool::Reader::new(&mut ebpf)).flatten();
        let residence =
            is_attached(catalogue::residence::RESIDENCE).then(|| residence::Reader::new(&mut ebpf)).flatten();
        let mut allocation =
            is_attached(catalogue::state::ALLOCATION).then(|| allocation::Reader::new(&mut ebpf)).flatten();
        let sees_ends = is_attached(catalogue::lives::QUEUE_END);
        let inherited = earlier.map(|earlier| {
            let earlier = earlier?;
            if !sees_ends {
                return Err(format!("the probe {} is not attached", catalogue::lives::QUEUE_END));
            }
            hand_over(&earlier, allocation.as_mut(), events.as_mut())
                .map_err(|error| format!("they cannot be copied: {error}"))
        });
        let attached = Attached {
            registration,
            page_pool,
            snapshot,
            identities: identity::Identities::default(),
            stacks: stacks::Stacks::new(is_attached(catalogue::state::STACK)),
            allocation,
            events,
            residence,
            has_sampler: false,
            rings_ended: None,
            lost: object::map(&mut ebpf, "LOST"),
            lasting: lasting.filter(|_| sees_ends),
            log: object::logger(&mut ebpf),
            cost: cost::Reader::new(&ebpf, maps, multi.finish(), options.statistics),
            ebpf,
        };
        Started { status, self_check, attached: Some(attached), inherited }
    }

    /// Whether the programs see every ring that gets a queue and every ring that ends.
    fn keeps_registry(&self) -> bool {
        self.is_on_function(catalogue::state::REGISTRATION) && self.is_on_function(catalogue::lives::TEARDOWN)
    }
}

/// Gives the counts of each queue that still exists to their readers. New programs must be attached, those that see queues end
/// included. Returns the number of queues.
fn hand_over(
    earlier: &keep::Inherited,
    allocation: Option<&mut allocation::Reader>,
    events: Option<&mut events::Reader>,
) -> Result<usize, MapError> {
    let counted = allocation.map_or(Ok(0), |reader| reader.take_over(&earlier.allocations))?;
    let noted = events.map_or(Ok(0), |reader| reader.take_over(&earlier.events))?;
    Ok(counted.max(noted))
}

fn is_attached(status: &[ProbeStatus], name: &str) -> bool {
    status.iter().any(|probe| probe.name == name && probe.attached.is_some())
}

/// The types that aya looks for, by name.
fn types_for_aya(kernel: &Kernel) -> Part<aya::Btf> {
    let btf = kernel.btf.as_ref().map_err(Clone::clone)?;
    let blob = btf.only_named(&catalogue::type_names()).map_err(|error| error.to_string())?;
    aya::Btf::parse(&blob, aya::Endianness::default()).map_err(|error| error.to_string())
}

/// Probes of the snapshot: the self-check needs them.
const SHOWING: [&str; 2] = [catalogue::state::SNAPSHOT, catalogue::state::SOCKETS];

/// Probes that count what the self-check does. Figures that it compares begin with their names.
pub(super) const COUNTING: [&str; 3] =
    [catalogue::events::DELIVERY, catalogue::events::COPY, catalogue::events::CONTROL];

/// Whether the self-check needs a probe, or checks it.
fn is_checked(name: &str) -> bool {
    SHOWING.contains(&name) || COUNTING.contains(&name)
}

/// The probe that counted a figure of the self-check; `None` for what a snapshot shows.
fn counting_probe(figure: &CheckedFigure) -> Option<&'static Probe> {
    let (name, _) = figure.name.split_once('.')?;
    catalogue::probes().find(|probe| probe.name == name && COUNTING.contains(&name))
}
