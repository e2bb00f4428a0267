//! Wherever preparing an interface stops, it can be put back: random interfaces, wishes, drivers' habits, refusals,
//! deaths of the process and meddlers, on a model that answers as drivers do.
mod disk;
mod model;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use zcrx_daemon::model::{Channels, Feature, FlowRules, HeaderSplit, Reading, Rings, Rss, Setup};
use zcrx_daemon::net::{ApplyError, Flow, NTUPLE, Plan, Spread, Step, Verdict, Wanted, plan, plan_after};

use disk::{Disk, Fuse};
use model::{Habits, ModelNic, SplitHabit, interface, known};

prop_compose! {
    fn habits()(any_place_only: bool, table_follows_queues: bool, split_needs_gro: bool, ntuple_flushes: bool,
                places: bool, table_flushes: bool, refuses_mixture: bool, split in split_habit()) -> Habits {
        Habits {
            places_rules: places || any_place_only,
            table_follows_queues,
            split_needs_gro: split_needs_gro && split == SplitHabit::InForce,
            ntuple_flushes,
            any_place_only,
            table_flushes,
            refuses_mixture,
            split,
        }
    }
}

fn split_habit() -> impl Strategy<Value = SplitHabit> {
    prop::sample::select(vec![
        SplitHabit::InForce,
        SplitHabit::AlwaysOn,
        SplitHabit::Configured,
        SplitHabit::Aggregation,
        SplitHabit::AutoKeeps,
    ])
}

prop_compose! {
    /// An interface of up to 8 queues in any state.
    fn nic()(habits in habits(), queues in 1_u32..=8, combined: bool, split in 0_u8..3, threshold in prop::option::of(0_u32..3),
             (ntuple, gro) in any::<(bool, bool)>(), hand_made in prop::option::of(prop::collection::vec(0_u32..8, 64)),
             rules in prop::collection::btree_map(0_u32..8, (1_u16..4, 0_u32..8), 0..3)) -> ModelNic {
        let counts = Channels { rx_max: 8, tx: 1, tx_max: 8, ..Channels::default() };
        let channels = if combined {
            Channels { combined: queues, combined_max: 8, rx: 0, tx: 0, ..counts }
        } else {
            // A driver that could combine them too, but does not now.
            Channels { rx: queues, combined_max: 8, ..counts }
        };
        let len = if habits.table_follows_queues { 8 * queues as usize } else { 16 };
        let table = match &hand_made {
            Some(table) => table[..len].iter().map(|queue| queue % queues).collect(),
            None => Spread::Default.table(len, queues),
        };
        let feature = |on| Feature { active: on, wanted: on, fixed: false };
        // A driver that takes the lowest free location has no gaps until a program deletes a rule.
        let places: Vec<u32> = rules.keys().copied().collect();
        let mut seen = Vec::new();
        // bnxt refuses a rule that is there already.
        let distinct = rules.into_values().filter(|(port, queue)| {
            let rule = (*port, queue % queues);
            let new = !habits.any_place_only || !seen.contains(&rule);
            seen.push(rule);
            new
        });
        let rules = distinct.enumerate().filter(|_| ntuple).map(|(at, (port, queue))| {
            let place = if habits.any_place_only { at as u32 } else { places[at] };
            Flow { ipv6: false, port, queue: None }.rule(queue % queues, Some(place))
        });
        // mlx5 splits headers only with hardware GRO on; fbnic and bnxt never have "off" configured.
        let configured = [HeaderSplit::Auto, HeaderSplit::Off, HeaderSplit::On][usize::from(split)];
        let configured = match (habits.split, configured) {
            (SplitHabit::AlwaysOn | SplitHabit::Aggregation, HeaderSplit::Off) => HeaderSplit::Auto,
            // Where header split switches hardware GRO on, no state has the one without the other.
            (split, HeaderSplit::On) if !gro && (split == SplitHabit::Configured || habits.split_needs_gro) => {
                HeaderSplit::Auto
            }
            (_, configured) => configured,
        };
        let mut nic = ModelNic {
            setup: Setup {
                channels: Reading::Known(channels),
                rings: Reading::Known(Rings {
                    rx: Some(512), rx_max: Some(4096), tx: None, tx_max: None, rx_buf_len: None,
                    tcp_data_split: configured, split_configured: None, rx_jumbo: None, rx_jumbo_max: None,
                    hds_thresh: threshold, hds_thresh_max: threshold.map(|_| 4096),
                }),
                features: Reading::Known(BTreeMap::from([
                    (NTUPLE.to_owned(), feature(ntuple)),
                    ("rx-gro-hw".to_owned(), feature(gro)),
                    ("rx-checksum".to_owned(), Feature { active: true, wanted: true, fixed: true }),
                ])),
                rss: Reading::Known(Rss { table, key: "00ff".to_owned(), hash_function: 1, input_xfrm: 2, ..Rss::default() }),
                rules: Reading::Known(FlowRules {
                    capacity: Some(8), driver_places: habits.places_rules, rules: rules.collect(),
                }),
            },
            habits,
            table_configured: hand_made.is_some(),
            refuse_in: None,
            fuse: Fuse::new(None, false),
            unwitnessed: false,
            configured,
            splits: configured == HeaderSplit::On,
            told: None,
        };
        nic.report_split();
        nic
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
/// Asserts that the interface has its original settings, those included that no program can read, and that no journal is left.
///
/// After a refusal or a kill, rules that the driver places may have other locations: the driver alone chooses them.
fn is_back(nic: &ModelNic, disk: &Disk, original: &ModelNic, in_place: bool) -> TestCaseResult {
    let in_place = in_place || !nic.habits.any_place_only;
    prop_assert_eq!(sorted(&nic.setup, in_place), sorted(&original.setup, in_place));
    prop_assert_eq!(nic.configured, original.configured);
    prop_assert!(disk.journal.is_none(), "{:?}", disk.journal);
    Ok(())
}

/// Nothing is left to do but, where only the reported header split is known, to make sure of it.
fn is_met(plan: &Plan) -> bool {
    let ensured = Step::HeaderSplit { split: Some(HeaderSplit::On), threshold: None };
    plan.checks.iter().all(|check| check.verdict != Verdict::Change)
        && plan.steps.iter().all(|step| *step == ensured)
}

/// With the rules in an order of their own, and without their places where those do not matter.
fn sorted(setup: &Setup, in_place: bool) -> Setup {
    let mut setup = setup.clone();
    let rules = &mut known(&mut setup.rules).rules;
    if !in_place {
        for rule in rules.iter_mut() {
            rule.location = None;
        }
    }
    rules.sort_by_key(|rule| (rule.location, rule.spec.clone()));
    setup
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
        let (original, found) = (nic.setup.clone(), nic.clone());
        let mut disk = nic.disk();
        let before = plan(&interface(&original), &wanted);
        prop_assume!(!before.is_blocked());
        match nic.prepare(&mut disk, &wanted) {
            Ok(steps) => {
                prop_assert_eq!(nic.configured, HeaderSplit::On);
                let after = plan_after(&interface(&nic.setup), &wanted, disk.journal.as_ref());
                prop_assert!(is_met(&after), "{after:?}");
                prop_assert!(!steps.is_empty() || is_met(&before), "{before:?}");
                prop_assert_eq!(disk.journal.is_none(), steps.is_empty());
                let again = nic.prepare(&mut disk, &wanted);
                prop_assert!(again.is_ok_and(|steps| steps.is_empty()), "preparing twice changes nothing more");
                let foreign = nic.put_back(&mut disk);
                prop_assert!(foreign.is_empty(), "{foreign:?}");
            }
            // A table set by hand keeps some drivers from adding queues.
            Err(error) => prop_assert!(matches!(error, ApplyError::TakenBack(_)), "{error}"),
        }
        is_back(&nic, &disk, &found, true)?;
    }

    #[test]
    fn a_refused_step_takes_all_others_back(nic in nic(), wanted in wanted(), refuse_in in 0_u32..6) {
        let mut nic = nic;
        let (original, found) = (nic.setup.clone(), nic.clone());
        nic.refuse_in = Some(refuse_in);
        let mut disk = nic.disk();
        prop_assume!(!plan(&interface(&original), &wanted).is_blocked());
        match nic.prepare(&mut disk, &wanted) {
            Ok(_) => {
                let after = plan_after(&interface(&nic.setup), &wanted, disk.journal.as_ref());
                prop_assert!(is_met(&after), "{after:?}");
            }
            Err(error) => {
                if matches!(error, ApplyError::Stuck { .. }) {
                    // The driver refused by itself, and the way back met the other refusal: restoring continues there.
                    nic.put_back(&mut disk);
                }
                is_back(&nic, &disk, &found, false)?;
            }
        }
    }

    #[test]
    fn a_death_at_any_moment_leaves_a_way_back(
        nic in nic(), wanted in wanted(), first in 1_u32..40, second in 1_u32..40, after: bool, again: bool,
    ) {
        let mut nic = nic;
        let (original, found) = (nic.setup.clone(), nic.clone());
        prop_assume!(!plan(&interface(&original), &wanted).is_blocked());
        let mut disk = nic.disk();
        // What a request for header split found out is lost with a process that dies before it is written down.
        let dies_unknowing = |disk: &Disk| {
            disk.journal.as_ref().is_some_and(|journal| {
                let learned = journal.original.rings.known().and_then(|rings| rings.split_configured);
                matches!(journal.begun, Some(Step::HeaderSplit { .. })) && learned.is_none()
            })
        };
        nic.revive(&mut disk, Fuse::new(Some(first), after));
        let _died = nic.prepare(&mut disk, &wanted);
        let mut unknown = dies_unknowing(&disk);
        nic.revive(&mut disk, Fuse::new(Some(second), !after));
        if again {
            let _died = nic.prepare(&mut disk, &wanted);
        } else {
            nic.put_back(&mut disk);
        }
        unknown |= dies_unknowing(&disk);
        nic.revive(&mut disk, Fuse::new(None, false));
        let foreign = nic.put_back(&mut disk);
        prop_assert!(foreign.is_empty(), "{foreign:?}");
        if unknown {
            // What is reported is the same all the same.
            nic.configured = found.configured;
        }
        is_back(&nic, &disk, &found, false)?;
    }

    #[test]
    fn foreign_change_stays_and_is_reported(nic in nic(), wanted in wanted(), what in 0_u8..4) {
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
        // The driver refuses fewer queues than the foreign table uses: restoring them is reported as a failure.
        prop_assume!(what != 1 || original.channels == left.channels);
        // Without ntuple the driver would lose the meddler's rule with the others.
        prop_assume!(what != 3 || !nic.habits.ntuple_flushes);
        // Nor can one that a new table took away be added again once ntuple is off.
        let steers = |setup: &Setup| setup.features.known().is_some_and(|features| features[NTUPLE].active);
        prop_assume!(what != 3 || !nic.habits.table_flushes || steers(&original));
        let setup = nic.setup.clone();
        let foreign = nic.put_back(&mut disk);
        prop_assert!(foreign.iter().any(|said| said.contains(meddled)), "{foreign:?}");
        match what {
            0 => prop_assert_eq!(nic.setup.rings.known().map(|rings| rings.hds_thresh), Some(Some(77))),
            1 => prop_assert_eq!(&nic.setup.rss, &setup.rss),
            2 => prop_assert_eq!(gro(&nic.setup), gro(&setup)),
            _ => prop_assert!(nic.setup.rules.known().is_some_and(|rules| rules.rules.iter().any(|rule| rule.text.contains("tcp6 dst-port 7 ")))),
        }
        if what != 1 {
            prop_assert_eq!(&nic.setup.channels, &original.channels);
            prop_assert_eq!(&nic.setup.rss, &original.rss);
        }
        prop_assert!(disk.journal.is_none());
    }
}
