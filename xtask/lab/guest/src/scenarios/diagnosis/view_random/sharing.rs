//! A program whose rings share a queue: what it may do in a step, and what zcrxd must show of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::foreign_snapshot::{figure, identity, in_pool, inflight, moved};
use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::metrics::Metrics;
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, End};
use crate::harness::random::Random;
use crate::harness::{eventually, features};

/// Rings that a program has at one time.
const MOST_RINGS: usize = 5;
/// Slots of each ring's completion queue.
const CQ_ENTRIES: &str = "512";
/// How long figures may take to agree.
const AGREE_LIMIT: Duration = Duration::from_secs(30);

/// What the scenario itself knows of a ring.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    hidden: bool,
    mixed: bool,
    stalled: bool,
    /// Whether the child of a fork holds it.
    inherited: bool,
}

/// The program.
pub(in super::super) struct SharedQueue<'a> {
    program: Foreign,
    namespace: &'a Namespace,
    end: Option<End<'a>>,
    rings: BTreeMap<u32, Ring>,
    next: u32,
    /// The child of a fork.
    child: bool,
    /// Rings that were closed while the child held them.
    left_to_child: u32,
    kept: bool,
    held: bool,
    areas: u32,
    /// Whether the kernel can add areas.
    adds_areas: bool,
}

impl<'a> SharedQueue<'a> {
    pub(super) fn on(end: End<'a>) -> Result<Self> {
        let (listen, queue) = (end.listens(), nic::QUEUE.to_string());
        let arguments = ["--interface", end.interface, "--queue", &queue, "--listen", &listen];
        Self::start(end.namespace, Some(end), &[&arguments[..], &["--area-buffers", "1024"]].concat())
    }

    pub(in super::super) fn without_device(
        namespace: &'a Namespace,
        listen: &str,
        further: &[&str],
    ) -> Result<Self> {
        Self::start(namespace, None, &[&["--listen", listen], further].concat())
    }

    fn start(namespace: &'a Namespace, end: Option<End<'a>>, arguments: &[&str]) -> Result<Self> {
        let arguments = [arguments, &["--cq-entries", CQ_ENTRIES]].concat();
        Ok(Self {
            program: Foreign::start_sharing(namespace, &arguments)?,
            namespace,
            end,
            rings: BTreeMap::from([(0, Ring::default())]),
            next: 1,
            child: false,
            left_to_child: 0,
            kept: false,
            held: false,
            areas: 1,
            adds_areas: features::adds_areas(),
        })
    }

    pub(in super::super) fn leave(self) -> Result<()> {
        self.program.quit()
    }

    /// Kills it. A child would hold the queue, so it goes first: the program answers when it has carried out its earlier orders.
    pub(super) fn kill(mut self) -> Result<()> {
        if self.child {
            self.order("exit")?;
            self.program.truth()?;
        }
        self.program.kill()
    }

    fn order(&mut self, order: &str) -> Result<()> {
        self.program.order(order)
    }

    /// Does something; returns what, or an empty text where the choice fell on something impossible.
    pub(super) fn act(&mut self, random: &mut Random) -> Result<String> {
        let number = random.below(self.rings.len() as u32) as usize;
        let (&ring, &state) = self.rings.iter().nth(number).context("a program has a ring")?;
        let order = match random.below(13) {
            0..=2 if self.rings.len() < MOST_RINGS => {
                let (order, new) = match random.below(3) {
                    0 => ("ring", Ring::default()),
                    1 => ("mixed", Ring { mixed: true, ..Ring::default() }),
                    _ => ("hidden", Ring { hidden: true, ..Ring::default() }),
                };
                self.rings.insert(self.next, new);
                self.next += 1;
                order.to_owned()
            }
            3 if self.rings.len() > 1 => {
                self.rings.remove(&ring);
                self.left_to_child += u32::from(state.inherited);
                format!("close {ring}")
            }
            4 if !state.hidden => format!("dup {ring} {}", [0, 1, 7, 200][random.below(4) as usize]),
            5 | 6 if self.child => {
                self.child = false;
                self.left_to_child = 0;
                self.rings.values_mut().for_each(|ring| ring.inherited = false);
                "exit".to_owned()
            }
            5 | 6 => {
                self.child = true;
                self.rings.values_mut().for_each(|ring| ring.inherited = !ring.hidden);
                "fork".to_owned()
            }
            7 => {
                self.kept = !self.kept;
                if self.kept { "keep" } else { "drop" }.to_owned()
            }
            8 if self.adds_areas && self.areas < 3 => {
                self.areas += 1;
                format!("area {}", 64 << random.below(3))
            }
            9 | 10 => {
                self.rings.insert(ring, Ring { stalled: !state.stalled, ..state });
                if state.stalled {
                    format!("go {ring}")
                } else {
                    self.order(&format!("stall {ring}"))?;
                    let large = if state.mixed { random.below(60) } else { 0 };
                    format!("nops {ring} {} {large}", random.below(100))
                }
            }
            11 => {
                self.held = !self.held;
                if self.held { "hold" } else { "resume" }.to_owned()
            }
            _ => return Ok(String::new()),
        };
        self.order(&order)?;
        Ok(format!("{}: {order}", self.program.pid()))
    }

    /// Where to send to, and how many bytes at most; `None` if no ring reads.
    pub(super) fn target(
        &mut self,
        listen: &str,
        bytes: u64,
        random: &mut Random,
    ) -> Result<Option<(String, u64)>> {
        // On a device only the first ring's port is steered to the queue.
        let readers =
            self.rings.iter().filter(|(number, ring)| !ring.stalled && (self.end.is_none() || **number == 0));
        let readers: Vec<u32> = readers.map(|(number, _)| *number).collect();
        let Some(&ring) = readers.get(random.below(readers.len() as u32) as usize) else { return Ok(None) };
        let (host, port) = listen.rsplit_once(':').context("an address has a port")?;
        let port: u32 = port.parse().context("a port is a number")?;
        let target = format!("{host}:{}", port + ring);
        if !self.held {
            return Ok(Some((target, bytes)));
        }
        let truth = self.program.truth()?;
        let free = number(&truth, "buffers")? - number(&truth, "referenced_buffers")?;
        let most = free / 8 * 4096;
        Ok((most >= 4096).then_some((target, bytes.min(most))))
    }

    /// Has a child that holds the same files.
    pub(in super::super) fn fork(&mut self) -> Result<()> {
        self.child = true;
        self.rings.values_mut().for_each(|ring| ring.inherited = !ring.hidden);
        self.order("fork")
    }

    /// Ends the child.
    pub(in super::super) fn end_child(&mut self) -> Result<()> {
        self.child = false;
        self.left_to_child = 0;
        self.rings.values_mut().for_each(|ring| ring.inherited = false);
        self.order("exit")
    }

    /// Adds so many descriptors of the first ring.
    pub(in super::super) fn duplicate(&mut self, count: u32) -> Result<()> {
        self.order(&format!("dup 0 {count}"))
    }

    /// Every figure is the truth, at a moment at which nothing moves: the program says the same before and after.
    pub(super) fn agrees_at_rest(&mut self, daemon: &Daemon<'_>) -> Result<()> {
        self.agrees_within(daemon, AGREE_LIMIT)
    }

    /// The same, within a time.
    pub(in super::super) fn agrees_within(&mut self, daemon: &Daemon<'_>, limit: Duration) -> Result<()> {
        let mut differences = Vec::new();
        let rested = eventually("zcrxd and the truth agree", limit, || {
            let before = self.program.truth()?;
            let metrics = daemon.metrics()?;
            let posted = self.end.map(|end| end.stat("rx1_posted")).transpose()?;
            let report: Value = serde_json::from_str(&daemon.page("/diagnose.json")?).context("no JSON")?;
            let after = self.program.truth()?;
            if moved(&before, &after) {
                return Ok(None);
            }
            differences = self.differences(&metrics, &after, posted)?;
            differences.extend(self.ring_differences(&report, &metrics, &after)?);
            Ok(differences.is_empty().then_some(()))
        });
        rested.with_context(|| format!("program {}: {}", self.program.pid(), differences.join("; ")))
    }

    /// Figures of the queue that are not what they should be.
    fn differences(&self, metrics: &Metrics, truth: &Value, posted: Option<u64>) -> Result<Vec<String>> {
        let own = |name| number(truth, name);
        ensure!(
            truth["kept"] == self.kept && truth["child"].is_null() != self.child,
            "the program lost count: {truth}"
        );
        let mut expected = vec![
            ("zcrx_queue_owners", 1 + u64::from(self.child)),
            ("zcrx_queue_areas", u64::from(self.areas)),
            ("zcrx_queue_area_buffers", own("buffers")?),
            ("zcrx_queue_refill_ring_capacity_entries", own("refill_entries")?),
            ("zcrx_queue_refill_ring_pending_entries", own("refill_pending")?),
            ("zcrx_queue_user_references", own("held")? + own("refill_pending")?),
            ("zcrx_queue_user_buffers", own("referenced_buffers")?),
        ];
        if let Some(posted) = posted {
            let inflight = inflight(self.namespace, metrics, truth)?;
            // Nothing is under way, so what is neither free nor with user space is posted to the NIC or in the page pool.
            expected.push(("zcrx_queue_kernel_buffers", posted + in_pool(metrics, truth)?));
            expected.push(("zcrx_queue_pool_inflight_buffers", inflight));
            expected.push(("zcrx_queue_free_buffers", own("buffers")? - inflight));
            expected.push(("zcrx_queue_unaccounted_buffers", 0));
        } else {
            expected.push(("zcrx_queue_free_buffers", own("buffers")? - own("referenced_buffers")?));
        }
        let mut differences = Vec::new();
        for (metric, expected) in expected {
            let shown = figure(metrics, truth, metric)?;
            if shown != expected {
                differences.push(format!("{metric} is {shown} and should be {expected}"));
            }
        }
        Ok(differences)
    }

    /// Figures of the rings that are not what they should be.
    fn ring_differences(&self, report: &Value, metrics: &Metrics, truth: &Value) -> Result<Vec<String>> {
        let info = identity(metrics, truth)?;
        let (interface, queue) = (info.label("interface"), info.label("queue"));
        let reports = report["queues"].as_array().into_iter().flatten();
        let mine = reports.map(|report| &report["rings"]).find(|rings| has_owner(rings, &truth["pid"]));
        let Some(rings) = mine.and_then(Value::as_array) else {
            return Ok(vec![format!("no queue of {interface}:{queue} has {} as an owner", truth["pid"])]);
        };
        let mut differences = Vec::new();
        let expected = self.rings.len() + self.left_to_child as usize;
        if rings.len() != expected {
            differences.push(format!("{} rings are shown and should be {expected}", rings.len()));
        }
        let said = truth["rings"].as_object().context("the program names no rings")?;
        for (number, state) in &self.rings {
            let said =
                said.get(&number.to_string()).with_context(|| format!("ring {number} is not named"))?;
            let Some(shown) = rings.iter().find(|ring| ring["consumer"]["tid"] == said["tid"]) else {
                differences.push(format!("ring {number} is not shown"));
                continue;
            };
            let unread = match shown["cq"]["unread"].as_u64() {
                Some(unread) => Some(unread),
                None => shown["cq"]["tail"]
                    .as_u64()
                    .zip(shown["cq"]["head"].as_u64())
                    .map(|(tail, head)| tail - head),
            };
            let owners: BTreeSet<u64> = pids(&shown["owners"]).collect();
            let mut holders = BTreeSet::from([u64::from(self.program.pid())]);
            holders.extend(truth["child"].as_u64().filter(|_| state.inherited));
            let pairs = [
                ("zcrx_id", shown["zcrx_id"].as_u64(), said["zcrx_id"].as_u64()),
                ("cq.entries", shown["cq"]["entries"].as_u64(), said["cq_entries"].as_u64()),
                ("cq.unread", unread, said["cq_unread"].as_u64()),
                ("consumer.pid", shown["consumer"]["pid"].as_u64(), truth["pid"].as_u64()),
            ];
            for (name, shown, said) in pairs {
                if shown != said {
                    differences.push(format!("ring {number}: {name} is {shown:?} and should be {said:?}"));
                }
            }
            if owners != holders {
                differences.push(format!("ring {number}: owners are {owners:?} and should be {holders:?}"));
            }
        }
        Ok(differences)
    }
}

fn has_owner(rings: &Value, pid: &Value) -> bool {
    rings
        .as_array()
        .into_iter()
        .flatten()
        .any(|ring| pids(&ring["owners"]).any(|owner| Some(owner) == pid.as_u64()))
}

fn pids(owners: &Value) -> impl Iterator<Item = u64> {
    owners.as_array().into_iter().flatten().filter_map(|owner| owner["pid"].as_u64())
}
