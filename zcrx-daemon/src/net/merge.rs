//! Distinguishes zcrxd's changes of an interface from later changes of other programs.

use super::journal::Journal;
use super::step::{Part, Step, counts, same_effect, same_rule, unpaired};
use crate::model::{FlowRule, HeaderSplit, Reading, Rss, Setup};

/// Target of a restore, and changes of other programs that it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayBack {
    /// The original, except for later changes of other programs.
    pub(super) target: Setup,
    /// Later changes of other programs, as text.
    pub(super) foreign: Vec<String>,
}

impl WayBack {
    /// Adds rules of an earlier target that are gone since, and the changes that it kept.
    pub(super) fn keep(&mut self, earlier: &Self) {
        if let (Reading::Known(rules), Some(wanted)) = (&mut self.target.rules, earlier.target.rules.known())
        {
            let (_, lost) = unpaired(&rules.rules, &wanted.rules, rules.driver_places);
            for rule in lost {
                let taken = |other: &FlowRule| !rules.driver_places && other.location == rule.location;
                if !rules.rules.iter().any(taken) {
                    rules.rules.push(rule);
                }
            }
        }
        let unsaid: Vec<String> =
            earlier.foreign.iter().filter(|words| !self.foreign.contains(words)).cloned().collect();
        self.foreign.extend(unsaid);
    }
}

/// Lays three states side by side: as found, as left, as now.
///
/// What is as it was left is zcrxd's and goes back; what a begun step may have changed is zcrxd's too; any other
/// difference is another program's and stays.
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
        // What is configured shows nowhere: it goes back unless what is reported says that another program changed it.
        if now.tcp_data_split == left.tcp_data_split || self.begun(Part::Rings) {
            goal.split_configured = match (original.split_configured, original.tcp_data_split) {
                (Some(configured), _) => Some(configured),
                // Unknown, and "off" was needed to have reported what was.
                (None, reported)
                    if now.split_configured == Some(HeaderSplit::Off) && now.tcp_data_split == reported =>
                {
                    Some(HeaderSplit::Off)
                }
                // Unknown after a crash in mid-step. A driver that reports no split was not configured "on"; "off" and "auto"
                // remain possible. Every driver accepts "auto".
                (None, HeaderSplit::Off | HeaderSplit::Auto) => Some(HeaderSplit::Auto),
                (None, HeaderSplit::On) => None,
            };
            if left.split_configured.is_none() && !self.begun(Part::Rings) {
                goal.split_configured = None;
            }
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
        let hash = |rss: &Rss| (rss.key.clone(), rss.hash_function, rss.input_xfrm);
        let hashes = [&hash(original), &hash(left), &hash(now)];
        if self.put_back(Part::Rss, "RSS hash", hashes, |(key, function, input_xfrm)| {
            format!("key {key}, function {function}, input transformation {input_xfrm}")
        }) {
            goal.key.clone_from(&original.key);
            (goal.hash_function, goal.input_xfrm) = (original.hash_function, original.input_xfrm);
        }
    }

    fn rules(&mut self, now: &'a Setup, target: &mut Setup) {
        let Some([original, left, now]) = self.known(|setup| &setup.rules, now) else { return };
        let Reading::Known(goal) = &mut target.rules else { return };
        let placed_by_driver = now.driver_places;
        let same = |one: &FlowRule, other: &FlowRule| {
            same_rule(one, other) || placed_by_driver && same_effect(one, other)
        };
        let among = |rules: &[FlowRule], rule: &FlowRule| rules.iter().any(|other| same(other, rule));
        let begun = match &self.journal.begun {
            // A rule the step was to add and that was not there before it is the step's.
            Some(Step::InsertRule(rule)) => Some(rule),
            _ => None,
        };
        goal.rules.retain(|rule| {
            let ours = self.added.iter().any(|other| same_rule(other, rule))
                || begun.is_some_and(|begun| same_rule(begun, rule) && !among(&left.rules, rule));
            !ours || among(&original.rules, rule)
        });
        let (_, lost) = unpaired(&now.rules, &original.rules, placed_by_driver);
        // What zcrxd left and is gone since: of two rules that say the same, one may be.
        let (_, gone) = unpaired(&now.rules, &left.rules, placed_by_driver);
        for rule in &lost {
            let in_its_place =
                goal.rules.iter().find(|other| !placed_by_driver && other.location == rule.location);
            if let Some(other) = in_its_place {
                self.foreign.push(format!(
                    "flow rule {}: was {}, is {} now",
                    place(rule),
                    rule.text,
                    other.text
                ));
            } else if among(&gone, rule) && !self.begun(Part::Rules) {
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
