//! A configuration as TOML.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::interval::write_interval;
use super::size::write_size;
use super::{Config, LogFormat};
use crate::probe::MechanismChoice;
use crate::receive::{BackendChoice, QueueConfig, SinkConfig};

#[derive(Serialize)]
struct Effective<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_dir: Option<String>,
    web: Web<'a>,
    privileges: Privileges,
    probes: Probes<'a>,
    observe: Observe,
    recordings: Recordings,
    log: Log<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue: Vec<Queue<'a>>,
}

#[derive(Serialize)]
struct Web<'a> {
    listen_addresses: Vec<String>,
    systemd_socket: bool,
    open_health_paths: bool,
    telemetry_path: &'a str,
    max_requests: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_file: Option<String>,
}

#[derive(Serialize)]
struct Privileges {
    drop: bool,
    keep: Vec<String>,
}

#[derive(Serialize)]
struct Probes<'a> {
    enabled: bool,
    mechanism: MechanismChoice,
    statistics: bool,
    residence: u32,
    disabled: &'a BTreeSet<String>,
    keep_counts: bool,
}

#[derive(Serialize)]
struct Observe {
    interval: String,
}

#[derive(Serialize)]
struct Recordings {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
}

#[derive(Serialize)]
struct Log<'a> {
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<LogFormat>,
}

#[derive(Serialize)]
struct Queue<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(rename = "queue", skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prepare: Option<bool>,
    backend: &'static str,
    listen: Vec<String>,
    area: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    area_max: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buffer: Option<String>,
    refill_entries: u32,
    cq_entries: u32,
    workers: u32,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    cpus: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    napi_busy_poll: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_wait: Option<String>,
    hold_limit: String,
    copy_out: String,
    forward_zero_copy: bool,
    drain_timeout: String,
    sink: String,
}

impl<'a> From<&'a QueueConfig> for Queue<'a> {
    fn from(config: &'a QueueConfig) -> Self {
        Self {
            interface: config.interface.as_deref(),
            // A queue index has a meaning only on an interface.
            index: config.interface.as_ref().map(|_| config.queue),
            prepare: config.interface.as_ref().map(|_| config.prepare),
            backend: match config.backend {
                BackendChoice::Auto => "auto",
                BackendChoice::Only(kind) => kind.name(),
            },
            listen: config.listen.iter().map(ToString::to_string).collect(),
            area: write_size(config.area_bytes),
            area_max: said(config.area_max_bytes),
            buffer: said(config.buffer_bytes),
            refill_entries: config.refill_entries,
            cq_entries: config.cq_entries,
            workers: config.workers,
            cpus: &config.cpus,
            napi_busy_poll: config.napi_busy_poll.map(write_interval),
            min_wait: config.min_wait.map(write_interval),
            hold_limit: write_size(config.hold_limit()),
            copy_out: write_size(config.copy_out_bytes),
            forward_zero_copy: config.forward_zero_copy,
            drain_timeout: write_interval(config.drain_timeout),
            sink: match &config.sink {
                SinkConfig::Forward(destination) => format!("forward:{destination}"),
                SinkConfig::File(directory) => format!("file:{}", directory.display()),
                plain @ (SinkConfig::Discard | SinkConfig::Verify) => plain.name().to_owned(),
            },
        }
    }
}

/// A size that may be left to its default, which is 0.
fn said(bytes: u64) -> Option<String> {
    (bytes > 0).then(|| write_size(bytes))
}

pub(super) fn write(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let effective = Effective {
        runtime_dir: config.runtime_dir.as_ref().map(|dir| dir.display().to_string()),
        web: Web {
            listen_addresses: config.web.listen.iter().map(ToString::to_string).collect(),
            systemd_socket: config.web.systemd_socket,
            open_health_paths: config.web.open_health_paths,
            telemetry_path: &config.web.telemetry_path,
            max_requests: config.web.max_requests,
            config_file: config.web.config_file.as_ref().map(|file| file.display().to_string()),
        },
        privileges: Privileges {
            drop: config.privileges.drop,
            keep: config.privileges.keep.iter().map(ToString::to_string).collect(),
        },
        probes: Probes {
            enabled: config.probes,
            mechanism: config.probe_options.mechanism,
            statistics: config.probe_options.statistics,
            residence: config.probe_options.residence,
            disabled: &config.probe_options.disabled,
            keep_counts: config.keep_counts,
        },
        observe: Observe { interval: write_interval(config.interval) },
        recordings: Recordings {
            enabled: config.recordings.is_some(),
            directory: config.recordings.as_ref().map(|dir| dir.display().to_string()),
        },
        log: Log { level: &config.log.level, format: config.log.format },
        queue: config.queues.iter().map(Queue::from).collect(),
    };
    f.write_str(&toml::to_string(&effective).map_err(|_| fmt::Error)?)
}
