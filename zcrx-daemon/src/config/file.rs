//! The format of the file.

use serde::Deserialize;

use super::LogFormat;
use super::said::{Document, Problem, Said, Source};
use crate::probe::MechanismChoice;

/// Values of the file and the flags before zcrxd validates them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Draft {
    pub(super) runtime_dir: Option<Said<String>>,
    pub(super) web: WebDraft,
    pub(super) privileges: PrivilegesDraft,
    pub(super) probes: ProbesDraft,
    pub(super) observe: ObserveDraft,
    pub(super) recordings: RecordingsDraft,
    pub(super) log: LogDraft,
    #[serde(rename = "queue")]
    pub(super) queues: Vec<Said<QueueDraft>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebDraft {
    pub(super) listen_addresses: Option<Vec<Said<String>>>,
    pub(super) systemd_socket: Option<bool>,
    pub(super) config_file: Option<Said<String>>,
    pub(super) open_health_paths: Option<bool>,
    pub(super) telemetry_path: Option<Said<String>>,
    pub(super) max_requests: Option<Said<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PrivilegesDraft {
    pub(super) drop: Option<bool>,
    pub(super) keep: Option<Vec<Said<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbesDraft {
    pub(super) enabled: Option<bool>,
    pub(super) mechanism: Option<MechanismChoice>,
    pub(super) statistics: Option<bool>,
    pub(super) residence: Option<u32>,
    pub(super) disabled: Option<Vec<Said<String>>>,
    pub(super) keep_counts: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ObserveDraft {
    pub(super) interval: Option<Said<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordingsDraft {
    pub(super) enabled: Option<bool>,
    pub(super) directory: Option<Said<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogDraft {
    pub(super) level: Option<Said<String>>,
    pub(super) format: Option<LogFormat>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QueueDraft {
    pub(super) interface: Option<Said<String>>,
    pub(super) queue: Option<Said<i64>>,
    pub(super) prepare: Option<Said<bool>>,
    pub(super) backend: Option<Said<String>>,
    pub(super) listen: Option<Vec<Said<String>>>,
    pub(super) area: Option<Said<SizeDraft>>,
    pub(super) area_max: Option<Said<SizeDraft>>,
    pub(super) buffer: Option<Said<SizeDraft>>,
    pub(super) refill_entries: Option<Said<i64>>,
    pub(super) cq_entries: Option<Said<i64>>,
    pub(super) workers: Option<Said<i64>>,
    pub(super) cpus: Option<Said<Vec<u32>>>,
    pub(super) napi_busy_poll: Option<Said<String>>,
    pub(super) min_wait: Option<Said<String>>,
    pub(super) hold_limit: Option<Said<SizeDraft>>,
    pub(super) copy_out: Option<Said<SizeDraft>>,
    pub(super) forward_zero_copy: Option<Said<bool>>,
    pub(super) drain_timeout: Option<Said<String>>,
    pub(super) sink: Option<Said<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a size: \"64MiB\", or a number of bytes")]
pub(super) enum SizeDraft {
    Bytes(i64),
    Text(String),
}

/// Parses the file. Invalid TOML or an unknown key ends the parser at the first error; zcrxd validates all values
/// later.
pub(super) fn parse(document: &Document<'_>) -> Result<Draft, Problem> {
    toml::from_str(document.text).map_err(|error| {
        let place =
            error.span().map_or_else(|| document.name.to_owned(), |span| document.place(&Source::File(span)));
        Problem { place, what: plain(error.message()), remedy: String::new() }
    })
}

/// One line, without Rust's terms.
fn plain(message: &str) -> String {
    let message = message.replace('\n', ", ").replace("expected i64", "expected a whole number");
    // `[queue]` is a table, and there can be several queues.
    if message.contains("invalid type: map, expected a sequence") {
        return "this is one table, and there can be several queues: write [[queue]] with two brackets"
            .to_owned();
    }
    message
}
