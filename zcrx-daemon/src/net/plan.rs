//! zcrx's needs of an interface, the current settings, and the difference.

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::flow::{self, Flow};
use super::journal::Journal;
use super::rss::Spread;
use super::step::{NTUPLE, Step, rx_queues, same_rule, steps};
use crate::model::{Channels, FlowRule, HeaderSplit, Interface, MemoryProvider, Reading, Rss, Setup};

/// What an interface is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Queues for zcrx.
    pub queues: Vec<u32>,
    /// Flows that are to reach them.
    pub flows: Vec<Flow>,
    /// Flows that zcrxd steered before and that are to be left to RSS again.
    #[serde(default)]
    pub dropped: Vec<Flow>,
}

/// A wish that no interface can fulfil.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// No queue.
    #[error("no queue is named: say which queues zcrx shall have (--queues 1,2)")]
    NoQueue,
    /// A flow goes to a queue that is not zcrx's.
    #[error(
        "{flow} goes to queue {queue}, which is none of the zcrx queues {queues:?}: name it there too, or choose another"
    )]
    ForeignQueue {
        /// The flow.
        flow: Flow,
        /// Its queue.
        queue: u32,
        /// The queues asked for.
        queues: Vec<u32>,
    },
    /// One flow, two queues.
    #[error("{0} is asked for twice: one flow goes to one queue")]
    Twice(Flow),
}

impl Wanted {
    /// Checks a wish, and gives each flow without a queue the next zcrx queue in turn.
    pub fn new(mut queues: Vec<u32>, flows: &[Flow]) -> Result<Self, WantedError> {
        queues.sort_unstable();
        queues.dedup();
        if queues.is_empty() {
            return Err(WantedError::NoQueue);
        }
        let mut placed: Vec<Flow> = Vec::with_capacity(flows.len());
        let mut turn = queues.iter().cycle();
        for flow in flows {
            if placed.iter().any(|other| (other.ipv6, other.port) == (flow.ipv6, flow.port)) {
                return Err(WantedError::Twice(*flow));
            }
            match flow.queue {
                Some(queue) if !queues.contains(&queue) => {
                    return Err(WantedError::ForeignQueue { flow: *flow, queue, queues });
                }
                Some(_) => placed.push(*flow),
                None => placed.push(Flow { queue: turn.next().copied(), ..*flow }),
            }
        }
        Ok(Self { queues, flows: placed, dropped: Vec::new() })
    }

    /// Whether a rule is zcrxd's own and steers a flow that is to be dropped.
    pub(super) fn drops(&self, rule: &FlowRule, ours: &[FlowRule]) -> bool {
        self.dropped.iter().any(|flow| flow.steered_by(rule).is_some())
            && ours.iter().any(|other| same_rule(other, rule))
    }

    /// Number of receive queues needed: the zcrx queues and at least one for ordinary traffic.
    fn queues_needed(&self) -> u32 {
        let highest = self.queues.last().copied().unwrap_or(0);
        (highest + 1).max(self.queues.len() as u32 + 1)
    }
}

/// How a need is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Met,
    /// A step of the plan will meet it.
    Change,
    /// A step of the plan makes sure of it, since it cannot be read; it changes nothing where it is met already.
    Ensure,
    /// A person should look at it; the plan goes on without.
    Advice,
    /// It cannot be met, so nothing is changed.
    Blocked,
}

/// One need and how it is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is needed.
    pub need: String,
    /// What is there.
    pub found: String,
    /// How that fits.
    pub verdict: Verdict,
    /// What a person can do, where the plan does not do it.
    pub remedy: Option<String>,
}

/// zcrx's needs, the current settings, and the steps between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Interface name.
    pub interface: String,
    /// Needs, one by one.
    pub checks: Vec<Check>,
    /// Changes, in order.
    pub steps: Vec<Step>,
    /// The same for ethtool, one for one.
    pub commands: Vec<String>,
}

impl Plan {
    /// Whether some need cannot be met.
    pub fn is_blocked(&self) -> bool {
        self.checks.iter().any(|check| check.verdict == Verdict::Blocked)
    }
}

/// Compares an interface with the wanted settings.
pub fn plan(current: &Interface, wanted: &Wanted) -> Plan {
    plan_after(current, wanted, None)
}

/// [`plan`] for an interface that zcrxd may have prepared before.
pub fn plan_after(current: &Interface, wanted: &Wanted, earlier: Option<&Journal>) -> Plan {
    let driver = current.driver.known().map_or(Driver::GENERIC, |name| Driver::named(name));
    let ours = earlier.map_or(&[][..], |journal| &journal.added);
    let setup = with_configured_split(current, earlier);
    let target = target(&setup, wanted, &driver, ours);
    let steps = steps(&setup, &target);
    let mut checks = vec![link_check(current), xdp_check(current)];
    checks.extend(driver_checks(&driver, wanted));
    checks.push(queue_check(&setup, current, wanted));
    checks.extend(provider_checks(current, wanted));
    checks.extend(header_split_checks(&setup));
    checks.extend(feature_check(&setup, &driver));
    checks.push(rss_check(&setup, &target, wanted));
    checks.extend(flow_checks(&setup, wanted, ours));
    checks.extend(pause_check(current));
    let commands = steps.iter().map(|step| step.command(&current.name)).collect();
    Plan { interface: current.name.clone(), checks, steps, commands }
}

/// Adds the configured header split if it is known: from a queue with a memory provider, or from a journal if no program has
/// changed header split since.
fn with_configured_split(current: &Interface, earlier: Option<&Journal>) -> Setup {
    let mut setup = current.setup.clone();
    let Reading::Known(rings) = &mut setup.rings else { return setup };
    let mut queues = current.queues.known().into_iter().flatten();
    let left = earlier.and_then(|journal| journal.left.rings.known());
    if queues.any(|queue| queue.provider.is_some()) {
        rings.split_configured = Some(HeaderSplit::On);
    } else if let Some(left) = left.filter(|left| left.tcp_data_split == rings.tcp_data_split) {
        rings.split_configured = rings.split_configured.or(left.split_configured);
    }
    setup
}

/// The setup that is wanted, reached from the present one with as few changes as possible.
///
/// `ours` are rules that zcrxd added before: they may be moved to another queue.
pub(super) fn target(current: &Setup, wanted: &Wanted, driver: &Driver, ours: &[FlowRule]) -> Setup {
    let mut target = current.clone();
    if let Reading::Known(channels) = &mut target.channels {
        let missing = wanted.queues_needed().saturating_sub(channels.rx_queues());
        if is_combined(channels) {
            channels.combined += missing;
        } else {
            channels.rx += missing;
        }
    }
    if let Reading::Known(rings) = &mut target.rings {
        rings.tcp_data_split = HeaderSplit::On;
        rings.split_configured = Some(HeaderSplit::On);
        rings.hds_thresh = rings.hds_thresh.map(|_| 0);
    }
    let queues = rx_queues(&target);
    // More queues bring a default table over all of them, the zcrx queues included.
    let more = queues > rx_queues(current);
    if let Reading::Known(rss) = &mut target.rss
        && (more || rss.table.iter().any(|queue| wanted.queues.contains(queue)))
        && let Some(spread) = Spread::away_from(&wanted.queues, queues)
    {
        rss.table = spread.table(rss.table.len(), queues);
    }
    if let Reading::Known(features) = &mut target.features {
        let ntuple = (!wanted.flows.is_empty()).then_some(NTUPLE);
        for name in ntuple.into_iter().chain(driver.split_needs) {
            if let Some(feature) = features.get_mut(name) {
                feature.wanted |= !feature.fixed;
            }
        }
    }
    if let Reading::Known(rules) = &mut target.rules {
        rules.rules.retain(|rule| !wanted.drops(rule, ours));
        for flow in &wanted.flows {
            let Some(queue) = flow.queue else { continue };
            rules.rules.retain(|rule| !is_moved(flow, rule, ours));
            if rules.rules.iter().any(|rule| flow.steered_by(rule).is_some()) {
                continue;
            }
            let location =
                if rules.driver_places { None } else { free_location(&rules.rules, rules.capacity) };
            rules.rules.push(flow.rule(queue, location));
        }
    }
    target
}

/// Whether more queues come as combined channels: drivers refuse to mix them with separate ones.
pub(super) const fn is_combined(channels: &Channels) -> bool {
    channels.combined > 0 || channels.rx == 0 && channels.combined_max > 0
}

/// Whether a rule is zcrxd's and sends a flow to another queue than the wanted one.
fn is_moved(flow: &Flow, rule: &FlowRule, ours: &[FlowRule]) -> bool {
    flow.steered_by(rule).is_some_and(|queue| Some(queue) != flow.queue)
        && ours.iter().any(|other| same_rule(other, rule))
}

/// The last free place: lower ones go first, and are for rules that were placed with care.
fn free_location(rules: &[FlowRule], capacity: Option<u32>) -> Option<u32> {
    (0..capacity?).rev().find(|place| rules.iter().all(|rule| rule.location != Some(*place)))
}

fn check(need: impl Into<String>, found: impl Into<String>, verdict: Verdict) -> Check {
    Check { need: need.into(), found: found.into(), verdict, remedy: None }
}

fn link_check(current: &Interface) -> Check {
    if current.up {
        return check("interface up", "up", Verdict::Met);
    }
    let remedy = Some(format!("ip link set {} up", current.name));
    Check { remedy, ..check("interface up", "down", Verdict::Advice) }
}

fn xdp_check(current: &Interface) -> Check {
    if current.xdp.is_empty() {
        return check("no XDP program", "none", Verdict::Met);
    }
    let ids: Vec<String> = current.xdp.iter().map(|program| format!("id {}", program.id)).collect();
    let remedy =
        Some(format!("find the program's owner (bpftool net), then: ip link set {} xdp off", current.name));
    Check { remedy, ..check("no XDP program", ids.join(", "), Verdict::Blocked) }
}

fn driver_checks(driver: &Driver, wanted: &Wanted) -> Vec<Check> {
    let mut checks = Vec::new();
    if driver.gives_queues == Some(false) {
        let found = format!("{} has no queue management operations up to Linux 7.3", driver.name);
        checks.push(Check {
            remedy: Some(
                "zcrx registration will give EOPNOTSUPP; use the copying backend or another NIC".to_owned(),
            ),
            ..check("a driver that gives queues to zcrx", found, Verdict::Advice)
        });
    }
    let refused: Vec<u32> =
        wanted.queues.iter().copied().filter(|queue| *queue < driver.first_queue).collect();
    if !refused.is_empty() {
        checks.push(Check {
            remedy: Some(format!("choose queue {} or a higher one", driver.first_queue)),
            ..check(
                format!("queues {refused:?} can be given to zcrx"),
                driver.first_queue_reason,
                Verdict::Blocked,
            )
        });
    }
    checks
}

/// The feature without which the driver refuses header split.
fn feature_check(setup: &Setup, driver: &Driver) -> Option<Check> {
    let name = driver.split_needs?;
    let need = format!("{name} on ({} splits headers only then)", driver.name);
    Some(match setup.features.known().and_then(|features| features.get(name)) {
        Some(feature) if feature.active => check(need, "on", Verdict::Met),
        Some(feature) if feature.fixed => check(need, "off, fixed by the driver", Verdict::Blocked),
        Some(_) => check(need, "off", Verdict::Change),
        None => check(need, "unknown", Verdict::Advice),
    })
}

/// A NIC that sends pause frames stops its sender instead of dropping, and with it the packets of every other queue.
fn pause_check(current: &Interface) -> Option<Check> {
    let pause = current.pause.filter(|pause| pause.tx)?;
    let found = format!("tx pause on{}", if pause.rx { ", rx pause on" } else { "" });
    let remedy = format!(
        "while a zcrx queue starves, the NIC may hold up packets for every other queue instead of dropping (head-of-line \
         blocking), with no drop counted; where other traffic shares the port: ethtool -A {} autoneg off tx off",
        current.name
    );
    Some(Check { remedy: Some(remedy), ..check("a starving queue harms no other", found, Verdict::Advice) })
}

fn queue_check(setup: &Setup, current: &Interface, wanted: &Wanted) -> Check {
    let needed = wanted.queues_needed();
    let need = format!("at least {needed} receive queues");
    match &setup.channels {
        Reading::Known(channels) => {
            let have = channels.rx_queues();
            let most =
                if is_combined(channels) { channels.rx + channels.combined_max } else { channels.rx_max };
            let found = format!("{have} (of {most})");
            match () {
                () if have >= needed => check(need, found, Verdict::Met),
                () if most >= needed => check(need, found, Verdict::Change),
                () => Check {
                    remedy: Some(
                        "choose lower queue indexes; one queue is always left to ordinary traffic".to_owned(),
                    ),
                    ..check(need, found, Verdict::Blocked)
                },
            }
        }
        Reading::Unknown(why) => match current.queues.known().map(Vec::len) {
            Some(have) if have >= needed as usize => check(need, have.to_string(), Verdict::Met),
            Some(have) if current.up => check(need, format!("{have} (channels: {why})"), Verdict::Blocked),
            _ => check(need, format!("unknown (channels: {why})"), Verdict::Blocked),
        },
    }
}

fn provider_checks(current: &Interface, wanted: &Wanted) -> Vec<Check> {
    let Some(queues) = current.queues.known() else { return Vec::new() };
    let taken = queues.iter().filter(|queue| wanted.queues.contains(&queue.id)).filter_map(|queue| {
        let by = match queue.provider {
            Some(MemoryProvider::IoUring { .. }) => "taken by a zcrx queue",
            Some(MemoryProvider::Dmabuf { .. }) => "taken by device memory",
            None if queue.af_xdp => "taken by an AF_XDP socket",
            None => return None,
        };
        let remedy =
            Some("it is free when its owner closes it; registering it now gives EEXIST or EBUSY".to_owned());
        Some(Check { remedy, ..check(format!("queue {} free", queue.id), by, Verdict::Advice) })
    });
    taken.collect()
}

fn header_split_checks(setup: &Setup) -> Vec<Check> {
    let rings = match &setup.rings {
        Reading::Known(rings) => rings,
        Reading::Unknown(why) => return vec![check("tcp-data-split on", why, Verdict::Blocked)],
    };
    let change = |met| if met { Verdict::Met } else { Verdict::Change };
    let split = rings.tcp_data_split;
    let mut checks = vec![match (split, rings.split_configured) {
        (HeaderSplit::On, Some(HeaderSplit::On)) => check("tcp-data-split on", "on", Verdict::Met),
        (HeaderSplit::On, _) => check(
            "tcp-data-split on",
            "reported on; whether it is configured, which zcrx needs, cannot be read",
            Verdict::Ensure,
        ),
        _ => check("tcp-data-split on", split.name(), Verdict::Change),
    }];
    checks.push(match rings.hds_thresh {
        Some(bytes) => check("hds-thresh 0", bytes.to_string(), change(bytes == 0)),
        None => check("hds-thresh 0", "not offered, which counts as 0", Verdict::Met),
    });
    checks
}

fn rss_check(current: &Setup, target: &Setup, wanted: &Wanted) -> Check {
    let need = format!("RSS away from queues {:?}", wanted.queues);
    let (rss, goal) = match (&current.rss, &target.rss) {
        (Reading::Known(rss), Reading::Known(goal)) => (rss, goal),
        (Reading::Unknown(why), _) | (_, Reading::Unknown(why)) => {
            let remedy = Some("what strays to a zcrx queue is copied, not lost".to_owned());
            return Check { remedy, ..check(need, why, Verdict::Advice) };
        }
    };
    if rss.table.is_empty() {
        return check(need, "no RSS table", Verdict::Advice);
    }
    let led_to = |table: &[u32]| -> Vec<u32> {
        wanted.queues.iter().copied().filter(|queue| table.contains(queue)).collect()
    };
    let (hit, left) = (led_to(&rss.table), led_to(&goal.table));
    if !left.is_empty() {
        let remedy = Some("nothing says how many queues there are: set the RSS table by hand".to_owned());
        return Check { remedy, ..check(need, format!("leads to {hit:?}"), Verdict::Advice) };
    }
    if !hit.is_empty() {
        return check(need, format!("leads to {hit:?}"), Verdict::Change);
    }
    if rx_queues(target) > rx_queues(current) {
        return check(need, "would lead to the new queues", Verdict::Change);
    }
    check(need, "leads elsewhere", Verdict::Met)
}

fn flow_checks(setup: &Setup, wanted: &Wanted, ours: &[FlowRule]) -> Vec<Check> {
    let rules = match &setup.rules {
        Reading::Known(rules) => rules,
        Reading::Unknown(_) if wanted.flows.is_empty() => return Vec::new(),
        Reading::Unknown(why) => return vec![check("flow rules", why, Verdict::Blocked)],
    };
    let mut checks: Vec<Check> =
        wanted.flows.iter().map(|flow| flow_check(flow, &rules.rules, ours)).collect();
    if !wanted.flows.is_empty() {
        checks.insert(0, ntuple_check(setup));
    }
    let rss = setup.rss.known();
    checks.extend(rules.rules.iter().flat_map(|rule| stray_checks(rule, rss, wanted)));
    checks
}

fn ntuple_check(setup: &Setup) -> Check {
    let feature = setup.features.known().and_then(|features| features.get(NTUPLE));
    match feature {
        Some(ntuple) if ntuple.active => check("ntuple on", "on", Verdict::Met),
        Some(ntuple) if ntuple.fixed => check("ntuple on", "off, fixed by the driver", Verdict::Blocked),
        Some(_) => check("ntuple on", "off", Verdict::Change),
        None => check("ntuple on", "unknown", Verdict::Advice),
    }
}

fn flow_check(flow: &Flow, rules: &[FlowRule], ours: &[FlowRule]) -> Check {
    let need = format!("a rule for {flow}");
    let Some((rule, queue)) = rules.iter().find_map(|rule| Some((rule, flow.steered_by(rule)?))) else {
        return check(need, "none", Verdict::Change);
    };
    if Some(queue) == flow.queue {
        return check(need, "there", Verdict::Met);
    }
    let location = rule.location.unwrap_or_default();
    if is_moved(flow, rule, ours) {
        return check(
            need,
            format!("zcrxd's own rule {location} sends it to queue {queue}"),
            Verdict::Change,
        );
    }
    let remedy = Some(format!("delete rule {location} if it is no longer needed, or choose queue {queue}"));
    Check { remedy, ..check(need, format!("rule {location} sends it to queue {queue}"), Verdict::Blocked) }
}

/// Another owner's rule that leads to a zcrx queue: its packets are copied, or take buffers.
fn stray_checks(rule: &FlowRule, rss: Option<&Rss>, wanted: &Wanted) -> Vec<Check> {
    if wanted.flows.iter().any(|flow| flow.steered_by(rule).is_some()) {
        return Vec::new();
    }
    let led_to = flow::queues_of(rule, rss);
    let location = rule.location.unwrap_or_default();
    let queues = wanted.queues.iter().filter(|queue| led_to.contains(queue));
    queues
        .map(|queue| {
            check(
                format!("nothing else to queue {queue}"),
                format!("rule {location}: {}", rule.text),
                Verdict::Advice,
            )
        })
        .collect()
}
