//! Queues that were there before zcrxd: every figure it shows of them is held against what their owner, the NIC and
//! the kernel's netlink say.

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::metrics::{Metrics, Sample};
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, End, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, output, page_pool, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[BEFORE, WITHOUT_DEVICE];

/// Where the program without a device listens.
const LOOPBACK: &str = "127.0.0.1:9998";

/// Refill entries that the kernel takes at once, at most: by so many may a snapshot be ahead of the head that the owner
/// reads, because the kernel publishes it after a batch.
const REFILL_BATCH: u64 = 256;

/// Queues of other processes, of all kinds.
const BEFORE: Scenario = Scenario {
    name: "foreign-before-zcrxd",
    about: "queues of programs that were there before zcrxd (one leaks, one is well, one has no device) are shown at once, \
            each figure equal to the truth, under traffic within one batch",
    needs: &[Need::Guest, Need::Nodev, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let (leaky, healthy) = (nic.receiving(), nic.sending());
        healthy.prepare()?;
        // Segments sent twice return to the pool by another path, and the figures would never stand still.
        leaky.send_patiently()?;
        healthy.send_patiently()?;
        let mut foreign_queues = vec![
            ForeignQueue::on(leaky, &["--fault", "never-return", "--fault-after", "1000000"])?,
            ForeignQueue::on(healthy, &["--export"])?,
            ForeignQueue::without_device(&nic.rx, LOOPBACK, &[])?,
        ];
        // Less than the area holds: the leak is under way, and nothing waits for the sender to try again.
        Traffic::start(&nic.tx, &leaky.listens(), 2 << 20, &[])?.finish(TRANSFER_LIMIT)?;
        Traffic::start(&nic.rx, &healthy.listens(), 4 << 20, &[])?.finish(TRANSFER_LIMIT)?;
        Traffic::start(&nic.rx, LOOPBACK, 1 << 19, &[])?.finish(TRANSFER_LIMIT)?;

        let daemon = Daemon::start(&nic.rx, &[])?;
        at_once(&daemon, &mut foreign_queues)?;
        listed(&nic.rx, &mut foreign_queues)?;
        under_traffic(&nic.rx, &mut foreign_queues[1], &daemon)?;
        foreign_queues[1].agrees_at_rest(&daemon)?;
        leave(daemon, foreign_queues)
    },
};

/// The same without a NIC, on kernels that it cannot be built for.
const WITHOUT_DEVICE: Scenario = Scenario {
    name: "nodev-before-zcrxd",
    about: "queues without a device that were there before zcrxd (one leaks, one is well) are shown at once, each figure \
            equal to the truth, under traffic within one batch",
    needs: &[Need::Guest, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 200,
    default: false,
    run: || {
        const LEAKY: &str = "127.0.0.1:9997";
        let host = Namespace::create()?;
        let mut foreign_queues = vec![
            ForeignQueue::without_device(
                &host,
                LEAKY,
                &["--fault", "never-return", "--fault-after", "100000"],
            )?,
            ForeignQueue::without_device(&host, LOOPBACK, &["--export"])?,
        ];
        Traffic::start(&host, LEAKY, 1 << 18, &[])?.finish(TRANSFER_LIMIT)?;
        Traffic::start(&host, LOOPBACK, 1 << 19, &[])?.finish(TRANSFER_LIMIT)?;
        let daemon = Daemon::start(&host, &[])?;
        at_once(&daemon, &mut foreign_queues)?;
        listed(&host, &mut foreign_queues)?;
        under_traffic(&host, &mut foreign_queues[1], &daemon)?;
        foreign_queues[1].agrees_at_rest(&daemon)?;
        leave(daemon, foreign_queues)
    },
};

/// The first sample shows all of them, as they are.
fn at_once(daemon: &Daemon<'_>, foreign_queues: &mut [ForeignQueue<'_>]) -> Result<()> {
    let first = daemon.metrics()?;
    if first.sum("zcrxd_snapshot_queues").is_none() {
        return Err(Skip("no snapshot can be taken here".to_owned()).into());
    }
    let (shown, there) = (first.of("zcrx_queue_info").count(), foreign_queues.len());
    ensure!(shown == there, "{shown} queues are shown when zcrxd is ready, and there are {there}");
    foreign_queues.iter_mut().try_for_each(|foreign_queue| foreign_queue.agrees_at_rest(daemon))
}

/// When the programs have gone, so have their queues.
fn leave(mut daemon: Daemon<'_>, foreign_queues: Vec<ForeignQueue<'_>>) -> Result<()> {
    for foreign_queue in foreign_queues {
        foreign_queue.program.quit()?;
    }
    daemon
        .until("all queues are gone", STEP_LIMIT, |metrics| metrics.of("zcrx_queue_info").next().is_none())?;
    daemon.stop().map(drop)
}

/// A program with a queue, and where it is.
pub(super) struct ForeignQueue<'a> {
    program: Foreign,
    namespace: &'a Namespace,
    /// The interface that its queue is of.
    end: Option<End<'a>>,
}

impl<'a> ForeignQueue<'a> {
    pub(super) fn on(end: End<'a>, further: &[&str]) -> Result<Self> {
        let (listen, queue) = (end.listens(), nic::QUEUE.to_string());
        let mut arguments = vec!["--interface", end.interface, "--queue", &queue, "--listen", &listen];
        arguments.extend(["--area-buffers", "1024"]);
        arguments.extend(further);
        let program = Foreign::start(end.namespace, &arguments)?;
        Ok(Self { program, namespace: end.namespace, end: Some(end) })
    }

    fn without_device(namespace: &'a Namespace, listen: &str, further: &[&str]) -> Result<Self> {
        let sizes = ["--area-buffers", "256", "--refill-entries", "128"];
        Self::without_device_of(namespace, listen, &[&sizes[..], further].concat())
    }

    /// One without a device, of the sizes that the arguments say.
    pub(super) fn without_device_of(
        namespace: &'a Namespace,
        listen: &str,
        further: &[&str],
    ) -> Result<Self> {
        let mut arguments = vec!["--listen", listen];
        arguments.extend(further);
        Ok(Self { program: Foreign::start(namespace, &arguments)?, namespace, end: None })
    }

    /// Lets it leave in good order.
    pub(super) fn leave(self) -> Result<()> {
        self.program.quit()
    }

    /// Kills it.
    pub(super) fn kill(self) -> Result<()> {
        self.program.kill()
    }

    /// Every figure is the truth, at a moment at which nothing moves: the program says the same before and after.
    pub(super) fn agrees_at_rest(&mut self, daemon: &Daemon<'_>) -> Result<()> {
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
        rested.with_context(|| format!("{:?}: {}", self.end, differences.join("; ")))
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
            ("zcrx_queue_owners", 1),
            ("zcrx_queue_areas", 1),
            ("zcrx_queue_area_buffers", own("buffers")?),
            ("zcrx_queue_refill_ring_capacity_entries", own("refill_entries")?),
            ("zcrx_queue_refill_ring_pending_entries", own("refill_pending")?),
            ("zcrx_queue_cq_capacity_entries", own("cq_entries")?),
            ("zcrx_queue_cq_unread_entries", unread),
            ("zcrx_queue_cq_overflows_total", own("cq_overflow")?),
            ("zcrx_queue_user_references", own("held")? + own("refill_pending")?),
            ("zcrx_queue_user_buffers", own("referenced_buffers")?),
        ];
        let mut differences = Vec::new();
        if let Some(posted) = posted {
            // Nothing is under way, so what is neither free nor with user space is posted to the NIC or in the page pool.
            expected.push(("zcrx_queue_kernel_buffers", posted + in_pool(metrics, truth)?));
            let inflight = inflight(self.namespace, metrics, truth)?;
            expected.push(("zcrx_queue_pool_inflight_buffers", inflight));
            expected.push(("zcrx_queue_free_buffers", own("buffers")? - inflight));
            expected.push(("zcrx_queue_unaccounted_buffers", 0));
        } else {
            let user = own("referenced_buffers")?;
            expected.push(("zcrx_queue_free_buffers", own("buffers")? - user));
        }
        for (metric, expected) in expected {
            let shown = figure(metrics, truth, metric)?;
            if shown != expected {
                differences.push(format!("{metric} is {shown} and should be {expected}"));
            }
        }
        differences.extend(self.wrong_identity(metrics, truth)?);
        Ok(differences)
    }

    /// Labels of its identity that are not what they should be.
    fn wrong_identity(&self, metrics: &Metrics, truth: &Value) -> Result<Vec<String>> {
        let info = identity(metrics, truth)?;
        let mut expected =
            vec![("comm", "faulty-app".to_owned()), ("zcrx_id", number(truth, "zcrx_id")?.to_string())];
        if let Some(end) = self.end {
            let netns = self.namespace.enter(|| {
                let file = File::open("/proc/thread-self/ns/net").context("cannot open a namespace")?;
                Ok(file.metadata().context("cannot read a namespace")?.ino())
            })?;
            expected.push(("netns", netns.to_string()));
            expected.push(("ifindex", end.ifindex()?.to_string()));
            expected.push(("interface", end.interface.to_owned()));
            expected.push(("queue", nic::QUEUE.to_string()));
        } else {
            expected.push(("interface", "software".to_owned()));
        }
        let wrong = expected.into_iter().filter(|(label, value)| !info.has(label, value));
        Ok(wrong.map(|(label, value)| format!("{label} should be {value}: {:?}", info.labels)).collect())
    }
}

/// What netlink says is in flight in the page pool that zcrxd says is this queue's.
pub(super) fn inflight(namespace: &Namespace, metrics: &Metrics, truth: &Value) -> Result<u64> {
    let id: u32 = identity(metrics, truth)?.label("page_pool").parse().context("no page pool")?;
    let pools = namespace.enter(page_pool::list)?.context("the kernel lists no page pools")?;
    let pool = pools.iter().find(|pool| pool.id == id);
    let pool = pool.with_context(|| format!("netlink knows no page pool {id}: {pools:?}"))?;
    pool.inflight.map(u64::from).context("netlink does not say what is in flight")
}

/// Buffers that wait in the page pool for the next allocation, as zcrxd shows them: in its cache, and in its ring.
pub(super) fn in_pool(metrics: &Metrics, truth: &Value) -> Result<u64> {
    let cache = figure(metrics, truth, "zcrx_queue_pool_cache_buffers")?;
    Ok(cache + figure(metrics, truth, "zcrx_queue_pool_ring_buffers")?)
}

/// The identity, as zcrxd shows it, of the queue whose owner said this.
pub(super) fn identity<'m>(metrics: &'m Metrics, truth: &Value) -> Result<&'m Sample> {
    metrics.one("zcrx_queue_info", &[("pid", &number(truth, "pid")?.to_string())])
}

/// A figure of that queue.
pub(super) fn figure(metrics: &Metrics, truth: &Value, name: &str) -> Result<u64> {
    let info = identity(metrics, truth)?;
    let place = [("interface", info.label("interface")), ("queue", info.label("queue"))];
    metrics.one(name, &place).map(Sample::count)
}

/// Whether the program did anything between two reports.
pub(super) fn moved(before: &Value, after: &Value) -> bool {
    ["delivered", "returned", "refill_head", "refill_tail", "cq_ready", "received_bytes"]
        .iter()
        .any(|name| before[name] != after[name])
}

/// `zcrxd queues` says the same.
fn listed(host: &Namespace, foreign_queues: &mut [ForeignQueue<'_>]) -> Result<()> {
    let mut command = host.command(program("zcrxd"));
    let text = output(command.args(["queues", "--format", "json"]))?;
    let list: Vec<Value> = serde_json::from_str(&text).context("`zcrxd queues` printed no list")?;
    ensure!(
        list.len() == foreign_queues.len(),
        "`zcrxd queues` lists {} of {}: {text}",
        list.len(),
        foreign_queues.len()
    );
    for foreign_queue in foreign_queues {
        let truth = foreign_queue.program.truth()?;
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
        // The NIC's own counts exist for interfaces of the namespace that zcrxd runs in.
        if let Some(end) = foreign_queue.end.filter(|end| end.interface == nic::RX) {
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
fn under_traffic(from: &Namespace, foreign_queue: &mut ForeignQueue<'_>, daemon: &Daemon<'_>) -> Result<()> {
    let listens = foreign_queue.end.map_or(LOOPBACK.to_owned(), End::listens);
    let traffic = Traffic::start(from, &listens, 32 << 20, &[])?;
    let (mut looks, mut amid) = (0, 0);
    while looks < 200 && amid < 10 {
        let before = foreign_queue.program.truth()?;
        let metrics = daemon.metrics()?;
        let after = foreign_queue.program.truth()?;
        looks += 1;
        amid += u32::from(moved(&before, &after));
        let early = |name| number(&before, name);
        let late = |name| number(&after, name);
        let bounds = [
            (
                "zcrx_queue_user_references",
                between(
                    early("delivered")?,
                    late("refill_head")?,
                    late("delivered")? + late("cq_ready")?,
                    early("refill_head")?,
                ),
            ),
            (
                "zcrx_queue_refill_ring_pending_entries",
                between(
                    early("refill_tail")?,
                    late("refill_head")?,
                    late("refill_tail")?,
                    early("refill_head")?,
                ),
            ),
        ];
        for (metric, bounds) in bounds {
            let shown = figure(&metrics, &after, metric)?;
            ensure!(
                bounds.contains(&shown),
                "{metric} is {shown}, outside {bounds:?}: {before} then {after}"
            );
        }
        let total = figure(&metrics, &after, "zcrx_queue_area_buffers")?;
        let free = figure(&metrics, &after, "zcrx_queue_free_buffers")?;
        ensure!(free <= total, "{free} of {total} buffers are free");
    }
    println!("{amid} of {looks} looks were amid traffic");
    ensure!(amid > 0, "no look came amid the traffic: this shows nothing");
    traffic.finish(TRANSFER_LIMIT).map(drop)
}

/// What lies between the least that came less the most that went, and the most that came less the least that went.
fn between(came_least: u64, went_most: u64, came_most: u64, went_least: u64) -> RangeInclusive<u64> {
    came_least.saturating_sub(went_most + REFILL_BATCH)..=came_most.saturating_sub(went_least)
}
