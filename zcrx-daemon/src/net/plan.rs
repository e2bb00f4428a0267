//! What zcrx needs of an interface, what is there, and the difference.

use serde::{Deserialize, Serialize};

use super::flow::{self, Flow};
use super::rss::Spread;
use super::step::{NTUPLE, Step, rx_queues, steps};
use crate::model::{FlowRule, HeaderSplit, Interface, MemoryProvider, Reading, Setup};

/// What an interface is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Queues for zcrx.
    pub queues: Vec<u32>,
    /// Flows that are to reach them.
    pub flows: Vec<Flow>,
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
        Ok(Self { queues, flows: placed })
    }

    /// Receive queues needed: the zcrx queues and at least one for everybody else.
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

/// What zcrx needs, what is there, and how to get there.
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

/// Compares an interface with what is wanted of it.
pub fn plan(current: &Interface, wanted: &Wanted) -> Plan {
    let target = target(&current.setup, wanted);
    let steps = steps(&current.setup, &target);
    let mut checks = vec![link_check(current), xdp_check(current)];
    checks.push(queue_check(&current.setup, current, wanted));
    checks.extend(provider_checks(current, wanted));
    checks.extend(header_split_checks(&current.setup));
    checks.push(rss_check(&current.setup, &target, wanted));
    checks.extend(flow_checks(&current.setup, wanted));
    let commands = steps.iter().map(|step| step.command(&current.name)).collect();
    Plan { interface: current.name.clone(), checks, steps, commands }
}

/// The setup that is wanted, reached from the present one with as few changes as possible.
pub(super) fn target(current: &Setup, wanted: &Wanted) -> Setup {
    let mut target = current.clone();
    if let Reading::Known(channels) = &mut target.channels {
        let missing = wanted.queues_needed().saturating_sub(channels.rx_queues());
        if channels.combined_max > 0 {
            channels.combined += missing;
        } else {
            channels.rx += missing;
        }
    }
    if let Reading::Known(rings) = &mut target.rings {
        rings.tcp_data_split = HeaderSplit::On;
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
    if !wanted.flows.is_empty()
        && let Reading::Known(features) = &mut target.features
        && let Some(ntuple) = features.get_mut(NTUPLE)
    {
        ntuple.wanted |= !ntuple.fixed;
    }
    if let Reading::Known(rules) = &mut target.rules {
        for flow in &wanted.flows {
            let Some(queue) = flow.queue else { continue };
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

/// The last free place: lower ones go first, and are for rules that somebody placed with care.
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
        Some(format!("find out whose it is (bpftool net), then: ip link set {} xdp off", current.name));
    Check { remedy, ..check("no XDP program", ids.join(", "), Verdict::Blocked) }
}

fn queue_check(setup: &Setup, current: &Interface, wanted: &Wanted) -> Check {
    let needed = wanted.queues_needed();
    let need = format!("at least {needed} receive queues");
    match &setup.channels {
        Reading::Known(channels) => {
            let have = channels.rx_queues();
            let most =
                if channels.combined_max > 0 { channels.rx + channels.combined_max } else { channels.rx_max };
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
    let mut checks = vec![check("tcp-data-split on", split.name(), change(split == HeaderSplit::On))];
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

fn flow_checks(setup: &Setup, wanted: &Wanted) -> Vec<Check> {
    let rules = match &setup.rules {
        Reading::Known(rules) => rules,
        Reading::Unknown(_) if wanted.flows.is_empty() => return Vec::new(),
        Reading::Unknown(why) => return vec![check("flow rules", why, Verdict::Blocked)],
    };
    let mut checks: Vec<Check> = wanted.flows.iter().map(|flow| flow_check(flow, &rules.rules)).collect();
    if !wanted.flows.is_empty() {
        checks.insert(0, ntuple_check(setup));
    }
    checks.extend(rules.rules.iter().filter_map(|rule| stray_check(rule, wanted)));
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

fn flow_check(flow: &Flow, rules: &[FlowRule]) -> Check {
    let need = format!("a rule for {flow}");
    let Some((rule, queue)) = rules.iter().find_map(|rule| Some((rule, flow.steered_by(rule)?))) else {
        return check(need, "none", Verdict::Change);
    };
    if Some(queue) == flow.queue {
        return check(need, "there", Verdict::Met);
    }
    let location = rule.location.unwrap_or_default();
    let remedy = Some(format!("delete rule {location} if it is no longer needed, or choose queue {queue}"));
    Check { remedy, ..check(need, format!("rule {location} sends it to queue {queue}"), Verdict::Blocked) }
}

/// Somebody else's rule that leads to a zcrx queue: its packets would be copied, or take buffers.
fn stray_check(rule: &FlowRule, wanted: &Wanted) -> Option<Check> {
    let queue = flow::queue_of(rule).filter(|queue| wanted.queues.contains(queue))?;
    if wanted.flows.iter().any(|flow| flow.steered_by(rule).is_some()) {
        return None;
    }
    let location = rule.location.unwrap_or_default();
    let found = format!("rule {location}: {}", rule.text);
    Some(check(format!("nothing else to queue {queue}"), found, Verdict::Advice))
}
