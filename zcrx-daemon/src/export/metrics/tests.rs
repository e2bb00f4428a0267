use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::reference;
use crate::diagnose::{Answer, HostDiagnosis, Starvation, troubled};
use crate::model::{BackendKind, PagePoolCount};
use crate::observe::Observation;
use crate::observe::fixture::{bare, full, queue};

type Outcome = Result<(), Box<dyn Error>>;

/// The scrape of a host of which nothing is diagnosed.
fn render(observation: &Observation) -> Result<String, prometheus::Error> {
    super::render(observation, &HostDiagnosis::default())
}

fn names(observation: &Observation, diagnosis: &HostDiagnosis) -> BTreeSet<String> {
    super::families(observation, diagnosis).iter().map(|family| family.name().to_owned()).collect()
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("ZCRXD_BLESS").is_some() {
        std::fs::write(&path, reference())?;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == reference(),
        "docs/metrics.md is not what the tables say: names and labels are a contract with users. If the change is \
         meant, regenerate: cargo xtask regenerate"
    );
    Ok(())
}

#[test]
fn everything_documented_is_exported_and_the_reverse() {
    assert_eq!(names(&full(), &troubled()), documented());
}

#[test]
fn what_is_unknown_is_absent() {
    let known = names(&bare(), &HostDiagnosis::default());
    let expected = [
        "zcrx_build_info",
        "zcrx_kernel_info",
        "zcrx_web_connections",
        "zcrx_web_connections_accepted_total",
        "zcrx_web_connections_evicted_total",
        "zcrx_log_lines_suppressed_total",
        "zcrx_web_tls_handshakes_failed_total",
        "zcrx_web_unauthorized_total",
    ];
    assert_eq!(known, expected.map(str::to_owned).into());
}

#[test]
fn a_device_queue_has_no_allocator_figures() -> Outcome {
    let mut observation = full();
    let queue = &mut observation.host.receive[0];
    queue.selection.backend = Some(BackendKind::Device);
    queue.starvations = None;
    queue.starving = None;
    queue.copied_bytes = None;
    queue.sink = "discard".to_owned();
    let text = render(&observation)?;
    for absent in ["starvations_total", "starving", "copied_bytes_total", "verified_bytes_total"] {
        assert!(lines_of(&text, &format!("zcrx_receive_{absent}")).is_empty(), "{absent} is exported");
    }
    Ok(())
}

#[test]
fn values_and_labels_are_those_of_the_sample() -> Outcome {
    let text = super::render(&full(), &troubled())?;
    for line in [
        r#"zcrx_receive_bytes_total{interface="eth0",queue="3"} 123456789"#,
        r#"zcrx_receive_buffers_held{interface="eth0",queue="3"} 100"#,
        r#"zcrx_receive_errors_total{interface="eth0",queue="3",errno="ENOSPC"} 2"#,
        r#"zcrx_receive_state{interface="eth0",queue="3",state="degraded"} 1"#,
        r#"zcrx_receive_state{interface="eth0",queue="3",state="failed"} 0"#,
        r#"zcrx_receive_backend_refused_info{interface="eth0",queue="3",backend="device",errno="EOPNOTSUPP"} 1"#,
        r#"zcrx_receive_backend_refused_info{interface="eth0",queue="3",backend="nodev"} 1"#,
        "zcrx_registrations_total 5",
        r#"zcrx_registration_failures_total{errno="EINVAL"} 2"#,
        r#"zcrx_probe_attached{probe="registration",mechanism="fexit"} 0"#,
        r#"zcrx_probe_attached{probe="registration",mechanism="tp_btf"} 1"#,
        r#"zcrx_probe_attached{probe="page_pool"} 0"#,
        r#"zcrx_page_pool_holds_total{interface="eth0",page_pool="17"} 16384"#,
        "process_cpu_seconds_total 1.25",
        r#"zcrx_ifq_refill_ring_pending{interface="eth0",queue="7"} 105"#,
        r#"zcrx_ifq_kernel_buffers{interface="eth0",queue="7"} 148"#,
        r#"zcrx_ifq_unaccounted_buffers{interface="eth0",queue="7"} 3"#,
        r#"zcrx_ifq_starving_seconds{interface="eth0",queue="7"} 2.5"#,
        r#"zcrx_ifq_starved_seconds_total{interface="eth0",queue="7"} 1.5"#,
        r#"zcrx_ifq_owners{interface="eth0",queue="7"} 2"#,
        "zcrx_snapshot_duration_seconds 0.001",
        "zcrx_snapshot_incomplete 1",
        r#"zcrx_queue_troubled{interface="eth0",queue="7"} 1"#,
        r#"zcrx_queue_trouble_seconds{interface="eth0",queue="7",trouble="starving"} 2.5"#,
        r#"zcrx_queue_cause_effect_ratio{interface="eth0",queue="7",cause="slow_consumer",confidence="high"} 0.9"#,
        r#"zcrx_queue_time_to_starvation_seconds{interface="eth0",queue="7"} 30"#,
        r#"zcrx_queue_recommended_refill_entries{interface="eth0",queue="7"} 4096"#,
        r#"zcrx_starvation_episodes_total{interface="eth0",queue="7",cause="slow_consumer"} 1"#,
        r#"zcrx_starvation_episodes_total{interface="eth0",queue="7",cause="unknown"} 0"#,
        r#"zcrx_starvation_episode_seconds_total{interface="eth0",queue="7"} 7.5"#,
        "zcrx_diagnosis_age_seconds 0",
    ] {
        assert!(text.lines().any(|exported| exported == line), "missing: {line}\nin:\n{text}");
    }
    Ok(())
}

#[test]
fn what_could_not_be_read_of_a_queue_is_absent() {
    let mut observation = full();
    let kernel = observation.host.queues[0].kernel.get_or_insert_default();
    kernel.areas[0].user_references = None;
    kernel.areas[0].user_buffers = None;
    kernel.pool = None;
    kernel.allocation = None;
    let partly = names(&observation, &HostDiagnosis::default());
    for absent in
        ["user_references", "kernel_buffers", "unaccounted_buffers", "starving", "allocations_total"]
    {
        assert!(!partly.contains(&format!("zcrx_ifq_{absent}")), "{absent} is exported");
    }
    assert!(partly.contains("zcrx_ifq_free_buffers"));
    observation.host.queues[0].kernel.get_or_insert_default().areas.clear();
    let less = names(&observation, &HostDiagnosis::default());
    for absent in ["area_buffers", "free_buffers", "user_buffers", "user_references"] {
        assert!(!less.contains(&format!("zcrx_ifq_{absent}")), "{absent} is exported");
    }
}

#[test]
fn a_calm_queue_that_does_not_starve_says_so() -> Outcome {
    let mut diagnosis = troubled();
    let report = &mut diagnosis.queues[0];
    report.diagnosis.alarms.clear();
    report.episode = None;
    report.forecast.starvation = Answer::Known(Starvation::NotAtThisRate);
    report.forecast.sizes = Answer::Unknown("watched for 1 s only".to_owned());
    let text = super::render(&full(), &diagnosis)?;
    // Prometheus reads inf in any case.
    for (name, value) in [("troubled", "0"), ("time_to_starvation_seconds", "inf")] {
        let line = format!(r#"zcrx_queue_{name}{{interface="eth0",queue="7"}} {value}"#);
        assert!(text.lines().any(|exported| exported == line), "missing: {line}");
    }
    let exported = names(&full(), &diagnosis);
    for absent in ["trouble", "cause_effect_ratio", "recommended_area_buffers"] {
        assert!(!exported.contains(&format!("zcrx_queue_{absent}")), "{absent} is exported");
    }
    Ok(())
}

#[test]
fn a_queue_without_a_device_has_no_interface_label() -> Outcome {
    let mut observation = full();
    observation.host.receive[0].key.interface = None;
    let text = render(&observation)?;
    assert_eq!(lines_of(&text, "zcrx_receive_connections"), [r#"zcrx_receive_connections{queue="3"} 2"#]);
    Ok(())
}

#[test]
fn what_labels_cannot_tell_apart_is_one_series() -> Outcome {
    let unknown =
        |held| PagePoolCount { id: None, ifindex: None, interface: None, provider: None, held, released: 0 };
    let mut observation = bare();
    observation.host.probe.page_pools = Some(vec![unknown(3), unknown(4)]);
    let text = render(&observation)?;
    assert_eq!(lines_of(&text, "zcrx_page_pool_holds_total"), ["zcrx_page_pool_holds_total 7"]);
    assert_eq!(lines_of(&text, "zcrx_page_pool_info"), ["zcrx_page_pool_info 1"]);
    Ok(())
}

#[test]
fn two_queues_are_two_series_of_one_family() -> Outcome {
    let mut observation = full();
    let mut second = queue();
    second.key.queue = 4;
    observation.host.receive.push(second);
    let text = render(&observation)?;
    assert_eq!(text.matches("# TYPE zcrx_receive_bytes_total counter").count(), 1);
    assert_eq!(lines_of(&text, "zcrx_receive_bytes_total").len(), 2);
    Ok(())
}

#[test]
fn promtool_has_nothing_to_complain_about() -> Outcome {
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
    promtool
        .stdin
        .take()
        .ok_or("no standard input")?
        .write_all(super::render(&full(), &troubled())?.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}
