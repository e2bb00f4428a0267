//! The promtool test of healthy hosts: one for each kernel of `docs/kernels.md`, with each series that an alert reads. No alert
//! fires or is pending at any time.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::contract::Contract;
use xtask_tools::workspace::root;

/// Path of the test in the repository.
pub(crate) const FILE: &str = "deploy/prometheus/tests/healthy.yml";

const KERNELS: &str = "docs/kernels.md";

/// The alarm of the test's last host, which shows that the tests of the others can fail.
const STARVED: &str = "starving";

/// The counter with a series for each kind of alarm.
const ALARMS: &str = "zcrx_queue_alarm_seconds_total";

const HEAD: &str = "\
# Written by `cargo xtask regenerate` from docs/kernels.md and dashboards/generator/src/rules/healthy.rs.
# A healthy host of each kernel, with a receiver of zcrxd and, where the kernel has zcrx, a queue of another process: it has
# each series that an alert reads. No alert fires or is pending within an hour. The last host has a starved queue.
rule_files: [../alerts.yml, ../recording.yml]
evaluation_interval: 30s
group_eval_order: [zcrx-state, zcrx-recording, zcrx-symptoms, zcrx-causes, zcrx-watcher]
tests:
";

/// Whose series a row has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Host,
    /// zcrxd's queue.
    Receiver,
    /// zcrxd's queue, and that of another process.
    Queues,
}

/// A series of a healthy host.
struct Row {
    of: Of,
    name: &'static str,
    /// Further labels.
    labels: &'static str,
    /// Values as promtool writes them, for an hour.
    values: &'static str,
    /// Probe without which there is no such series; empty if it needs none.
    probe: &'static str,
}

const fn row(of: Of, name: &'static str, labels: &'static str, values: &'static str) -> Row {
    Row { of, name, labels, values, probe: "" }
}

const fn with_probe(
    of: Of,
    name: &'static str,
    labels: &'static str,
    values: &'static str,
    probe: &'static str,
) -> Row {
    Row { of, name, labels, values, probe }
}

/// Every series that alerts read, except alarms and states of probes.
const ROWS: &[Row] = &[
    row(Of::Host, "up", "", "1x120"),
    row(Of::Host, "zcrxd_build_info", r#"version="1.0.0""#, "1x120"),
    row(Of::Host, "process_start_time_seconds", "", "1x120"),
    row(Of::Host, "process_open_fds", "", "40x120"),
    row(Of::Host, "process_max_fds", "", "1024x120"),
    row(Of::Host, "zcrxd_diagnosis_timestamp_seconds", "", "0+30x120"),
    row(Of::Host, "zcrxd_snapshot_incomplete_reasons", "", "0x120"),
    row(Of::Host, "zcrxd_thread_responsive", r#"thread="sampler""#, "1x120"),
    row(Of::Host, "zcrxd_config_last_reload_successful", "", "1x120"),
    row(Of::Host, "zcrxd_web_config_last_reload_successful", "", "1x120"),
    row(Of::Host, "zcrxd_web_evicted_connections_total", "", "0x120"),
    row(Of::Host, "zcrxd_collector_duration_seconds", r#"collector="probe""#, "0.02x120"),
    row(Of::Host, "zcrxd_web_certificate_not_before_timestamp_seconds", r#"certificate="server""#, "0x120"),
    row(
        Of::Host,
        "zcrxd_web_certificate_not_after_timestamp_seconds",
        r#"certificate="server""#,
        "7776000x120",
    ),
    row(Of::Host, "zcrxd_probe_lost_events_total", r#"loss="queue_event""#, "0x120"),
    // A program that asks for what it cannot have, once, and a user without privileges who does so ten times a second.
    with_probe(Of::Host, "zcrx_registrations_total", "", "2+300x120", "registration"),
    with_probe(Of::Host, "zcrx_registration_failures_total", r#"errno="EINVAL""#, "1x120", "registration"),
    with_probe(
        Of::Host,
        "zcrx_registration_failures_total",
        r#"errno="EPERM""#,
        "_x40 300+300x80",
        "registration",
    ),
    row(Of::Receiver, "zcrxd_receiver_state", r#"state="running""#, "1x120"),
    row(Of::Receiver, "zcrxd_receiver_state", r#"state="degraded""#, "0x120"),
    row(Of::Receiver, "zcrxd_receiver_state", r#"state="failed""#, "0x120"),
    row(Of::Receiver, "zcrxd_receiver_mismatched_bytes_total", "", "0x120"),
    row(Of::Receiver, "zcrxd_receiver_accepted_connections_total", "", "9+1x120"),
    // Peers of a sink leave.
    row(Of::Receiver, "zcrxd_receiver_sink_errors_total", r#"errno="EPIPE""#, "0+5x120"),
    row(Of::Receiver, "zcrxd_receiver_received_bytes_total", "", "0+3000000x120"),
    row(Of::Receiver, "zcrxd_receiver_copied_bytes_total", "", "0+1000x120"),
    row(Of::Queues, "zcrx_queue_time_to_starvation_seconds", "", "86400x120"),
    row(Of::Queues, "zcrx_queue_episodes_total", r#"cause="slow_consumer""#, "1x120"),
    with_probe(Of::Queues, "zcrx_queue_received_bytes_total", "", "0+3000000x120", "delivery"),
    with_probe(Of::Queues, "zcrx_queue_copied_bytes_total", "", "0+1000x120", "copy"),
];

/// One kernel of the matrix.
struct Kernel {
    name: String,
    /// Names of probes, with the way each is attached; `no` where the kernel has no such function.
    probes: Vec<(String, String)>,
}

impl Kernel {
    fn has(&self, probe: &str) -> bool {
        probe.is_empty() || self.probes.iter().any(|(name, state)| name == probe && state != "no")
    }

    /// The receiver, and the queue of another process where the kernel has zcrx.
    fn queues(&self) -> Vec<&'static str> {
        if self.has("snapshot") {
            vec![r#"interface="eth0",queue="3""#, r#"interface="eth0",queue="4""#]
        } else {
            vec![r#"interface="software",queue="0""#]
        }
    }
}

/// Every kernel of the matrix.
fn kernels(text: &str) -> Result<Vec<Kernel>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    // The table ends with an empty line; those after it are of other architectures.
    let table = text.lines().skip_while(|line| !line.starts_with("| |")).take_while(|line| !line.is_empty());
    let head = table.clone().next().context("there is no table")?;
    let mut kernels: Vec<_> =
        cells(head).into_iter().skip(1).map(|name| Kernel { name, probes: Vec::new() }).collect();
    for line in table {
        let Some((probe, states)) = line.strip_prefix("| probe `").and_then(|rest| rest.split_once("` |"))
        else {
            continue;
        };
        let states = cells(states);
        ensure!(states.len() == kernels.len(), "{line}: {} cells", states.len());
        for (kernel, state) in kernels.iter_mut().zip(states) {
            kernel.probes.push((probe.to_owned(), state));
        }
    }
    ensure!(kernels.iter().all(|kernel| !kernel.probes.is_empty()), "the table has no probes");
    Ok(kernels)
}

/// The file of the test.
pub(crate) fn file(contract: &Contract) -> Result<String> {
    let text = std::fs::read_to_string(root().join(KERNELS)).context("cannot read docs/kernels.md")?;
    let kernels = kernels(&text).context(KERNELS)?;
    let alarms = &contract.metrics.get(ALARMS).context("there are no alarms")?.values;
    let mut file = HEAD.to_owned();
    for kernel in &kernels {
        file += &host(kernel, alarms, None);
    }
    file += &host(&kernels[0], alarms, Some(STARVED));
    Ok(file)
}

/// The test of one host; `alarm` is what one of its queues has.
fn host(kernel: &Kernel, alarms: &BTreeSet<String>, alarm: Option<&str>) -> String {
    let what = if alarm.is_some() { "a starved queue" } else { "healthy" };
    let mut text =
        format!("  - name: \"Linux {}: {what}\"\n    interval: 30s\n    input_series:\n", kernel.name);
    let mut add = |name: &str, labels: &[&str], values: &str| {
        let labels: Vec<_> = [r#"job="zcrxd",instance="a:9965""#]
            .iter()
            .chain(labels)
            .filter(|it| !it.is_empty())
            .copied()
            .collect();
        // Writing to a String cannot fail.
        writeln!(text, "      - series: '{name}{{{}}}'\n        values: \"{values}\"", labels.join(",")).ok();
    };
    for (probe, mechanism) in &kernel.probes {
        let state = match (probe.as_str(), mechanism.as_str()) {
            ("residence", _) => r#"state="not_requested""#.to_owned(),
            (_, "no") => r#"state="not_in_kernel""#.to_owned(),
            _ => format!("state=\"attached\",mechanism=\"{mechanism}\""),
        };
        add("zcrxd_probe_info", &[&format!("probe=\"{probe}\""), &state], "1x120");
    }
    let queues = kernel.queues();
    let backend = if kernel.has("snapshot") { "device" } else { "copy" };
    add("zcrxd_receiver_info", &[queues[0], &format!("backend=\"{backend}\",sink=\"discard\"")], "1x120");
    for row in ROWS.iter().filter(|row| kernel.has(row.probe)) {
        let of = match row.of {
            Of::Host => &[""][..],
            Of::Receiver => &queues[..1],
            Of::Queues => &queues,
        };
        for queue in of {
            add(row.name, &[queue, row.labels], row.values);
        }
    }
    for queue in &queues {
        for name in alarms {
            let has = alarm == Some(name) && *queue == queues[0];
            let values = if has { "0x60 30+30x60" } else { "0x120" };
            add(ALARMS, &[queue, &format!("alarm=\"{name}\"")], values);
        }
    }
    text += "    promql_expr_test:\n      - expr: \"count by (alertname) (max_over_time(ALERTS[1h]))\"\n        eval_time: 1h\n";
    text += match alarm {
        None => "        exp_samples: []\n",
        Some(_) => {
            "        exp_samples:\n          - labels: '{alertname=\"ZcrxQueueStarving\"}'\n            value: 1\n"
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Parameters;
    use crate::promql::analyse;
    use crate::rules::{alerts, recorded};

    #[test]
    fn healthy_hosts_have_each_series_that_an_alert_reads() -> Result<()> {
        let contract = Contract::read()?;
        let recorded = recorded(&contract)?;
        let there_are: BTreeSet<_> = ROWS
            .iter()
            .map(|row| row.name)
            .chain([ALARMS, "zcrxd_probe_info", "zcrxd_receiver_info"])
            .collect();
        for alert in alerts(&Parameters::default()) {
            for selector in analyse(&alert.query, &contract, &recorded)?.selectors {
                let name = selector.series.as_str();
                assert!(
                    there_are.contains(name) || recorded.contains_key(name),
                    "{} reads {name}, which the healthy hosts of {FILE} do not have",
                    alert.name
                );
            }
        }
        Ok(())
    }

    #[test]
    fn kernels_and_their_probes_are_read_from_the_matrix() -> Result<()> {
        let text = "| | 7.3 | 6.12 |\n|---|---|---|\n| probe `snapshot` | iterator | no |\n| `boot` | passed | passed |\n";
        let kernels = kernels(text)?;
        assert_eq!(kernels.iter().map(|kernel| kernel.name.as_str()).collect::<Vec<_>>(), ["7.3", "6.12"]);
        assert!(kernels[0].has("snapshot") && !kernels[1].has("snapshot") && kernels[1].has(""));
        assert!(super::kernels("| | 7.3 |\n").is_err(), "no probes");
        Ok(())
    }
}
