//! Queues and processes that come and go many times, under load.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::Foreign;
use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::program;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[CHURN];

const LIMIT: Duration = Duration::from_mins(2);

/// Lives in each half: on queues of the NIC, where each restarts a queue, and without a device.
const LIVES_ON_DEVICE: u32 = 150;
const LIVES_WITHOUT: u32 = 350;

/// Two queues in turn, beside the survivor's.
const ON_DEVICE: &[&str] = &["--interface", nic::RX, "--queue", "2", "--queues", "2"];

/// What the allocator of the daemon may keep more after the second half than after the first, bytes.
const RESIDENT_SLACK: u64 = 1 << 20;

/// A thousand lives.
const CHURN: Scenario = Scenario {
    name: "churn",
    about: "queues and their processes come and go 1000 times beside a transfer: every registration is counted, nothing of \
            the dead is shown, and the memory of zcrxd and of its maps stays flat",
    needs: &[Need::Guest, Need::Nodev, Need::Nic, Need::Btf],
    proves: &[],
    limit: 500,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let survivor =
            Foreign::start(&nic.rx, &["--interface", nic::RX, "--queue", &queue, "--listen", &listen])?;
        let mut daemon = Daemon::start(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &listen, 1 << 40, &[])?;

        // The first half warms up whatever keeps memory for later.
        let mut attempts = BTreeMap::new();
        let mut half = |daemon: &mut Daemon<'_>| -> Result<Footprint> {
            let carried = nic.stat("rx1_niov_bytes")?;
            churn(&nic, daemon, ON_DEVICE, LIVES_ON_DEVICE, &mut attempts)?;
            churn(&nic, daemon, &[], LIVES_WITHOUT, &mut attempts)?;
            let carried = nic.stat("rx1_niov_bytes")? - carried;
            ensure!(carried > 1 << 20, "no load: {carried} bytes crossed the wire meanwhile");
            Footprint::settled(daemon)
        };
        let first = half(&mut daemon)?;
        let second = half(&mut daemon)?;
        println!("{attempts:?}; then {first:?}, then {second:?}");
        ensure!(
            second.maps == first.maps,
            "maps and programs hold {} bytes, and held {}",
            second.maps,
            first.maps
        );
        ensure!(second.descriptors == first.descriptors, "descriptors: {first:?}, then {second:?}");
        ensure!(second.series == first.series, "series: {} and then {}", first.series, second.series);
        ensure!(
            second.resident <= first.resident + RESIDENT_SLACK,
            "resident memory grew from {} to {} bytes",
            first.resident,
            second.resident
        );
        ensure!(second.generation == first.generation, "the survivor got another generation");

        // zcrxd counts what the programs say they did.
        let metrics = daemon.metrics()?;
        let total: u64 = attempts.values().sum();
        let counted = metrics.count("zcrx_registrations_total")?;
        ensure!(counted == total, "{counted} registrations are counted, {total} were made: {attempts:?}");
        for (errno, made) in attempts.iter().filter(|(errno, _)| *errno != "0") {
            let counted = metrics.one("zcrx_registration_failures_total", &[("errno", errno)])?.count();
            ensure!(counted == *made, "{counted} failures with {errno} are counted, {made} were made");
        }
        let lost = metrics.count("zcrxd_probe_lost_events_total")?;
        ensure!(lost == 0, "{lost} events were lost");

        // A queue that comes now is a later life than all of them.
        let last =
            Foreign::start(&nic.rx, &["--interface", nic::RX, "--queue", "2", "--listen", "10.9.0.1:9998"])?;
        let metrics = daemon.until("the last queue is shown", LIMIT, |metrics| {
            metrics.one("zcrx_queue_generation", &[("queue", "2")]).is_ok()
        })?;
        let generation = metrics.one("zcrx_queue_generation", &[("queue", "2")])?.count();
        ensure!(generation > second.generation, "generation {generation} is no later than the survivor's");
        traffic.abandon()?;
        last.quit()?;
        survivor.quit()?;
        daemon.stop().map(drop)
    },
};

/// Has a program live and die so many times while zcrxd is scraped; adds up how its attempts ended.
fn churn(
    nic: &Nic,
    daemon: &mut Daemon<'_>,
    queue: &[&str],
    times: u32,
    attempts: &mut BTreeMap<String, u64>,
) -> Result<()> {
    let mut command = nic.rx.command(program("faulty-app"));
    command.args(["churn", "--area-buffers", "64", "--refill-entries", "64", "--cq-entries", "64"]);
    let mut process = Process::start("churn", command.args(queue).args(["--times", &times.to_string()]))?;
    let (mut scrapes, mut most) = (0, 0);
    while process.ended()?.is_none() {
        let shown = daemon.metrics()?.of("zcrx_queue_info").count();
        (scrapes, most) = (scrapes + 1, most.max(shown));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{times} lives, {scrapes} scrapes, at most {most} queues at once");
    let said: Value = serde_json::from_str(&process.finish(LIMIT)?).context("the churn said nothing")?;
    for (errno, count) in said["attempts"].as_object().context("no attempts")? {
        *attempts.entry(errno.clone()).or_default() += count.as_u64().context("a count is a number")?;
    }
    Ok(())
}

/// What zcrxd takes of its host, and shows, while only the survivor is left.
#[derive(Debug)]
struct Footprint {
    resident: u64,
    /// Of all maps and programs, as the kernel charges them.
    maps: u64,
    descriptors: usize,
    series: usize,
    /// The survivor's.
    generation: u64,
}

impl Footprint {
    /// Measures once nothing of the dead is shown any more.
    fn settled(daemon: &mut Daemon<'_>) -> Result<Self> {
        let metrics = daemon.until("nothing of the dead is shown", LIMIT, alone)?;
        let directory = format!("/proc/{}", daemon.process().id());
        let status = fs::read_to_string(format!("{directory}/status")).context("cannot read status")?;
        let resident = status.lines().find_map(|line| {
            let kilobytes = line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?;
            kilobytes.trim().parse::<u64>().ok()
        });
        let (mut maps, mut descriptors) = (0, 0);
        for entry in fs::read_dir(format!("{directory}/fdinfo")).context("cannot list descriptors")? {
            // A scrape's connection may be gone by now.
            let Ok(info) = fs::read_to_string(entry.context("cannot list descriptors")?.path()) else {
                continue;
            };
            let charged =
                info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse::<u64>().ok());
            maps += charged.unwrap_or(0);
            descriptors += usize::from(charged.is_some());
        }
        Ok(Self {
            resident: resident.context("no resident memory")? << 10,
            maps,
            descriptors,
            series: metrics.samples().iter().filter(|sample| lasts(&sample.name)).count(),
            generation: metrics.one("zcrx_queue_generation", &[])?.count(),
        })
    }
}

/// Whether a metric's series are as many whenever the same queues are there: not those that come and go with a problem
/// wrong, or with what was refused.
fn lasts(metric: &str) -> bool {
    ["zcrx_queue_", "zcrx_page_pool_", "zcrxd_probe_", "zcrxd_snapshot_", "process_"]
        .iter()
        .any(|prefix| metric.starts_with(prefix))
}

/// Whether the survivor's is the only queue of which anything is shown, and its pool the only provider's.
fn alone(metrics: &Metrics) -> bool {
    let survivor = nic::QUEUE.to_string();
    let about_queue = |name: &str| name.starts_with("zcrx_queue_") || name.starts_with("zcrx_queue_");
    let provided = metrics.of("zcrx_page_pool_info").filter(|pool| pool.has("provider", "true"));
    metrics
        .samples()
        .iter()
        .filter(|sample| about_queue(&sample.name))
        .all(|sample| sample.has("queue", &survivor))
        && metrics.of("zcrx_queue_info").count() == 1
        && provided.count() <= 1
        && metrics.sum("zcrxd_snapshot_queues") == Some(1.0)
}
