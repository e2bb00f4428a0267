//! The way from one setup of an interface to another, in steps that can each be taken, said and taken back.

use serde::{Deserialize, Serialize};

use super::rss::Spread;
use crate::model::{Channels, FlowRule, FlowRules, HeaderSplit, Rings, Setup};

/// The feature bit that makes flow rules work, by the kernel's name.
pub const NTUPLE: &str = "rx-ntuple-filter";

/// One change of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Ask for a feature bit.
    Feature {
        /// The kernel's name of it.
        name: String,
        /// On or off.
        on: bool,
    },
    /// Set the channel counts.
    Channels {
        /// Present counts.
        from: Channels,
        /// New counts.
        to: Channels,
    },
    /// Set header split; `None` leaves a part of it alone.
    HeaderSplit {
        /// TCP header split.
        split: Option<HeaderSplit>,
        /// Its threshold, bytes.
        threshold: Option<u32>,
    },
    /// Set the RSS table.
    Rss(Spread),
    /// Add a flow rule.
    InsertRule(FlowRule),
    /// Delete a flow rule.
    DeleteRule(FlowRule),
}

/// A part of a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Channel counts.
    Channels,
    /// Ring parameters.
    Rings,
    /// Feature bits.
    Features,
    /// The RSS table.
    Rss,
    /// Flow rules.
    Rules,
}

impl Step {
    /// The same for ethtool.
    pub fn command(&self, interface: &str) -> String {
        match self {
            Self::Feature { name, on } => {
                let name = if name == NTUPLE { "ntuple" } else { name };
                format!("ethtool -K {interface} {name} {}", if *on { "on" } else { "off" })
            }
            Self::Channels { from, to } => {
                let counts = [
                    ("rx", from.rx, to.rx),
                    ("tx", from.tx, to.tx),
                    ("combined", from.combined, to.combined),
                ];
                let changed = counts.iter().filter(|(_, from, to)| from != to);
                let words: Vec<String> = changed.map(|(name, _, to)| format!("{name} {to}")).collect();
                format!("ethtool -L {interface} {}", words.join(" "))
            }
            Self::HeaderSplit { split, threshold } => {
                let split =
                    split.map(|split| format!(" tcp-data-split {}", split.name())).unwrap_or_default();
                let threshold = threshold.map(|bytes| format!(" hds-thresh {bytes}")).unwrap_or_default();
                format!("ethtool -G {interface}{split}{threshold}")
            }
            Self::Rss(spread) => spread.command(interface),
            Self::InsertRule(rule) => {
                let place = rule.location.map(|location| format!(" loc {location}")).unwrap_or_default();
                format!("ethtool -N {interface} {}{place}", rule.text)
            }
            Self::DeleteRule(rule) => {
                format!("ethtool -N {interface} delete {}", rule.location.unwrap_or_default())
            }
        }
    }

    /// What the step may change, side effects of drivers included: new channels bring a new default RSS table,
    /// switching ntuple off loses rules, header split and hardware GRO switch each other.
    pub const fn touches(&self) -> &'static [Part] {
        match self {
            Self::Feature { .. } => &[Part::Features, Part::Rules, Part::Rings],
            Self::Channels { .. } => &[Part::Channels, Part::Rss],
            Self::HeaderSplit { .. } => &[Part::Rings, Part::Features],
            Self::Rss(_) => &[Part::Rss],
            Self::InsertRule(_) | Self::DeleteRule(_) => &[Part::Rules],
        }
    }
}

/// The steps from one setup to another, in an order that drivers accept. Parts unknown on either side are left alone.
///
/// A step may have side effects, so whoever takes them looks again afterwards.
pub fn steps(from: &Setup, to: &Setup) -> Vec<Step> {
    let (delete, insert) = rule_steps(from, to);
    let (on, off): (Vec<_>, Vec<_>) = feature_steps(from, to).into_iter().partition(|(_, on)| *on);
    let feature = |(name, on)| Step::Feature { name, on };
    let mut steps = delete;
    steps.extend(on.into_iter().map(feature));
    steps.extend(queue_steps(from, to));
    steps.extend(header_split_step(from, to));
    steps.extend(insert);
    steps.extend(off.into_iter().map(feature));
    steps
}

fn feature_steps(from: &Setup, to: &Setup) -> Vec<(String, bool)> {
    let (Some(from), Some(to)) = (from.features.known(), to.features.known()) else { return Vec::new() };
    let changed = to.iter().filter(|(name, feature)| {
        from.get(*name).is_some_and(|present| !present.fixed && present.wanted != feature.wanted)
    });
    changed.map(|(name, feature)| (name.clone(), feature.wanted)).collect()
}

/// A table may only lead to queues that exist: it is set after their number grows, and before it shrinks.
fn queue_steps(from: &Setup, to: &Setup) -> Vec<Step> {
    let channels = match (from.channels.known(), to.channels.known()) {
        (Some(from), Some(to)) if counts(from) != counts(to) => Some((*from, *to)),
        _ => None,
    };
    let rss = match (from.rss.known(), to.rss.known()) {
        (Some(from), Some(to)) => Some((&from.table, &to.table)),
        _ => None,
    };
    let (present, queues) = (rx_queues(from), rx_queues(to));
    let spread = rss.map(|(_, table)| Spread::of(table, queues));
    let changed = rss.is_some_and(|(from, to)| from != to);
    let Some((old, new)) = channels else {
        return spread.filter(|_| changed).map(Step::Rss).into_iter().collect();
    };
    let channels = Step::Channels { from: old, to: new };
    match spread {
        None => vec![channels],
        // New queues join the default table of themselves; any other table is set once they are there.
        Some(Spread::Default) if new.rx_queues() >= old.rx_queues() => vec![channels],
        Some(spread) if new.rx_queues() >= old.rx_queues() => vec![channels, Step::Rss(spread)],
        Some(spread) => {
            // Until the surplus queues are gone the table may have another size, which only the default fits.
            let is_default = rss.is_some_and(|(from, _)| Spread::of(from, present) == Spread::Default);
            let mut steps = Vec::new();
            if !is_default {
                steps.push(Step::Rss(Spread::Default));
            }
            steps.push(channels);
            if spread != Spread::Default {
                steps.push(Step::Rss(spread));
            }
            steps
        }
    }
}

fn header_split_step(from: &Setup, to: &Setup) -> Option<Step> {
    let (from, to): (&Rings, &Rings) = (from.rings.known()?, to.rings.known()?);
    let split = (from.tcp_data_split != to.tcp_data_split).then_some(to.tcp_data_split);
    let threshold = to.hds_thresh.filter(|bytes| from.hds_thresh.is_some_and(|present| present != *bytes));
    (split.is_some() || threshold.is_some()).then_some(Step::HeaderSplit { split, threshold })
}

fn rule_steps(from: &Setup, to: &Setup) -> (Vec<Step>, Vec<Step>) {
    let (Some(from), Some(to)) = (from.rules.known(), to.rules.known()) else {
        return (Vec::new(), Vec::new());
    };
    let without = |rules: &FlowRules, others: &FlowRules| -> Vec<FlowRule> {
        rules
            .rules
            .iter()
            .filter(|rule| !others.rules.iter().any(|other| same_rule(rule, other)))
            .cloned()
            .collect()
    };
    (
        without(from, to).into_iter().map(Step::DeleteRule).collect(),
        without(to, from).into_iter().map(Step::InsertRule).collect(),
    )
}

/// Whether two rules are one; a rule without a place is the same wherever it is.
pub(super) fn same_rule(one: &FlowRule, other: &FlowRule) -> bool {
    let placed = one.location.is_none() || other.location.is_none() || one.location == other.location;
    placed && one.spec == other.spec && one.rss_context == other.rss_context
}

/// The counts that can be set, without their limits.
pub(super) const fn counts(channels: &Channels) -> [u32; 4] {
    [channels.rx, channels.tx, channels.other, channels.combined]
}

/// Receive queues of a setup; 0 where its channels are unknown.
pub(super) fn rx_queues(setup: &Setup) -> u32 {
    setup.channels.known().map_or(0, Channels::rx_queues)
}
