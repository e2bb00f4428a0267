//! The setup of an interface that zcrx needs, with as few changes as possible.

use super::driver::Driver;
use super::flow::Flow;
use super::rss::Spread;
use super::step::{NTUPLE, rx_queues, same_rule};
use super::wanted::Wanted;
use crate::model::{Channels, FlowRule, HeaderSplit, Reading, Setup};

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
pub(super) fn is_moved(flow: &Flow, rule: &FlowRule, ours: &[FlowRule]) -> bool {
    flow.steered_by(rule).is_some_and(|queue| Some(queue) != flow.queue)
        && ours.iter().any(|other| same_rule(other, rule))
}

/// The last free place: lower ones go first, and are for rules that were placed with care.
fn free_location(rules: &[FlowRule], capacity: Option<u32>) -> Option<u32> {
    (0..capacity?).rev().find(|place| rules.iter().all(|rule| rule.location != Some(*place)))
}
