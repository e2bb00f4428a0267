//! Wherever preparing an interface stops, it can be put back: random interfaces, wishes, drivers' habits, refusals,
//! deaths of the process and meddlers, on a model that answers as drivers do.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use zcrx_daemon::model::{
    Channels, Feature, FlowRule, FlowRules, HeaderSplit, Interface, Reading, Rings, Rss, Setup,
};
use zcrx_daemon::net::{
    ApplyError, Device, Flow, Identity, Journal, JournalError, Keep, NTUPLE, NetError, Spread, Step, Verdict,
    Wanted, apply, plan, restore,
};

/// Counts operations down to the one at which the process dies, before or after its effect.
#[derive(Clone, Debug)]
struct Fuse {
    left: Rc<Cell<Option<u32>>>,
    after: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Lives,
    DiesFirst,
    DiesThen,
    Dead,
}

impl Fuse {
    fn new(left: Option<u32>, after: bool) -> Self {
        Self { left: Rc::new(Cell::new(left)), after }
    }

    fn is_dead(&self) -> bool {
        self.left.get() == Some(0)
    }

    fn burn(&self) -> Fate {
        match self.left.get() {
            None => Fate::Lives,
            Some(0) => Fate::Dead,
            Some(left) => {
                self.left.set(Some(left - 1));
                match left {
                    1 if self.after => Fate::DiesThen,
                    1 => Fate::DiesFirst,
                    _ => Fate::Lives,
                }
            }
        }
    }
}

/// Habits in which drivers differ.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Places rules itself.
    places_rules: bool,
    /// The RSS table has 8 entries for each queue, instead of 16 in all.
    table_follows_queues: bool,
    /// Header split and hardware GRO switch each other on.
    split_needs_gro: bool,
    /// Switching ntuple off drops all rules.
    ntuple_flushes: bool,
}

#[derive(Clone, Debug)]
struct ModelNic {
    setup: Setup,
    habits: Habits,
    /// Set by hand, so new channels do not change it.
    table_configured: bool,
    /// How many more steps are taken before one is refused.
    refuse_in: Option<u32>,
    fuse: Fuse,
}

fn refusal(errno: i32) -> NetError {
    NetError::Refused { what: "model".to_owned(), errno: Some(errno), reason: "refused".to_owned() }
}

fn known<T>(reading: &mut Reading<T>) -> &mut T {
    match reading {
        Reading::Known(value) => value,
        Reading::Unknown(why) => unreachable!("the model knows everything, not {why}"),
    }
}

impl ModelNic {
    fn queues(&self) -> u32 {
        self.setup.channels.known().map_or(0, Channels::rx_queues)
    }

    fn table_len(&self, queues: u32) -> usize {
        if self.habits.table_follows_queues { 8 * queues as usize } else { 16 }
    }

    fn set_channels(&mut self, to: Channels) -> Result<(), NetError> {
        let queues = to.rx_queues();
        let len = self.table_len(queues);
        let table = &mut known(&mut self.setup.rss).table;
        let lost = table.iter().any(|queue| *queue >= queues) || table.len() != len;
        if self.table_configured && lost || queues == 0 || to.combined > to.combined_max || to.rx > to.rx_max
        {
            return Err(refusal(libc::EINVAL));
        }
        if !self.table_configured {
            *table = Spread::Default.table(len, queues);
        }
        let rules = known(&mut self.setup.rules);
        if rules.rules.iter().any(|rule| queue_said(rule) >= queues) {
            return Err(refusal(libc::EINVAL));
        }
        *known(&mut self.setup.channels) = to;
        Ok(())
    }

    fn set_feature(&mut self, name: &str, on: bool) -> Result<(), NetError> {
        let features = known(&mut self.setup.features);
        let feature =
            features.get_mut(name).filter(|feature| !feature.fixed).ok_or_else(|| refusal(libc::EINVAL))?;
        (feature.wanted, feature.active) = (on, on);
        if name == NTUPLE && !on && self.habits.ntuple_flushes {
            known(&mut self.setup.rules).rules.clear();
        }
        Ok(())
    }

    fn insert(&mut self, rule: &FlowRule) -> Result<u32, NetError> {
        if !self.setup.features.known().is_some_and(|features| features[NTUPLE].active) {
            return Err(refusal(libc::EOPNOTSUPP));
        }
        if queue_said(rule) >= self.queues() {
            return Err(refusal(libc::EINVAL));
        }
        let rules = &mut known(&mut self.setup.rules).rules;
        let free = (0..8).rev().find(|place| rules.iter().all(|other| other.location != Some(*place)));
        let place = match rule.location {
            Some(place) => place,
            None if self.habits.places_rules => free.ok_or_else(|| refusal(libc::ENOSPC))?,
            None => return Err(refusal(libc::EINVAL)),
        };
        rules.retain(|other| other.location != Some(place));
        rules.push(FlowRule { location: Some(place), ..rule.clone() });
        rules.sort_by_key(|rule| rule.location);
        Ok(place)
    }

    fn act(&mut self, step: &Step) -> Result<Option<u32>, NetError> {
        match step {
            Step::Feature { name, on } => self.set_feature(name, *on)?,
            Step::Channels { to, .. } => self.set_channels(*to)?,
            Step::HeaderSplit { split, threshold } => {
                let rings = known(&mut self.setup.rings);
                rings.tcp_data_split = split.unwrap_or(rings.tcp_data_split);
                rings.hds_thresh = threshold.or(rings.hds_thresh);
                if self.habits.split_needs_gro && *split == Some(HeaderSplit::On) {
                    self.set_feature("rx-gro-hw", true)?;
                }
            }
            Step::Rss(spread) => {
                let queues = self.queues();
                let table = &mut known(&mut self.setup.rss).table;
                let new = spread.table(table.len(), queues);
                if new.len() != table.len() || new.iter().any(|queue| *queue >= queues) {
                    return Err(refusal(libc::EINVAL));
                }
                *table = new;
                self.table_configured = *spread != Spread::Default;
            }
            Step::InsertRule(rule) => return self.insert(rule).map(Some),
            Step::DeleteRule(rule) => {
                let rules = &mut known(&mut self.setup.rules).rules;
                let before = rules.len();
                rules.retain(|other| other.location != rule.location);
                if rules.len() == before {
                    return Err(refusal(libc::ENOENT));
                }
            }
        }
        Ok(None)
    }
}

/// The queue that a rule's text ends with.
fn queue_said(rule: &FlowRule) -> u32 {
    rule.text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

impl Device for ModelNic {
    fn read(&mut self) -> Result<Setup, NetError> {
        if self.fuse.is_dead() { Err(refusal(libc::ESHUTDOWN)) } else { Ok(self.setup.clone()) }
    }

    fn take(&mut self, step: &Step) -> Result<Option<u32>, NetError> {
        match self.fuse.burn() {
            Fate::DiesFirst | Fate::Dead => return Err(refusal(libc::ESHUTDOWN)),
            Fate::DiesThen => {
                let _effect_without_witness = self.act(step);
                return Err(refusal(libc::ESHUTDOWN));
            }
            Fate::Lives => {}
        }
        match &mut self.refuse_in {
            Some(0) => {
                self.refuse_in = None;
                return Err(refusal(libc::EIO));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.act(step)
    }
}

/// A disk: what is on it outlives the process, which may die while writing.
struct Disk {
    journal: Option<Journal>,
    fuse: Fuse,
}

impl Disk {
    fn write(&mut self, journal: Option<Journal>) -> Result<(), JournalError> {
        let fate = self.fuse.burn();
        if matches!(fate, Fate::Lives | Fate::DiesThen) {
            // Through text and back, as on a real disk.
            self.journal = journal.map(|journal| {
                let text = serde_json::to_string(&journal).expect("a journal is plain data");
                serde_json::from_str(&text).expect("what was written can be read")
            });
        }
        if fate == Fate::Lives { Ok(()) } else { Err(JournalError::NoDirectory("dead".to_owned())) }
    }
}

impl Keep for Disk {
    fn save(&mut self, journal: &Journal) -> Result<(), JournalError> {
        self.write(Some(journal.clone()))
    }

    fn forget(&mut self, _: &Identity) -> Result<(), JournalError> {
        self.write(None)
    }
}

fn identity() -> Identity {
    Identity { boot_id: "boot".to_owned(), netns_cookie: 1, index: 2, name: "eth0".to_owned() }
}

fn interface(setup: &Setup) -> Interface {
    Interface {
        index: 2,
        name: "eth0".to_owned(),
        netns: Reading::Unknown("model".to_owned()),
        kind: None,
        driver: Reading::Known("model".to_owned()),
        bus: None,
        mac: None,
        mtu: None,
        up: true,
        xdp: Vec::new(),
        queues: Reading::Known(Vec::new()),
        setup: setup.clone(),
    }
}

prop_compose! {
    fn habits()(places_rules: bool, table_follows_queues: bool, split_needs_gro: bool, ntuple_flushes: bool) -> Habits {
        Habits { places_rules, table_follows_queues, split_needs_gro, ntuple_flushes }
    }
}

prop_compose! {
    /// An interface of up to 8 queues as somebody may have left it.
    fn nic()(habits in habits(), queues in 1_u32..=8, combined: bool, split in 0_u8..3, threshold in prop::option::of(0_u32..3),
             (ntuple, gro) in any::<(bool, bool)>(), hand_made in prop::option::of(prop::collection::vec(0_u32..8, 64)),
             rules in prop::collection::btree_map(0_u32..8, (1_u16..4, 0_u32..8), 0..3)) -> ModelNic {
        let counts = Channels { rx_max: 8, tx: 1, tx_max: 8, ..Channels::default() };
        let channels = if combined {
            Channels { combined: queues, combined_max: 8, rx_max: 0, ..counts }
        } else {
            Channels { rx: queues, ..counts }
        };
        let len = if habits.table_follows_queues { 8 * queues as usize } else { 16 };
        let table = match &hand_made {
            Some(table) => table[..len].iter().map(|queue| queue % queues).collect(),
            None => Spread::Default.table(len, queues),
        };
        let feature = |on| Feature { active: on, wanted: on, fixed: false };
        let rules = rules.into_iter().filter(|_| ntuple).map(|(place, (port, queue))| {
            Flow { ipv6: false, port, queue: None }.rule(queue % queues, Some(place))
        });
        ModelNic {
            setup: Setup {
                channels: Reading::Known(channels),
                rings: Reading::Known(Rings {
                    rx: Some(512), rx_max: Some(4096), tx: None, tx_max: None, rx_buf_len: None,
                    tcp_data_split: [HeaderSplit::Auto, HeaderSplit::Off, HeaderSplit::On][usize::from(split)],
                    hds_thresh: threshold, hds_thresh_max: threshold.map(|_| 4096),
                }),
                features: Reading::Known(BTreeMap::from([
                    (NTUPLE.to_owned(), feature(ntuple)),
                    ("rx-gro-hw".to_owned(), feature(gro)),
                    ("rx-checksum".to_owned(), Feature { active: true, wanted: true, fixed: true }),
                ])),
                rss: Reading::Known(Rss { table, key: "00ff".to_owned(), hash_function: 1 }),
                rules: Reading::Known(FlowRules {
                    capacity: Some(8), driver_places: habits.places_rules, rules: rules.collect(),
                }),
            },
            habits,
            table_configured: hand_made.is_some(),
            refuse_in: None,
            fuse: Fuse::new(None, false),
        }
    }
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let flows = prop::collection::btree_set((any::<bool>(), 1000_u16..1003), 0..3);
    (prop::collection::btree_set(0_u32..7, 1..4), flows).prop_map(|(queues, flows)| {
        let flows: Vec<Flow> =
            flows.into_iter().map(|(ipv6, port)| Flow { ipv6, port, queue: None }).collect();
        Wanted::new(queues.into_iter().collect(), &flows).expect("queues and distinct flows are given")
    })
}

impl ModelNic {
    fn disk(&self) -> Disk {
        Disk { journal: None, fuse: self.fuse.clone() }
    }

    /// A new process on the same machine.
    fn revive(&mut self, disk: &mut Disk, fuse: Fuse) {
        self.fuse = fuse.clone();
        self.refuse_in = None;
        disk.fuse = fuse;
    }

    fn prepare(&mut self, disk: &mut Disk, wanted: &Wanted) -> Result<Vec<Step>, ApplyError> {
        let earlier = disk.journal.clone();
        apply(self, disk, &identity(), earlier.as_ref(), wanted)
    }

    /// What `zcrxd nic restore` does with what is on the disk.
    fn put_back(&mut self, disk: &mut Disk) -> Vec<String> {
        match disk.journal.clone() {
            Some(journal) => {
                restore(self, disk, journal).map_or_else(|_| Vec::new(), |restored| restored.foreign)
            }
            None => Vec::new(),
        }
    }
}

/// The interface is as it was, and nothing on disk says otherwise.
fn is_back(nic: &ModelNic, disk: &Disk, original: &Setup) -> TestCaseResult {
    prop_assert_eq!(&nic.setup, original);
    prop_assert!(disk.journal.is_none(), "{:?}", disk.journal);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        // A meddler has little to do on most interfaces.
        max_global_rejects: 65536,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn prepared_and_put_back(nic in nic(), wanted in wanted()) {
        let mut nic = nic;
        let original = nic.setup.clone();
        let mut disk = nic.disk();
        let before = plan(&interface(&original), &wanted);
        prop_assume!(!before.is_blocked());
        match nic.prepare(&mut disk, &wanted) {
            Ok(steps) => {
                let after = plan(&interface(&nic.setup), &wanted);
                prop_assert!(after.steps.is_empty() && after.checks.iter().all(|check| check.verdict != Verdict::Change));
                prop_assert_eq!(steps.is_empty(), before.steps.is_empty());
                prop_assert_eq!(disk.journal.is_none(), steps.is_empty());
                let again = nic.prepare(&mut disk, &wanted);
                prop_assert!(again.is_ok_and(|steps| steps.is_empty()), "preparing twice changes nothing more");
                let foreign = nic.put_back(&mut disk);
                prop_assert!(foreign.is_empty(), "{foreign:?}");
            }
            // A table set by hand keeps some drivers from adding queues.
            Err(error) => prop_assert!(matches!(error, ApplyError::TakenBack(_)), "{error}"),
        }
        is_back(&nic, &disk, &original)?;
    }

    #[test]
    fn a_refused_step_takes_all_others_back(nic in nic(), wanted in wanted(), refuse_in in 0_u32..6) {
        let mut nic = nic;
        let original = nic.setup.clone();
        nic.refuse_in = Some(refuse_in);
        let mut disk = nic.disk();
        prop_assume!(!plan(&interface(&original), &wanted).is_blocked());
        match nic.prepare(&mut disk, &wanted) {
            Ok(_) => prop_assert!(plan(&interface(&nic.setup), &wanted).steps.is_empty()),
            Err(error) => {
                if matches!(error, ApplyError::Stuck { .. }) {
                    // The driver refused of itself, and the way back met the other refusal: restoring goes on there.
                    nic.put_back(&mut disk);
                }
                is_back(&nic, &disk, &original)?;
            }
        }
    }

    #[test]
    fn a_death_at_any_moment_leaves_a_way_back(
        nic in nic(), wanted in wanted(), first in 1_u32..40, second in 1_u32..40, after: bool, again: bool,
    ) {
        let mut nic = nic;
        let original = nic.setup.clone();
        prop_assume!(!plan(&interface(&original), &wanted).is_blocked());
        let mut disk = nic.disk();
        nic.revive(&mut disk, Fuse::new(Some(first), after));
        let _died = nic.prepare(&mut disk, &wanted);
        nic.revive(&mut disk, Fuse::new(Some(second), !after));
        if again {
            let _died = nic.prepare(&mut disk, &wanted);
        } else {
            nic.put_back(&mut disk);
        }
        nic.revive(&mut disk, Fuse::new(None, false));
        let foreign = nic.put_back(&mut disk);
        prop_assert!(foreign.is_empty(), "{foreign:?}");
        is_back(&nic, &disk, &original)?;
    }

    #[test]
    fn what_somebody_else_changed_stays_and_is_said(nic in nic(), wanted in wanted(), what in 0_u8..4) {
        let mut nic = nic;
        let original = nic.setup.clone();
        let mut disk = nic.disk();
        prop_assume!(!plan(&interface(&original), &wanted).is_blocked());
        prop_assume!(nic.prepare(&mut disk, &wanted).is_ok_and(|steps| !steps.is_empty()));
        let meddled = match what {
            0 => {
                known(&mut nic.setup.rings).hds_thresh = Some(77);
                "hds-thresh"
            }
            1 => {
                let table = &mut known(&mut nic.setup.rss).table;
                let len = table.len();
                // One that is neither the first nor the one left.
                let mut other = vec![0; len];
                other[len - 1] = 7;
                *table = other;
                "RSS table"
            }
            2 => {
                let feature = known(&mut nic.setup.features).get_mut("rx-gro-hw").expect("the model has it");
                (feature.wanted, feature.active) = (!feature.wanted, !feature.wanted);
                "rx-gro-hw"
            }
            _ => {
                let foreign = Flow { ipv6: true, port: 7, queue: None }.rule(0, Some(9));
                known(&mut nic.setup.rules).rules.push(foreign);
                "flow rule 9"
            }
        };
        let left = disk.journal.clone().expect("steps were taken").left;
        prop_assume!(original.rings != nic.setup.rings || what != 0);
        prop_assume!(left.rings.known().is_some_and(|rings| rings.hds_thresh.is_some()) || what != 0);
        let gro = |setup: &Setup| setup.features.known().map(|features| features["rx-gro-hw"].wanted);
        prop_assume!(what != 2 || gro(&nic.setup) != gro(&original));
        // Fewer queues than the meddler's table leads to cannot be had: that way back is a failure, told as such.
        prop_assume!(what != 1 || original.channels == left.channels);
        // Without ntuple the driver would lose the meddler's rule with the others.
        prop_assume!(what != 3 || !nic.habits.ntuple_flushes);
        let setup = nic.setup.clone();
        let foreign = nic.put_back(&mut disk);
        prop_assert!(foreign.iter().any(|said| said.contains(meddled)), "{foreign:?}");
        match what {
            0 => prop_assert_eq!(nic.setup.rings.known().map(|rings| rings.hds_thresh), Some(Some(77))),
            1 => prop_assert_eq!(&nic.setup.rss, &setup.rss),
            2 => prop_assert_eq!(gro(&nic.setup), gro(&setup)),
            _ => prop_assert!(nic.setup.rules.known().is_some_and(|rules| rules.rules.iter().any(|rule| rule.location == Some(9)))),
        }
        if what != 1 {
            prop_assert_eq!(&nic.setup.channels, &original.channels);
            prop_assert_eq!(&nic.setup.rss, &original.rss);
        }
        prop_assert!(disk.journal.is_none());
    }
}
