//! zcrx's needs of an interface, one by one, and how each is met.

use serde::{Deserialize, Serialize};

use super::driver::{Driver, Restart};
use super::flow::{self, Flow};
use super::step::{NTUPLE, rx_queues};
use super::target::{is_combined, is_moved};
use super::wanted::Wanted;
use crate::model::{FlowRule, HeaderSplit, Interface, MemoryProvider, Reading, Rss, Setup};

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

fn check(need: impl Into<String>, found: impl Into<String>, verdict: Verdict) -> Check {
    Check { need: need.into(), found: found.into(), verdict, remedy: None }
}

pub(super) fn link_check(current: &Interface) -> Check {
    if current.up {
        return check("interface up", "up", Verdict::Met);
    }
    let remedy = Some(format!("ip link set {} up", current.name));
    Check { remedy, ..check("interface up", "down", Verdict::Advice) }
}

pub(super) fn xdp_check(current: &Interface) -> Check {
    if current.xdp.is_empty() {
        return check("no XDP program", "none", Verdict::Met);
    }
    let ids: Vec<String> = current.xdp.iter().map(|program| format!("id {}", program.id)).collect();
    let remedy =
        Some(format!("find the program's owner (bpftool net), then: ip link set {} xdp off", current.name));
    Check { remedy, ..check("no XDP program", ids.join(", "), Verdict::Blocked) }
}

pub(super) fn driver_checks(driver: &Driver, wanted: &Wanted, interface: &str) -> Vec<Check> {
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
    checks.extend(habit_checks(driver, interface));
    checks
}

/// What no setting changes, and a person should know before a queue is registered.
fn habit_checks(driver: &Driver, interface: &str) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut add = |need: String, found: String, remedy: String| {
        checks.push(Check { remedy: Some(remedy), ..check(need, found, Verdict::Advice) });
    };
    if driver.stops_all {
        add(
            "other queues run on while one is registered".to_owned(),
            format!("{} stops all queues and the carrier for a moment", driver.name),
            "expect a short gap in all traffic of the interface at each registration and release".to_owned(),
        );
    }
    if driver.least_buffers > 0 {
        add(
            format!("an area of at least {} buffers", driver.least_buffers),
            format!("{} announces {} buffers at a time to the NIC", driver.name, driver.posting_step),
            "a smaller area receives nothing, or stops receiving".to_owned(),
        );
    }
    // A driver that gives no queue has none that could starve.
    if driver.restart == Restart::Unknown && driver.gives_queues != Some(false) {
        add(
            "a starved queue receives again by itself".to_owned(),
            "not known of this driver".to_owned(),
            format!(
                "`zcrxd qualify {interface}:QUEUE --peer HOST` finds out; {}",
                driver.after_starvation(interface)
            ),
        );
    }
    checks
}

/// The feature without which the driver refuses header split.
pub(super) fn feature_check(setup: &Setup, driver: &Driver) -> Option<Check> {
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
pub(super) fn pause_check(current: &Interface) -> Option<Check> {
    let pause = current.pause.filter(|pause| pause.tx)?;
    let found = format!("tx pause on{}", if pause.rx { ", rx pause on" } else { "" });
    let remedy = format!(
        "while a zcrx queue starves, the NIC may hold up packets for every other queue instead of dropping (head-of-line \
         blocking), with no drop counted; where other traffic shares the port: ethtool -A {} autoneg off tx off",
        current.name
    );
    Some(Check { remedy: Some(remedy), ..check("a starving queue harms no other", found, Verdict::Advice) })
}

pub(super) fn queue_check(setup: &Setup, current: &Interface, wanted: &Wanted) -> Check {
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

pub(super) fn provider_checks(current: &Interface, wanted: &Wanted) -> Vec<Check> {
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

pub(super) fn header_split_checks(setup: &Setup) -> Vec<Check> {
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

pub(super) fn rss_check(current: &Setup, target: &Setup, wanted: &Wanted) -> Check {
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

pub(super) fn flow_checks(setup: &Setup, wanted: &Wanted, ours: &[FlowRule]) -> Vec<Check> {
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
