//! Queues that were there before zcrxd: every figure it shows of them is held against what their owner, the NIC and
//! the kernel's netlink say.

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::Scenario;
use super::receive::TRANSFER;
use crate::features;
use crate::init::Place;
use crate::lab::daemon::Daemon;
use crate::lab::foreign::{Foreign, number};
use crate::lab::metrics::Metrics;
use crate::lab::namespace::Namespace;
use crate::lab::nic::{self, End, Nic};
use crate::lab::traffic::Traffic;
use crate::lab::{eventually, output, page_pool, program};

/// How long anything may take to come about.
const TURN: Duration = Duration::from_mins(1);

/// Where the program without a device listens.
const LOOPBACK: &str = "127.0.0.1:9998";

/// Refill entries that the kernel takes at once, at most: by so many may a snapshot be ahead of the head that the owner
/// reads, because the kernel publishes it after a batch.
const REFILL_BATCH: u64 = 256;

/// Strangers of all sorts.
pub(super) const BEFORE: Scenario = Scenario {
    name: "foreign-before-zcrxd",
    about: "queues of programs that were there before zcrxd (one leaks, one is well, one has no device) are shown at once, \
            each figure equal to the truth, under traffic within one batch",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let (leaky, healthy) = (nic.receiving(), nic.sending());
        healthy.prepare()?;
        // What is sent twice is given back to the pool by another way, and the figures would never stand still.
        leaky.send_patiently()?;
        healthy.send_patiently()?;
        let mut strangers = vec![
            Stranger::on(leaky, &["--fault", "never-return", "--fault-after", "1000000"])?,
            Stranger::on(healthy, &[])?,
        ];
        if features::needs(Place::Guest).get(&Need::Nodev).is_some_and(Option::is_none) {
            strangers.push(Stranger::without_device(&nic.rx)?);
        }
        // Less than the area holds: the leak is under way, and nothing waits for the sender to try again.
        Traffic::start(&nic.tx, &leaky.listens(), 2 << 20, &[])?.finish(TRANSFER)?;
        Traffic::start(&nic.rx, &healthy.listens(), 4 << 20, &[])?.finish(TRANSFER)?;
        if strangers.len() > 2 {
            Traffic::start(&nic.rx, LOOPBACK, 1 << 19, &[])?.finish(TRANSFER)?;
        }

        let mut daemon = Daemon::start(&nic.rx, &[])?;
        let first = daemon.metrics()?;
        ensure!(first.sum("zcrx_snapshot_queues").is_some(), "no snapshot can be taken here");
        let shown = first.of("zcrx_ifq_info").count();
        ensure!(
            shown == strangers.len(),
            "{shown} queues are shown when zcrxd is ready, and there are {}",
            strangers.len()
        );
        for stranger in &mut strangers {
            stranger.agrees_at_rest(&daemon)?;
        }
        listed(&nic, &mut strangers)?;
        under_traffic(&nic, &mut strangers[1], &daemon)?;
        strangers[1].agrees_at_rest(&daemon)?;
        for stranger in strangers {
            stranger.program.quit()?;
        }
        daemon.until("all queues are gone", TURN, |metrics| metrics.of("zcrx_ifq_info").next().is_none())?;
        daemon.stop().map(drop)
    },
};

/// A program with a queue, and where it is.
struct Stranger<'a> {
    program: Foreign,
    namespace: &'a Namespace,
    /// The interface that its queue is of.
    end: Option<End<'a>>,
}

impl<'a> Stranger<'a> {
    fn on(end: End<'a>, further: &[&str]) -> Result<Self> {
        let (listen, queue) = (end.listens(), nic::QUEUE.to_string());
        let mut arguments = vec!["--interface", end.interface, "--queue", &queue, "--listen", &listen];
        arguments.extend(["--area-buffers", "1024"]);
        arguments.extend(further);
        let program = Foreign::start(end.namespace, &arguments)?;
        Ok(Self { program, namespace: end.namespace, end: Some(end) })
    }

    fn without_device(namespace: &'a Namespace) -> Result<Self> {
        let arguments = ["--area-buffers", "256", "--refill-entries", "128", "--listen", LOOPBACK];
        Ok(Self { program: Foreign::start(namespace, &arguments)?, namespace, end: None })
    }

    /// Labels by which its queue is found.
    fn labels(&self) -> Vec<(&'static str, String)> {
        let (interface, queue) = self.end.map_or(("", 0), |end| (end.interface, nic::QUEUE));
        vec![("interface", interface.to_owned()), ("queue", queue.to_string())]
    }

    fn figure(&self, metrics: &Metrics, name: &str) -> Result<u64> {
        let labels = self.labels();
        let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        metrics.one(name, &labels).map(|sample| sample.value as u64)
    }

    /// Every figure is the truth, at a moment at which nothing moves: the program says the same before and after.
    fn agrees_at_rest(&mut self, daemon: &Daemon<'_>) -> Result<()> {
        let mut differences = Vec::new();
        let rested = eventually("zcrxd and the truth agree", Duration::from_secs(20), || {
            let before = self.program.truth()?;
            let (metrics, posted) = (daemon.metrics()?, self.posted()?);
            let after = self.program.truth()?;
            if moved(&before, &after) {
                return Ok(None);
            }
            differences = self.differences(&metrics, &after, posted)?;
            Ok(differences.is_empty().then_some(()))
        });
        rested.with_context(|| format!("{:?}: {}", self.labels(), differences.join("; ")))
    }

    /// Buffers that the NIC has to write to; `None` without a NIC.
    fn posted(&self) -> Result<Option<u64>> {
        self.end.map(|end| end.stat("rx1_posted")).transpose()
    }

    /// Figures that are not what they should be.
    fn differences(&self, metrics: &Metrics, truth: &Value, posted: Option<u64>) -> Result<Vec<String>> {
        let own = |name| number(truth, name);
        let unread = own("cq_ready")?;
        ensure!(unread == 0, "a program that reaps at once leaves {unread} completions");
        let mut expected = vec![
            ("zcrx_ifq_owners", 1),
            ("zcrx_ifq_areas", 1),
            ("zcrx_ifq_area_buffers", own("buffers")?),
            ("zcrx_ifq_refill_ring_capacity", own("refill_entries")?),
            ("zcrx_ifq_refill_ring_pending", own("refill_pending")?),
            ("zcrx_ifq_cq_capacity", own("cq_entries")?),
            ("zcrx_ifq_cq_depth", unread),
            ("zcrx_ifq_cq_overflows_total", own("cq_overflow")?),
            ("zcrx_ifq_user_references", own("held")? + own("refill_pending")?),
            ("zcrx_ifq_user_buffers", own("referenced_buffers")?),
        ];
        let mut differences = Vec::new();
        if let Some(posted) = posted {
            // Nothing is under way, so what is neither free nor with user space is posted to the NIC or in the cache.
            let cache = self.figure(metrics, "zcrx_ifq_pool_cache_buffers")?;
            expected.push(("zcrx_ifq_kernel_buffers", posted + cache));
            let inflight = self.inflight(metrics)?;
            expected.push(("zcrx_ifq_pool_inflight_buffers", inflight));
            expected.push(("zcrx_ifq_free_buffers", own("buffers")? - inflight));
            expected.push(("zcrx_ifq_unaccounted_buffers", 0));
        } else {
            let user = own("referenced_buffers")?;
            expected.push(("zcrx_ifq_free_buffers", own("buffers")? - user));
        }
        for (metric, truth) in expected {
            let shown = self.figure(metrics, metric)?;
            if shown != truth {
                differences.push(format!("{metric} is {shown} and should be {truth}"));
            }
        }
        differences.extend(self.wrong_identity(metrics, truth)?);
        Ok(differences)
    }

    /// What netlink says is in flight in the page pool that zcrxd says is this queue's.
    fn inflight(&self, metrics: &Metrics) -> Result<u64> {
        let labels = self.labels();
        let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        let info = metrics.one("zcrx_ifq_info", &labels)?;
        let id: u32 = info.labels.get("page_pool").and_then(|id| id.parse().ok()).context("no page pool")?;
        let pools = self.namespace.enter(page_pool::list)?.context("the kernel lists no page pools")?;
        let pool = pools.iter().find(|pool| pool.id == id);
        let pool = pool.with_context(|| format!("netlink knows no page pool {id}: {pools:?}"))?;
        pool.inflight.map(u64::from).context("netlink does not say what is in flight")
    }

    /// Labels of its identity that are not what they should be.
    fn wrong_identity(&self, metrics: &Metrics, truth: &Value) -> Result<Vec<String>> {
        let labels = self.labels();
        let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        let info = metrics.one("zcrx_ifq_info", &labels)?;
        let mut expected = vec![
            ("comm", "foreign".to_owned()),
            ("pid", number(truth, "pid")?.to_string()),
            ("zcrx_id", number(truth, "zcrx_id")?.to_string()),
        ];
        if let Some(end) = self.end {
            let netns = self.namespace.enter(|| {
                let file = File::open("/proc/thread-self/ns/net").context("cannot open a namespace")?;
                Ok(file.metadata().context("cannot read a namespace")?.ino())
            })?;
            expected.push(("netns", netns.to_string()));
            expected.push(("ifindex", end.ifindex()?.to_string()));
        }
        let wrong = expected.into_iter().filter(|(label, value)| !info.has(label, value));
        Ok(wrong.map(|(label, value)| format!("{label} should be {value}: {:?}", info.labels)).collect())
    }
}

/// Whether the program did anything between two reports.
fn moved(before: &Value, after: &Value) -> bool {
    ["dispensed", "returned", "refill_head", "refill_tail", "cq_ready", "received_bytes"]
        .iter()
        .any(|name| before[name] != after[name])
}

/// `zcrxd queues` says the same.
fn listed(nic: &Nic, strangers: &mut [Stranger<'_>]) -> Result<()> {
    let mut command = nic.rx.command(program("zcrxd"));
    let text = output(command.args(["queues", "--format", "json"]))?;
    let list: Vec<Value> = serde_json::from_str(&text).context("`zcrxd queues` printed no list")?;
    ensure!(
        list.len() == strangers.len(),
        "`zcrxd queues` lists {} of {}: {text}",
        list.len(),
        strangers.len()
    );
    for stranger in strangers {
        let truth = stranger.program.truth()?;
        let same = |queue: &&Value| queue["owner"]["pid"] == truth["pid"];
        let queue =
            list.iter().find(same).with_context(|| format!("the owner {} is not listed", truth["pid"]))?;
        let (kernel, area) = (&queue["kernel"], &queue["kernel"]["areas"][0]);
        let expected = [
            (&area["buffers"], number(&truth, "buffers")?),
            (&area["user_buffers"], number(&truth, "referenced_buffers")?),
            (&area["user_references"], number(&truth, "held")? + number(&truth, "refill_pending")?),
            (&kernel["refill"]["entries"], number(&truth, "refill_entries")?),
            (&kernel["refill"]["cached_head"], number(&truth, "refill_head")?),
            (&kernel["refill"]["tail"], number(&truth, "refill_tail")?),
            (&kernel["cq"]["entries"], number(&truth, "cq_entries")?),
            (&kernel["cq"]["overflow"], number(&truth, "cq_overflow")?),
        ];
        for (shown, truth) in expected {
            ensure!(
                shown.as_u64() == Some(truth),
                "`zcrxd queues` says {shown} where {truth} is right: {queue}"
            );
        }
        // The NIC's own counts are to be had for interfaces of the namespace that zcrxd runs in.
        if let Some(end) = stranger.end.filter(|end| end.interface == nic::RX) {
            for (figure, counter) in [("rx_bytes", "rx1_bytes"), ("alloc_fail", "rx1_alloc_fail")] {
                let (shown, counted) = (&queue["nic"][figure], end.stat(counter)?);
                ensure!(shown.as_u64() == Some(counted), "{figure} is {shown}, the NIC counted {counted}");
            }
        }
    }
    Ok(())
}

/// While buffers move, what is shown lies between what the owner says before and after: references begin with a
/// completion and end when the kernel takes a refill entry, and both only ever grow.
fn under_traffic(nic: &Nic, stranger: &mut Stranger<'_>, daemon: &Daemon<'_>) -> Result<()> {
    let end = stranger.end.context("traffic needs an interface")?;
    let traffic = Traffic::start(&nic.rx, &end.listens(), 32 << 20, &[])?;
    let (mut looks, mut amid) = (0, 0);
    while looks < 200 && amid < 10 {
        let before = stranger.program.truth()?;
        let metrics = daemon.metrics()?;
        let after = stranger.program.truth()?;
        looks += 1;
        amid += u32::from(moved(&before, &after));
        let early = |name| number(&before, name);
        let late = |name| number(&after, name);
        let bounds = [
            (
                "zcrx_ifq_user_references",
                between(
                    early("dispensed")?,
                    late("refill_head")?,
                    late("dispensed")? + late("cq_ready")?,
                    early("refill_head")?,
                ),
            ),
            (
                "zcrx_ifq_refill_ring_pending",
                between(
                    early("refill_tail")?,
                    late("refill_head")?,
                    late("refill_tail")?,
                    early("refill_head")?,
                ),
            ),
        ];
        for (metric, bounds) in bounds {
            let shown = stranger.figure(&metrics, metric)?;
            ensure!(
                bounds.contains(&shown),
                "{metric} is {shown}, outside {bounds:?}: {before} then {after}"
            );
        }
        let total = stranger.figure(&metrics, "zcrx_ifq_area_buffers")?;
        let free = stranger.figure(&metrics, "zcrx_ifq_free_buffers")?;
        ensure!(free <= total, "{free} of {total} buffers are free");
    }
    println!("{amid} of {looks} looks were amid traffic");
    ensure!(amid > 0, "no look came amid the traffic: this shows nothing");
    traffic.finish(TRANSFER).map(drop)
}

/// What lies between the least that came less the most that went, and the most that came less the least that went.
fn between(came_least: u64, went_most: u64, came_most: u64, went_least: u64) -> RangeInclusive<u64> {
    came_least.saturating_sub(went_most + REFILL_BATCH)..=came_most.saturating_sub(went_least)
}
