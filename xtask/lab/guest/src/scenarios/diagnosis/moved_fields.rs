//! Fields that have kept name and type and changed their meaning: what zcrxd shows of queues is right or absent.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zcrx_common::offsets::{ABSENT, Offsets, Place, Shape};
use zcrx_lab_guest::protocol::Need;

use super::foreign_snapshot::ForeignQueue;
use crate::harness::daemon::Daemon;
use crate::harness::moved_field::MovedField;
use crate::harness::namespace::Namespace;
use crate::harness::nic::Nic;
use crate::harness::random::{self, Random};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[SOME, ALL];

/// Time for some samples: figures that break a rule are then switched off, and rates are there.
const SAMPLES: Duration = Duration::from_secs(4);
/// A field without which zcrxd shows no queue.
const SHOWN: &str = "area_free";
/// Where the program without a device listens.
const LOOPBACK: &str = "127.0.0.1:9998";

const fn scenario(name: &'static str, limit: u64, default: bool, run: fn() -> Result<()>) -> Scenario {
    Scenario {
        name,
        about: "one field after the other is described to zcrxd as lying where another field of its type lies: it shows each figure of \
                two queues as it was before, or does not show it",
        needs: &[Need::Guest, Need::Nodev, Need::Nic, Need::Btf],
        proves: &[],
        limit,
        default,
        run,
    }
}

/// Fields chosen by a seed.
const SOME: Scenario = scenario("moved-fields", 600, true, || {
    let mut random = Random::new(random::seed());
    let mut fields = all_fields();
    let chosen: Vec<_> = (0..random::steps(3))
        .map(|_| fields.swap_remove(random.below(fields.len() as u32) as usize))
        .collect();
    each_is_right_or_absent(&chosen, &mut random)
});

const ALL: Scenario = scenario("moved-fields-all", 4000, false, || {
    each_is_right_or_absent(&all_fields(), &mut Random::new(random::seed()))
});

/// A field that zcrxd reads, with the places where kernels keep it.
type Field = (&'static str, &'static [Place]);

/// Every field that zcrxd reads.
fn all_fields() -> Vec<Field> {
    let mut fields = Vec::new();
    Offsets::resolve(|name, shape, places| {
        // The size of a structure lies nowhere.
        if shape != Shape::Size {
            fields.push((name, places));
        }
        ABSENT
    });
    fields
}

/// Figures of queues, by name and labels.
type Figures = BTreeMap<Figure, f64>;
type Figure = (String, BTreeMap<String, String>);

fn each_is_right_or_absent(fields: &[Field], random: &mut Random) -> Result<()> {
    let nic = Nic::pair()?;
    let leaky = nic.receiving();
    leaky.send_patiently()?;
    let queues = [
        ForeignQueue::on(leaky, &["--fault", "never-return", "--fault-after", "1000000"])?,
        ForeignQueue::without_device_of(&nic.rx, LOOPBACK, &["--fault", "not-reading"])?,
    ];
    Traffic::start(&nic.tx, &leaky.listens(), 2 << 20, &[])?.finish(TRANSFER_LIMIT)?;
    let unread = Traffic::start(&nic.rx, LOOPBACK, 60 << 10, &[])?;
    let truth = figures(&nic.rx)?;
    let again = figures(&nic.rx)?;
    // What is not the same in two runs is not at rest, and is left out.
    let rests = |name: &&Figure| truth.get(*name) == again.get(*name);
    let moving: BTreeSet<_> = truth.keys().chain(again.keys()).filter(|name| !rests(name)).cloned().collect();
    println!("{} figures at rest, {} that move", truth.len(), moving.len());
    ensure!(truth.len() > 50, "there is little to compare");
    let mut moved = |places| -> Result<Option<(String, Figures)>> {
        let Some(moved) = alter(places, random)? else { return Ok(None) };
        Ok(Some((moved.what.clone(), figures(&nic.rx)?)))
    };
    let all = all_fields();
    let (_, places) = all.iter().find(|(name, _)| *name == SHOWN).context("no such field")?;
    let (what, shown) = moved(places)?.context("each kernel with zcrx has it")?;
    ensure!(shown.len() < truth.len(), "{what}, and zcrxd shows all: it does not read what was altered");
    let mut wrong = Vec::new();
    for (name, places) in fields {
        let Some((what, shown)) = moved(places)? else {
            println!("{name}: not in this kernel");
            continue;
        };
        let is_wrong =
            |figure: &&Figure| !moving.contains(*figure) && !is_true(figure, shown[*figure], &truth);
        let differing: Vec<_> = shown.keys().filter(is_wrong).collect();
        let absent = truth.keys().filter(|name| !shown.contains_key(*name)).count();
        println!("{name}: {what}: {} figures wrong, {absent} absent", differing.len());
        for figure in &differing {
            println!("  {figure:?} is {:?} and was shown as {:?}", truth.get(*figure), shown.get(*figure));
        }
        if !differing.is_empty() {
            wrong.push(format!("{name} ({what})"));
        }
    }
    ensure!(wrong.is_empty(), "wrong figures were shown with {} fields: {}", wrong.len(), wrong.join(", "));
    unread.abandon()?;
    queues.into_iter().try_for_each(ForeignQueue::leave)
}

/// Whether a figure is what it is without any moved field. Labels of what is known of a queue may be missing.
fn is_true(figure: &Figure, value: f64, truth: &Figures) -> bool {
    let (name, labels) = figure;
    let has_fewer_labels = |(other, all): &Figure| {
        name == other && labels.iter().all(|(label, value)| all.get(label) == Some(value))
    };
    truth.get(figure) == Some(&value) || name == "zcrx_queue_info" && truth.keys().any(has_fewer_labels)
}

/// Moves the field at the first place that this kernel has.
fn alter(places: &[Place], random: &mut Random) -> Result<Option<MovedField>> {
    for place in places {
        if let Some(moved) = MovedField::of(place.structure, place.path, random)? {
            return Ok(Some(moved));
        }
    }
    Ok(None)
}

/// What a zcrxd that starts now shows of queues, after some samples.
fn figures(namespace: &Namespace) -> Result<Figures> {
    let daemon = Daemon::start(namespace, &[])?;
    thread::sleep(SAMPLES);
    let metrics = daemon.metrics()?;
    daemon.stop()?;
    // The number that tells registrations apart depends on how many queues zcrxd has seen.
    let is_compared = |name: &str| name.starts_with("zcrx_queue_") && name != "zcrx_queue_generation";
    let compared = metrics.samples().iter().filter(|sample| is_compared(&sample.name));
    Ok(compared.map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value)).collect())
}
