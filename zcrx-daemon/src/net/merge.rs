//! Whose change is it? Telling zcrxd's own changes of an interface from those of others since.

use super::journal::Journal;
use super::step::{Part, Step, counts, same_rule};
use crate::model::{FlowRule, Reading, Setup};

/// Where restoring should lead, and what it will leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayBack {
    /// The original, but for what somebody else changed since.
    pub(super) target: Setup,
    /// What somebody else changed since, in words.
    pub(super) foreign: Vec<String>,
}

/// Lays three states side by side: as found, as left, as now.
///
/// What is as it was left is zcrxd's and goes back; what a begun step may have changed is zcrxd's too; any other
/// difference is somebody else's and stays.
///
/// `original` and `added` say how far back: to the first original, or to where one call began.
pub(super) fn way_back(journal: &Journal, original: &Setup, added: &[FlowRule], now: &Setup) -> WayBack {
    let mut merge = Merge { journal, original, added, foreign: Vec::new() };
    let mut target = now.clone();
    merge.channels(now, &mut target);
    merge.rings(now, &mut target);
    merge.features(now, &mut target);
    merge.rss(now, &mut target);
    merge.rules(now, &mut target);
    WayBack { target, foreign: merge.foreign }
}

struct Merge<'a> {
    journal: &'a Journal,
    original: &'a Setup,
    added: &'a [FlowRule],
    foreign: Vec<String>,
}

impl<'a> Merge<'a> {
    fn begun(&self, part: Part) -> bool {
        self.journal.begun.as_ref().is_some_and(|step| step.touches().contains(&part))
    }

    /// One part of all three states, if it is known in all.
    fn known<T>(&self, part: fn(&Setup) -> &Reading<T>, now: &'a Setup) -> Option<[&'a T; 3]> {
        Some([part(self.original).known()?, part(&self.journal.left).known()?, part(now).known()?])
    }

    /// Whether to put a value back.
    fn put_back<T: PartialEq>(
        &mut self,
        part: Part,
        what: &str,
        [original, left, now]: [&T; 3],
        say: impl Fn(&T) -> String,
    ) -> bool {
        if now == original {
            return false;
        }
        if now == left || self.begun(part) {
            return true;
        }
        self.foreign.push(format!(
            "{what}: was {}, zcrxd left {}, is {} now",
            say(original),
            say(left),
            say(now)
        ));
        false
    }

    fn channels(&mut self, now: &'a Setup, target: &mut Setup) {
        let Some([original, left, now]) = self.known(|setup| &setup.channels, now) else { return };
        let say = |[rx, tx, other, combined]: &[u32; 4]| {
            format!("rx {rx} tx {tx} other {other} combined {combined}")
        };
        if self.put_back(Part::Channels, "channels", [&counts(original), &counts(left), &counts(now)], say) {
            target.channels = Reading::Known(*original);
        }
    }

    fn rings(&mut self, now: &'a Setup, target: &mut Setup) {
        let Some([original, left, now]) = self.known(|setup| &setup.rings, now) else { return };
        let Reading::Known(goal) = &mut target.rings else { return };
        let split = [&original.tcp_data_split, &left.tcp_data_split, &now.tcp_data_split];
        if self.put_back(Part::Rings, "tcp-data-split", split, |split| split.name().to_owned()) {
            goal.tcp_data_split = original.tcp_data_split;
        }
        let threshold = [&original.hds_thresh, &left.hds_thresh, &now.hds_thresh];
        if self.put_back(Part::Rings, "hds-thresh", threshold, |bytes| {
            bytes.map_or("absent".to_owned(), |bytes| bytes.to_string())
        }) {
            goal.hds_thresh = original.hds_thresh;
        }
    }

    fn features(&mut self, now: &'a Setup, target: &mut Setup) {
        let Some([original, left, now]) = self.known(|setup| &setup.features, now) else { return };
        let Reading::Known(goal) = &mut target.features else { return };
        for (name, feature) in goal {
            let (Some(original), Some(left), Some(now)) = (original.get(name), left.get(name), now.get(name))
            else {
                continue;
            };
            let wanted = [&original.wanted, &left.wanted, &now.wanted];
            if self.put_back(Part::Features, name, wanted, |on| if *on { "on" } else { "off" }.to_owned()) {
                feature.wanted = original.wanted;
            }
        }
    }

    fn rss(&mut self, now: &'a Setup, target: &mut Setup) {
        let Some([original, left, now]) = self.known(|setup| &setup.rss, now) else { return };
        let Reading::Known(goal) = &mut target.rss else { return };
        if self.put_back(Part::Rss, "RSS table", [&original.table, &left.table, &now.table], |table| {
            format!("{table:?}")
        }) {
            goal.table.clone_from(&original.table);
        }
    }

    fn rules(&mut self, now: &'a Setup, target: &mut Setup) {
        let Some([original, left, now]) = self.known(|setup| &setup.rules, now) else { return };
        let Reading::Known(goal) = &mut target.rules else { return };
        let among = |rules: &[FlowRule], rule: &FlowRule| rules.iter().any(|other| same_rule(other, rule));
        let begun = match &self.journal.begun {
            // A rule the step was to add and that was not there before it is the step's.
            Some(Step::InsertRule(rule)) => Some(rule),
            _ => None,
        };
        goal.rules.retain(|rule| {
            let ours = among(self.added, rule)
                || begun.is_some_and(|begun| same_rule(begun, rule) && !among(&left.rules, rule));
            !ours || among(&original.rules, rule)
        });
        for rule in &original.rules {
            if among(&now.rules, rule) {
                continue;
            }
            if let Some(other) = goal.rules.iter().find(|other| other.location == rule.location) {
                self.foreign.push(format!(
                    "flow rule {}: was {}, is {} now",
                    place(rule),
                    rule.text,
                    other.text
                ));
            } else if among(&left.rules, rule) && !self.begun(Part::Rules) {
                self.foreign.push(format!("flow rule {}: was {}, is gone now", place(rule), rule.text));
            } else {
                goal.rules.push(rule.clone());
            }
        }
        for rule in &goal.rules {
            if !among(&original.rules, rule) && !self.foreign.iter().any(|said| said.contains(&rule.text)) {
                self.foreign.push(format!("flow rule {}: {}, not there before", place(rule), rule.text));
            }
        }
    }
}

fn place(rule: &FlowRule) -> String {
    rule.location.map_or("without a place".to_owned(), |location| location.to_string())
}
