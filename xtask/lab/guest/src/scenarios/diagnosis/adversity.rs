//! What other programs of the host do in great numbers: attempts without privileges, and descriptors. None of it hides a
//! queue or a refusal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::view_random::SharedQueue;
use crate::harness::daemon::Daemon;
use crate::harness::metrics::{Metrics, Sample};
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::Scenario;
use crate::harness::{STEP_LIMIT, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[REFUSALS, DESCRIPTORS];

/// Attempts without privileges.
const ATTEMPTS: u64 = 20_000;
/// Of those of one user, how many are listed at most.
const MOST_LISTED: usize = 4;
/// Descriptors of one ring.
const DESCRIPTOR_COUNT: u32 = 10_000;
/// Samples of a host with many files take time under emulation.
const LIMIT: Duration = Duration::from_mins(3);

const REFUSALS: Scenario = Scenario {
    name: "unprivileged-flood",
    about: "a program without CAP_NET_ADMIN asks 20,000 times for a queue: each attempt is counted, no event is lost, and the refusal \
            of a privileged program stays listed and is the last one in the metrics",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut daemon = Daemon::start(&nic.rx, &[])?;
        let refused = |metrics: &Metrics, errno| {
            metrics.one("zcrx_registration_failures_total", &[("errno", errno)]).map_or(0, Sample::count)
        };
        let genuine = register(&nic.rx, &["--queue", "99"])?;
        ensure!(genuine == "ERANGE", "the kernel answered {genuine}");
        let again = (ATTEMPTS - 1).to_string();
        let flood = register(&nic.rx, &["--queue", "1", "--without", "CAP_NET_ADMIN", "--again", &again])?;
        ensure!(flood == "EPERM", "the kernel answered {flood}");
        let metrics = daemon.until("each attempt is counted", STEP_LIMIT, |metrics| {
            refused(metrics, "EPERM") == ATTEMPTS && refused(metrics, "ERANGE") == 1
        })?;
        let last = metrics.one("zcrx_last_registration_info", &[])?;
        ensure!(last.has("errno", "ERANGE") && last.has("queue", "99"), "{:?}", last.labels);
        for sample in metrics.of("zcrxd_probe_lost_events_total") {
            ensure!(sample.count() == 0, "events are lost: {sample:?}");
        }
        let page = daemon.page("/")?;
        let (_, table) = page.split_once("Registrations of interface queues").context("no registrations")?;
        let (_, table) = table.split_once("<tbody>").context("no table of registrations")?;
        let rows = table.split_once("</tbody>").context("the table has no end")?.0;
        ensure!(rows.contains("rx queue index out of range"), "the genuine refusal is not listed: {rows}");
        let listed = rows.matches(">EPERM<").count();
        ensure!(
            (1..=MOST_LISTED).contains(&listed),
            "{listed} attempts without privileges are listed: {rows}"
        );
        daemon.stop().map(drop)
    },
};

const DESCRIPTORS: Scenario = Scenario {
    name: "many-descriptors",
    about: "a program duplicates a ring 10,000 times, before zcrxd starts and again while it runs: no queue of other programs is hidden",
    needs: &[Need::Guest, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 600,
    default: false,
    run: || {
        let host = Namespace::create()?;
        let mut queues = ["127.0.0.1:9700", "127.0.0.1:9710", "127.0.0.1:9720"]
            .into_iter()
            .map(|listen| SharedQueue::without_device(&host, listen, &[]))
            .collect::<Result<Vec<_>>>()?;
        for round in ["before zcrxd starts", "while zcrxd runs"] {
            queues[0].duplicate(DESCRIPTOR_COUNT)?;
            let daemon = Daemon::start(&host, &[])?;
            queues[0].fork()?;
            for queue in &mut queues {
                queue.agrees_within(&daemon, LIMIT).context(round)?;
            }
            let metrics = daemon.metrics()?;
            let incomplete = metrics.need("zcrxd_snapshot_incomplete_reasons")?;
            ensure!(incomplete == 0.0, "a sample is incomplete {round}");
            queues[0].end_child()?;
            daemon.stop()?;
        }
        queues.into_iter().try_for_each(SharedQueue::leave)
    },
};

/// Lets another process register; the errno's name, empty for a success.
fn register(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let mut command = namespace.command(program("faulty-app"));
    let output = command.args(["register", "--interface", nic::RX]).args(arguments).output();
    let output = output.context("cannot run a foreign program")?;
    let answered: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(answered["name"].as_str().unwrap_or_default().to_owned())
}
