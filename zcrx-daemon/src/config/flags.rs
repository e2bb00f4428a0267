//! The flags of `zcrxd run`: the file's settings as command-line flags.

use std::path::PathBuf;

use super::LogFormat;
use super::file::{Draft, QueueDraft, SizeDraft};
use super::said::{Problem, Said, Source};
use crate::probe::MechanismChoice;

/// Flags that override the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// The one receive queue.
    #[command(flatten)]
    pub queue: QueueFlags,
    /// Address of the web endpoint, IP:PORT, :PORT or unix:PATH; may be repeated [default: 127.0.0.1:9965]
    #[arg(long = "web.listen-address", value_name = "ADDR", help_heading = "Web endpoint")]
    pub web: Vec<String>,
    /// Listen on the sockets that systemd passes instead
    #[arg(long = "web.systemd-socket", help_heading = "Web endpoint")]
    pub web_systemd_socket: bool,
    /// Path that the metrics are served on [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH", help_heading = "Web endpoint")]
    pub web_telemetry_path: Option<String>,
    /// Number of scrapes at once, more of which get 503; 0 for no limit [default: 0]
    #[arg(
        long = "web.max-requests",
        value_name = "N",
        help_heading = "Web endpoint",
        allow_negative_numbers = true
    )]
    pub web_max_requests: Option<i64>,
    /// Web configuration in the format of Prometheus' exporter-toolkit (YAML): TLS, users, headers
    #[arg(long = "web.config.file", value_name = "FILE", help_heading = "Web endpoint")]
    pub web_config_file: Option<PathBuf>,
    /// Attach no eBPF probes
    #[arg(long, help_heading = "Options")]
    pub no_probes: bool,
    /// Mechanism that attaches probes to kernel functions, for tests and for hosts that forbid one [default: auto]
    #[arg(long, value_name = "MECHANISM", help_heading = "Options")]
    pub probe_mechanism: Option<MechanismChoice>,
    /// Measure how long one buffer in N is held, on every queue of the host; costs a fast receiver about 20 % CPU
    /// [default: 0, no buffer]
    #[arg(long, value_name = "N", help_heading = "Options")]
    pub probe_residence: Option<u32>,
    /// Time between two samples for the diagnosis [default: 1s]
    #[arg(long = "observe.interval", value_name = "TIME", help_heading = "Options")]
    pub interval: Option<String>,
    /// Directory for recordings of episodes [default: recordings under $STATE_DIRECTORY, /var/lib/zcrxd for root, else zcrxd
    /// under $XDG_STATE_HOME]
    #[arg(long = "recordings.directory", value_name = "DIR", help_heading = "Options")]
    pub recordings: Option<PathBuf>,
    /// Log level: error, warn, info, debug, trace, or directives as in RUST_LOG, which has priority [default: info]
    #[arg(long = "log.level", value_name = "LEVEL", help_heading = "Logging")]
    pub log_level: Option<String>,
    /// Format of log lines [default: journal if standard error is the journal, else text]
    #[arg(long = "log.format", value_name = "FORMAT", help_heading = "Logging", aliases = ["log-format"])]
    pub log_format: Option<LogFormat>,
    /// Directory of the daemon's lock file and socket [default: $RUNTIME_DIRECTORY, /run/zcrxd for root, else zcrxd under
    /// $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "DIR", help_heading = "Options")]
    pub runtime_dir: Option<PathBuf>,
}

/// Flags that describe one receive queue.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Receive queue (alters the file's queue, or makes the only one)")]
pub struct QueueFlags {
    /// Accept TCP connections on this address and receive what they send; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Network interface of the queue
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
    /// Hardware queue of the interface [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub queue: Option<i64>,
    /// Prepare the interface for zcrx, and restore it at the end
    #[arg(long)]
    pub prepare: bool,
    /// Backend that receives the data: auto, device, nodev or copy [default: auto]
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
    /// Sink that consumes the data: discard, verify, forward:HOST:PORT, forward:unix:PATH or file:DIRECTORY [default: discard]
    #[arg(long, value_name = "SINK")]
    pub sink: Option<String>,
    /// Threads that receive from the queue (more than one: Linux 6.19) [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub workers: Option<i64>,
    /// CPU that the queue's threads may run on; may be repeated [default: any]
    #[arg(long = "cpu", value_name = "N")]
    pub cpus: Vec<u32>,
    /// How long a waiting thread polls the NIC's queue before it sleeps, such as 50us [default: no polling]
    #[arg(long, value_name = "TIME")]
    pub napi_busy_poll: Option<String>,
    /// How long a wait for completions lasts while fewer than 128 have arrived, such as 50us (Linux 6.12) [default: no minimum]
    #[arg(long, value_name = "TIME")]
    pub min_wait: Option<String>,
    /// Part of the area that slow sinks may hold before zcrxd copies their data to ordinary memory [default: a quarter]
    #[arg(long, value_name = "SIZE")]
    pub hold_limit: Option<String>,
    /// Ordinary memory for such copies of slow sinks' data [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub copy_out: Option<String>,
    /// Forward from the area without a copy (Linux 6.15)
    #[arg(long)]
    pub forward_zero_copy: bool,
    /// How long sinks may take to pass on received data when the queue stops [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<String>,
    /// Size of the area that receives the payload, such as 64MiB
    #[arg(long, value_name = "SIZE")]
    pub area: Option<String>,
    /// Limit of all areas when buffers run short (Linux 7.3) [default: the area does not grow]
    #[arg(long, value_name = "SIZE")]
    pub area_max: Option<String>,
    /// Size of one buffer, such as 32KiB, where kernel and driver support it [default: the page size]
    #[arg(long, value_name = "SIZE")]
    pub buffer: Option<String>,
    /// Entries of the refill ring
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub refill_entries: Option<i64>,
    /// Entries of the completion queue
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub cq_entries: Option<i64>,
}

impl Flags {
    /// Overrides the values of the file by these flags.
    pub(super) fn lay_over(&self, mut draft: Draft) -> Result<Draft, Problem> {
        if !self.web.is_empty() {
            draft.web.listen_addresses = Some(said_all(&self.web, "--web.listen-address"));
        }
        if self.web_systemd_socket {
            draft.web.systemd_socket = Some(true);
        }
        if let Some(path) = &self.web_telemetry_path {
            draft.web.telemetry_path = Some(Said::by_flag(path.clone(), "--web.telemetry-path"));
        }
        if let Some(limit) = self.web_max_requests {
            draft.web.max_requests = Some(Said::by_flag(limit, "--web.max-requests"));
        }
        if let Some(file) = &self.web_config_file {
            let file = file.to_string_lossy().into_owned();
            draft.web.config_file = Some(Said::by_flag(file, "--web.config.file"));
        }
        if self.no_probes {
            draft.probes.enabled = Some(false);
        }
        draft.probes.mechanism = self.probe_mechanism.or(draft.probes.mechanism);
        draft.probes.residence = self.probe_residence.or(draft.probes.residence);
        if let Some(interval) = &self.interval {
            draft.observe.interval = Some(Said::by_flag(interval.clone(), "--observe.interval"));
        }
        if let Some(dir) = &self.recordings {
            draft.recordings.enabled = Some(true);
            let dir = dir.to_string_lossy().into_owned();
            draft.recordings.directory = Some(Said::by_flag(dir, "--recordings.directory"));
        }
        if let Some(level) = &self.log_level {
            draft.log.level = Some(Said::by_flag(level.clone(), "--log.level"));
        }
        draft.log.format = self.log_format.or(draft.log.format);
        if let Some(dir) = &self.runtime_dir {
            draft.runtime_dir = Some(Said::by_flag(dir.to_string_lossy().into_owned(), "--runtime-dir"));
        }
        let Some((first, queue)) = self.queue.draft() else { return Ok(draft) };
        match draft.queues.as_mut_slice() {
            [] => draft.queues.push(Said::by_flag(queue, first)),
            [only] => only.value.override_with(queue),
            [_, _, ..] => {
                return Err(Problem {
                    place: first.to_owned(),
                    what: format!(
                        "the file has {} queues, and a flag cannot say which one it changes",
                        draft.queues.len()
                    ),
                    remedy: "change the queue in the file".to_owned(),
                });
            }
        }
        Ok(draft)
    }
}

impl QueueFlags {
    /// The queue that the flags describe, and the first given flag; `None` without flags of a queue.
    fn draft(&self) -> Option<(&'static str, QueueDraft)> {
        let said = |value: Option<&String>, flag| value.map(|value| Said::by_flag(value.clone(), flag));
        let number = |value: Option<i64>, flag| value.map(|value| Said::by_flag(value, flag));
        let size = |value: Option<&String>, flag| {
            value.map(|value| Said::by_flag(SizeDraft::Text(value.clone()), flag))
        };
        let draft = QueueDraft {
            interface: said(self.interface.as_ref(), "--interface"),
            queue: number(self.queue, "--queue"),
            prepare: self.prepare.then(|| Said::by_flag(true, "--prepare")),
            backend: said(self.backend.as_ref(), "--backend"),
            listen: (!self.listen.is_empty()).then(|| said_all(&self.listen, "--listen")),
            area: size(self.area.as_ref(), "--area"),
            area_max: size(self.area_max.as_ref(), "--area-max"),
            buffer: size(self.buffer.as_ref(), "--buffer"),
            refill_entries: number(self.refill_entries, "--refill-entries"),
            cq_entries: number(self.cq_entries, "--cq-entries"),
            workers: number(self.workers, "--workers"),
            cpus: (!self.cpus.is_empty()).then(|| Said::by_flag(self.cpus.clone(), "--cpu")),
            napi_busy_poll: said(self.napi_busy_poll.as_ref(), "--napi-busy-poll"),
            min_wait: said(self.min_wait.as_ref(), "--min-wait"),
            hold_limit: size(self.hold_limit.as_ref(), "--hold-limit"),
            copy_out: size(self.copy_out.as_ref(), "--copy-out"),
            forward_zero_copy: self.forward_zero_copy.then(|| Said::by_flag(true, "--forward-zero-copy")),
            drain_timeout: said(self.drain_timeout.as_ref(), "--drain-timeout"),
            sink: said(self.sink.as_ref(), "--sink"),
        };
        draft.first_flag().map(|flag| (flag, draft))
    }
}

impl QueueDraft {
    fn override_with(&mut self, flags: Self) {
        self.interface = flags.interface.or(self.interface.take());
        self.queue = flags.queue.or(self.queue.take());
        self.prepare = flags.prepare.or(self.prepare.take());
        self.backend = flags.backend.or(self.backend.take());
        self.listen = flags.listen.or(self.listen.take());
        self.area = flags.area.or(self.area.take());
        self.area_max = flags.area_max.or(self.area_max.take());
        self.buffer = flags.buffer.or(self.buffer.take());
        self.refill_entries = flags.refill_entries.or(self.refill_entries.take());
        self.cq_entries = flags.cq_entries.or(self.cq_entries.take());
        self.workers = flags.workers.or(self.workers.take());
        self.cpus = flags.cpus.or(self.cpus.take());
        self.napi_busy_poll = flags.napi_busy_poll.or(self.napi_busy_poll.take());
        self.min_wait = flags.min_wait.or(self.min_wait.take());
        self.hold_limit = flags.hold_limit.or(self.hold_limit.take());
        self.copy_out = flags.copy_out.or(self.copy_out.take());
        self.forward_zero_copy = flags.forward_zero_copy.or(self.forward_zero_copy.take());
        self.drain_timeout = flags.drain_timeout.or(self.drain_timeout.take());
        self.sink = flags.sink.or(self.sink.take());
    }

    fn first_flag(&self) -> Option<&'static str> {
        const fn source<T>(said: Option<&Said<T>>) -> Option<&Source> {
            match said {
                Some(said) => Some(&said.source),
                None => None,
            }
        }
        [
            self.listen.as_ref().and_then(|listen| listen.first()).map(|said| &said.source),
            source(self.interface.as_ref()),
            source(self.queue.as_ref()),
            source(self.prepare.as_ref()),
            source(self.backend.as_ref()),
            source(self.area.as_ref()),
            source(self.area_max.as_ref()),
            source(self.buffer.as_ref()),
            source(self.refill_entries.as_ref()),
            source(self.cq_entries.as_ref()),
            source(self.workers.as_ref()),
            source(self.cpus.as_ref()),
            source(self.napi_busy_poll.as_ref()),
            source(self.min_wait.as_ref()),
            source(self.hold_limit.as_ref()),
            source(self.copy_out.as_ref()),
            source(self.forward_zero_copy.as_ref()),
            source(self.drain_timeout.as_ref()),
            source(self.sink.as_ref()),
        ]
        .into_iter()
        .flatten()
        .find_map(|source| match source {
            Source::Flag(flag) => Some(*flag),
            Source::File(_) => None,
        })
    }
}

fn said_all(values: &[String], flag: &'static str) -> Vec<Said<String>> {
    values.iter().map(|value| Said::by_flag(value.clone(), flag)).collect()
}
