mod golden;
mod many;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Format, declarations, reference};
use crate::diagnose::{Answer, HostOutlook, Starvation, outlook};
use crate::model::{BackendKind, PagePoolCount};
use crate::observe::Observation;
use crate::observe::fixture::{bare, full, queue};

type Outcome = Result<(), Box<dyn Error>>;

/// The scrape of a host without a diagnosis.
fn render(observation: &Observation) -> String {
    scrape(observation, &HostOutlook::default())
}

fn scrape(observation: &Observation, outlook: &HostOutlook) -> String {
    super::render(observation, outlook, Format::Text, &[])
}

/// The families of a text, by their TYPE lines.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    types.map(str::to_owned).collect()
}

fn names(observation: &Observation, outlook: &HostOutlook) -> BTreeSet<String> {
    families(&scrape(observation, outlook))
}

/// The names of metrics that only requests by name get.
fn on_request() -> Vec<String> {
    let on_request = |line: &str| line.contains("| *on request*");
    let lines = reference();
    let rows = lines.lines().filter(|line| on_request(line));
    rows.filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect()
}

/// The names in the first column of the reference's tables.
fn documented() -> BTreeSet<String> {
    reference()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

fn lines_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .collect()
}

#[test]
fn reference_is_current() -> Outcome {
    for (name, text) in
        [("docs/metrics.md", reference()), ("dashboards/generator/metrics.json", declarations())]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            std::fs::write(&path, &text)?;
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{name} differs from the tables: names and labels are a contract with users. If the change is intended: \
             cargo xtask regenerate"
        );
    }
    Ok(())
}

#[test]
fn documented_metrics_are_the_exported_ones() {
    let mut exported = names(&full(), &outlook());
    let requested = super::render(&full(), &outlook(), Format::Text, &on_request());
    exported.extend(families(&requested));
    assert_eq!(exported, documented());
}

#[test]
fn name_filter_selects_families() {
    let requested = ["zcrxd_build_info", "zcrxd_probe_map_entries", "zcrx_no_such"].map(str::to_owned);
    let text = super::render(&full(), &outlook(), Format::Text, &requested);
    assert_eq!(families(&text), ["zcrxd_build_info", "zcrxd_probe_map_entries"].map(str::to_owned).into());
    assert!(lines_of(&render(&full()), "zcrxd_probe_map_entries").is_empty(), "only on request");
}

/// The rules for HELP texts: each makes sense alone, in plain words, and is short enough for a tooltip.
#[test]
fn help_texts_follow_the_style_guide() {
    let text = scrape(&full(), &outlook());
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap_or_default();
        assert!(help.len() <= 130, "{name}: {} characters: {help}", help.len());
        assert!(
            help.ends_with('.') && help.chars().next().is_some_and(char::is_alphanumeric)
                || help.starts_with("zcrx"),
            "{name}: {help}"
        );
        for unclear in [
            "Of these",
            "Of it",
            "The same",
            "such a map",
            "whoever",
            "for want of",
            "told",
            "anew",
            "of late",
        ] {
            assert!(!help.contains(unclear), "{name}: \"{unclear}\" in: {help}");
        }
        for (unit, word) in [
            ("_bytes", "byte"),
            ("_seconds", "second"),
            ("_bytes_total", "byte"),
            ("_seconds_total", "second"),
        ] {
            assert!(
                !name.ends_with(unit) || help.contains(word),
                "{name}: HELP does not say the unit: {help}"
            );
        }
    }
}

/// A counter that is added to at the end of an interval shows no rate while the interval lasts.
#[test]
fn counters_of_time_include_the_running_interval() -> Outcome {
    let value = |at: u64| -> Result<f64, Box<dyn Error>> {
        let mut observation = full();
        observation.host.queues[0].at = Duration::from_millis(at);
        let text = render(&observation);
        let line = lines_of(&text, "zcrx_queue_starved_seconds_total").concat();
        Ok(line.split(' ').next_back().ok_or("no value")?.parse()?)
    };
    let (before, after) = (value(1_000_000)?, value(1_060_000)?);
    assert!((after - before - 60.0).abs() < 1e-6, "{before} {after}: a queue that starves for 60 s");
    // Read a moment before the starvation began: no time, and no panic.
    assert!((value(1)? - 1.5).abs() < 1e-6);
    Ok(())
}

#[test]
fn moments_are_unix_times() {
    let text = render(&full());
    // 2.6 s before the sample at 1000 s, which was taken at 1 790 000 000 s.
    assert_eq!(
        lines_of(&text, "zcrx_queue_last_allocation_timestamp_seconds"),
        [r#"zcrx_queue_last_allocation_timestamp_seconds{interface="eth0",queue="7"} 1789999997.4"#]
    );
}

#[test]
fn openmetrics_has_units_infos_and_an_end() {
    let text = super::render(&full(), &outlook(), Format::OpenMetrics, &[]);
    for line in [
        "# TYPE zcrx_queue_received_bytes counter",
        "# UNIT zcrx_queue_received_bytes bytes",
        r#"zcrx_queue_received_bytes_total{interface="eth0",queue="7"} 123000000"#,
        "# TYPE zcrxd_build info",
        "# UNIT zcrx_queue_headroom_ratio ratio",
        r#"zcrx_queue_residence_seconds_bucket{interface="eth0",queue="7",le="1.0"} 1"#,
        r#"zcrx_queue_residence_seconds_bucket{interface="eth0",queue="7",le="+Inf"} 6"#,
    ] {
        assert!(text.lines().any(|written| written == line), "missing: {line}\nin:\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

/// The work per queue must not grow with the number of queues: counted in comparisons with other series, since a time
/// depends on the load of the machine.
#[test]
fn scrape_of_many_queues_is_linear() {
    let comparisons = |queues: u32| {
        let mut observation = full();
        let template = observation.host.queues[0].clone();
        observation.host.queues = (0..queues)
            .map(|queue| {
                let mut sample = template.clone();
                sample.key.queue = queue;
                sample
            })
            .collect();
        super::series::COMPARISONS.set(0);
        render(&observation);
        super::series::COMPARISONS.get()
    };
    let (few, many) = (comparisons(10), comparisons(110));
    let each = (many - few) / 100;
    assert!(each <= 10, "{each} comparisons for each queue more");
    assert_eq!(comparisons(210) - many, 100 * each, "each queue costs as much as the one before");
}

#[test]
fn unknown_values_are_absent_series() {
    let known = names(&bare(), &HostOutlook::default());
    let expected = [
        "zcrxd_build_info",
        "zcrxd_kernel_info",
        "zcrxd_web_connections",
        "zcrxd_web_accepted_connections_total",
        "zcrxd_web_evicted_connections_total",
        "zcrxd_log_dropped_lines_total",
        "zcrxd_log_suppressed_lines_total",
        "zcrxd_web_failed_tls_handshakes_total",
        "zcrxd_web_unauthorized_requests_total",
    ];
    assert_eq!(known, expected.map(str::to_owned).into());
}

#[test]
fn device_queue_has_no_allocator_figures() {
    let mut observation = full();
    let queue = &mut observation.host.receive[0];
    queue.selection.backend = Some(BackendKind::Device);
    queue.starvations = None;
    queue.starving = None;
    queue.copied_bytes = None;
    queue.sink = "discard".to_owned();
    let text = render(&observation);
    for absent in ["starvations_total", "starving", "copied_bytes_total", "verified_bytes_total"] {
        assert!(lines_of(&text, &format!("zcrxd_receiver_{absent}")).is_empty(), "{absent} is exported");
    }
}

#[test]
fn values_and_labels_follow_the_sample() {
    let text = scrape(&full(), &outlook());
    for line in [
        r#"zcrxd_receiver_received_bytes_total{interface="eth0",queue="3"} 123456789"#,
        r#"zcrxd_receiver_held_buffers{interface="eth0",queue="3"} 100"#,
        r#"zcrxd_receiver_receive_errors_total{interface="eth0",queue="3",errno="ENOSPC"} 2"#,
        r#"zcrxd_receiver_state{interface="eth0",queue="3",state="degraded"} 1"#,
        r#"zcrxd_receiver_state{interface="eth0",queue="3",state="failed"} 0"#,
        r#"zcrxd_receiver_backend_refused_info{interface="eth0",queue="3",backend="device",errno="EOPNOTSUPP"} 1"#,
        r#"zcrxd_receiver_backend_refused_info{interface="eth0",queue="3",backend="nodev"} 1"#,
        "zcrx_registrations_total 4",
        r#"zcrx_registration_failures_total{errno="EINVAL"} 2"#,
        r#"zcrxd_probe_info{probe="registration",state="attached",mechanism="tp_btf"} 1"#,
        r#"zcrxd_probe_info{probe="page_pool",state="refused"} 1"#,
        r#"zcrx_page_pool_holds_total{interface="eth0",page_pool="17"} 16384"#,
        "process_cpu_seconds_total 1.25",
        r#"zcrx_queue_refill_ring_pending_entries{interface="eth0",queue="7"} 105"#,
        r#"zcrx_queue_kernel_buffers{interface="eth0",queue="7"} 148"#,
        r#"zcrx_queue_unaccounted_buffers{interface="eth0",queue="7"} 3"#,
        r#"zcrx_queue_starving_seconds{interface="eth0",queue="7"} 2.5"#,
        r#"zcrx_queue_starved_seconds_total{interface="eth0",queue="7"} 4"#,
        r#"zcrx_queue_owners{interface="eth0",queue="7"} 2"#,
        "zcrxd_snapshot_duration_seconds 0.001",
        "zcrxd_snapshot_incomplete_reasons 1",
        r#"zcrx_queue_episode_active{interface="eth0",queue="7"} 1"#,
        r#"zcrx_queue_alarm_duration_seconds{interface="eth0",queue="7",alarm="starving"} 2.5"#,
        r#"zcrx_queue_cause_contribution_ratio{interface="eth0",queue="7",cause="slow_consumer"} 0.9"#,
        r#"zcrx_queue_time_to_starvation_seconds{interface="eth0",queue="7"} 30"#,
        r#"zcrx_queue_recommended_refill_entries{interface="eth0",queue="7"} 4096"#,
        r#"zcrx_queue_episodes_total{interface="eth0",queue="7",cause="slow_consumer"} 1"#,
        r#"zcrx_queue_episodes_total{interface="eth0",queue="7",cause="unknown"} 0"#,
        r#"zcrx_queue_episode_seconds_total{interface="eth0",queue="7"} 10"#,
        r#"zcrx_queue_alarm_seconds_total{interface="eth0",queue="7",alarm="starving"} 10"#,
        r#"zcrx_queue_alarm_seconds_total{interface="eth0",queue="7",alarm="pinned"} 0"#,
        r#"zcrx_queue_cause_confidence{interface="eth0",queue="7",cause="slow_consumer"} 3"#,
        "zcrxd_diagnosis_timestamp_seconds 1790000000",
    ] {
        assert!(text.lines().any(|exported| exported == line), "missing: {line}\nin:\n{text}");
    }
}

#[test]
fn callers_without_privileges_are_in_no_label() {
    let mut observation = full();
    let registrations = &mut observation.host.probe.recent_registrations;
    let mut attempt = registrations[0].clone();
    (attempt.unprivileged, attempt.errno, attempt.comm) = (true, libc::EPERM, "intruder".to_owned());
    registrations.push(attempt);
    let text = render(&observation);
    assert!(!text.contains("intruder"), "{text}");
    assert!(text.contains("\nzcrx_last_registration_info{"), "the attempt before it is shown");
}

#[test]
fn unreadable_figures_of_a_queue_are_absent() {
    let mut observation = full();
    let kernel = observation.host.queues[0].kernel_mut().expect("the kernel's view");
    kernel.areas[0].user_references = None;
    kernel.areas[0].user_buffers = None;
    kernel.pool = None;
    kernel.allocation = None;
    let partly = names(&observation, &HostOutlook::default());
    for absent in
        ["user_references", "kernel_buffers", "unaccounted_buffers", "starving", "allocations_total"]
    {
        assert!(!partly.contains(&format!("zcrx_queue_{absent}")), "{absent} is exported");
    }
    assert!(partly.contains("zcrx_queue_free_buffers"));
    observation.host.queues[0].kernel_mut().expect("the kernel's view").areas.clear();
    let less = names(&observation, &HostOutlook::default());
    for absent in ["area_buffers", "free_buffers", "user_buffers", "user_references"] {
        assert!(!less.contains(&format!("zcrx_queue_{absent}")), "{absent} is exported");
    }
}

#[test]
fn queue_without_alarm_has_no_causes() {
    let mut calm = outlook();
    let queue = &mut calm.queues[0];
    queue.diagnosis.alarms.clear();
    queue.episode = None;
    queue.forecast.starvation = Answer::Known(Starvation::NotAtThisRate);
    queue.forecast.sizes = Answer::Unknown("watched for 1 s only".to_owned());
    let text = scrape(&full(), &calm);
    for (name, value) in [("episode_active", "0"), ("time_to_starvation_seconds", "+Inf")] {
        let line = format!(r#"zcrx_queue_{name}{{interface="eth0",queue="7"}} {value}"#);
        assert!(text.lines().any(|exported| exported == line), "missing: {line}");
    }
    let exported = names(&full(), &calm);
    for absent in ["alarm", "cause_contribution_ratio", "recommended_area_buffers"] {
        assert!(!exported.contains(&format!("zcrx_queue_{absent}")), "{absent} is exported");
    }
}

#[test]
fn queue_without_device_is_called_software() {
    let mut observation = full();
    observation.host.receive[0].key.interface = None;
    let text = render(&observation);
    assert_eq!(
        lines_of(&text, "zcrxd_receiver_connections"),
        [r#"zcrxd_receiver_connections{interface="software",queue="3"} 2"#]
    );
}

#[test]
fn series_with_equal_labels_are_merged() {
    let unknown =
        |held| PagePoolCount { id: None, ifindex: None, interface: None, provider: None, held, released: 0 };
    let mut observation = bare();
    observation.host.probe.page_pools = Some(vec![unknown(3), unknown(4)]);
    let text = render(&observation);
    assert_eq!(lines_of(&text, "zcrx_page_pool_holds_total"), ["zcrx_page_pool_holds_total 7"]);
    assert_eq!(lines_of(&text, "zcrx_page_pool_info"), ["zcrx_page_pool_info 1"]);
}

#[test]
fn two_queues_are_two_series_of_one_family() {
    let mut observation = full();
    let mut second = queue();
    second.key.queue = 4;
    observation.host.receive.push(second);
    let text = render(&observation);
    assert_eq!(text.matches("# TYPE zcrxd_receiver_received_bytes_total counter").count(), 1);
    assert_eq!(lines_of(&text, "zcrxd_receiver_received_bytes_total").len(), 2);
}

#[test]
fn promtool_accepts_a_scrape() -> Outcome {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        println!(
            "skipped: promtool is not installed (Debian: apt-get install prometheus, or promtool from trixie on)"
        );
        return Ok(());
    };
    promtool.stdin.take().ok_or("no standard input")?.write_all(scrape(&full(), &outlook()).as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}
