//! The way from one setup of an interface to another, in steps that can each be taken, said and taken back.

use serde::{Deserialize, Serialize};

use super::rss::Spread;
use crate::model::{Channels, FlowRule, HeaderSplit, Rings, Rss, Setup};

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
    /// Configure header split; `None` leaves a part of it alone. Changes nothing where it is configured so already.
    HeaderSplit {
        /// TCP header split.
        split: Option<HeaderSplit>,
        /// Its threshold, bytes.
        threshold: Option<u32>,
    },
    /// Set the RSS table.
    Rss(Spread),
    /// Set RSS key, hash function and input transformation.
    RssHash {
        /// Key, hexadecimal.
        key: String,
        /// Hash function, as a bit of `ETH_RSS_HASH_*`.
        function: u8,
        /// Input transformation, as bits of `RXH_XFRM_*`.
        input_xfrm: u8,
    },
    /// Add a flow rule.
    InsertRule(FlowRule),
    /// Delete a flow rule.
    DeleteRule(FlowRule),
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Place that an added rule went to.
    pub place: Option<u32>,
    /// Whether anything changed; `None` if unknown.
    pub changed: Option<bool>,
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
            Self::RssHash { key, function, input_xfrm } => {
                rss_hash_command(interface, key, *function, *input_xfrm)
            }
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
            Self::Channels { .. } => &[Part::Channels, Part::Rss, Part::Rules],
            Self::HeaderSplit { .. } => &[Part::Rings, Part::Features],
            // bnxt up to Linux 6.10 drops all rules with either.
            Self::Rss(_) | Self::RssHash { .. } => &[Part::Rss, Part::Rules],
            Self::InsertRule(_) | Self::DeleteRule(_) => &[Part::Rules],
        }
    }
}

fn rss_hash_command(interface: &str, key: &str, function: u8, input_xfrm: u8) -> String {
    let bytes: Vec<&str> = (0..key.len() / 2).map(|byte| &key[2 * byte..2 * byte + 2]).collect();
    let key = if bytes.is_empty() { String::new() } else { format!(" hkey {}", bytes.join(":")) };
    let function = match function {
        1 => " hfunc toeplitz",
        2 => " hfunc xor",
        4 => " hfunc crc32",
        _ => "",
    };
    let xfrm = match input_xfrm {
        1 => "symmetric-xor",
        2 => "symmetric-or-xor",
        _ => "none",
    };
    format!("ethtool -X {interface}{key}{function} xfrm {xfrm}")
}

/// The steps from one setup to another, in an order that drivers accept. Parts unknown on either side are left alone.
///
/// A step may have side effects, so callers read the setup again after the steps.
pub fn steps(from: &Setup, to: &Setup) -> Vec<Step> {
    let (delete, insert) = rule_steps(from, to);
    let (on, off): (Vec<_>, Vec<_>) = feature_steps(from, to).into_iter().partition(|(_, on)| *on);
    let feature = |(name, on)| Step::Feature { name, on };
    let mut steps = delete;
    steps.extend(on.into_iter().map(feature));
    steps.extend(queue_steps(from, to));
    steps.extend(rss_hash_step(from, to));
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
        // The kernel adds new queues to the default table; any other table is set after the queues exist.
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

fn rss_hash_step(from: &Setup, to: &Setup) -> Option<Step> {
    let hash = |rss: &Rss| (rss.key.clone(), rss.hash_function, rss.input_xfrm);
    let (from, to) = (hash(from.rss.known()?), hash(to.rss.known()?));
    let (key, function, input_xfrm) = to.clone();
    (from != to).then_some(Step::RssHash { key, function, input_xfrm })
}

/// The configured value has priority over the reported one: the kernel checks the former, drivers choose the latter.
///
/// When settings are restored, both can differ. gve keeps header split on after a request for "auto"; then zcrxd requests "off",
/// and "auto" again in the next round.
fn header_split_step(from: &Setup, to: &Setup) -> Option<Step> {
    let (from, to): (&Rings, &Rings) = (from.rings.known()?, to.rings.known()?);
    let configured = to.split_configured.filter(|wanted| from.split_configured != Some(*wanted));
    // Once "auto" is configured again, what the driver reports is its own choice: only "off" can be asked for besides.
    let by_choice = to.split_configured == Some(HeaderSplit::Auto) && to.tcp_data_split != HeaderSplit::Off;
    let reported = (from.tcp_data_split != to.tcp_data_split && !by_choice).then_some(to.tcp_data_split);
    let split = configured.or(reported);
    let threshold = to.hds_thresh.filter(|bytes| from.hds_thresh.is_some_and(|present| present != *bytes));
    (split.is_some() || threshold.is_some()).then_some(Step::HeaderSplit { split, threshold })
}

fn rule_steps(from: &Setup, to: &Setup) -> (Vec<Step>, Vec<Step>) {
    let (Some(from), Some(to)) = (from.rules.known(), to.rules.known()) else {
        return (Vec::new(), Vec::new());
    };
    let (delete, mut insert) = unpaired(&from.rules, &to.rules, from.driver_places);
    // A driver that places rules itself puts them back where they were if they come in the order of their places.
    if from.driver_places {
        insert.sort_by_key(|rule| rule.location.unwrap_or(u32::MAX));
    }
    (delete.into_iter().map(Step::DeleteRule).collect(), insert.into_iter().map(Step::InsertRule).collect())
}

/// The rules of each side that the other lacks. Where the driver places rules, one that says the same elsewhere counts.
pub(super) fn unpaired(
    one: &[FlowRule],
    other: &[FlowRule],
    driver_places: bool,
) -> (Vec<FlowRule>, Vec<FlowRule>) {
    let mut rest = other.to_vec();
    let mut take = |rule: &&FlowRule, same: fn(&FlowRule, &FlowRule) -> bool| {
        let found = rest.iter().position(|other| same(rule, other));
        found.map(|found| rest.remove(found)).is_none()
    };
    let mut alone: Vec<&FlowRule> = one.iter().filter(|rule| take(rule, same_rule)).collect();
    if driver_places {
        alone.retain(|rule| take(rule, same_effect));
    }
    (alone.into_iter().cloned().collect(), rest)
}

/// Whether two rules are one; a rule without a place is the same wherever it is.
pub(super) fn same_rule(one: &FlowRule, other: &FlowRule) -> bool {
    let placed = one.location.is_none() || other.location.is_none() || one.location == other.location;
    placed && same_effect(one, other)
}

/// Whether two rules say the same, wherever they are.
pub(super) fn same_effect(one: &FlowRule, other: &FlowRule) -> bool {
    one.spec == other.spec && one.rss_context == other.rss_context
}

/// The counts that can be set, without their limits.
pub(super) const fn counts(channels: &Channels) -> [u32; 4] {
    [channels.rx, channels.tx, channels.other, channels.combined]
}

/// Receive queues of a setup; 0 where its channels are unknown.
pub(super) fn rx_queues(setup: &Setup) -> u32 {
    setup.channels.known().map_or(0, Channels::rx_queues)
}
