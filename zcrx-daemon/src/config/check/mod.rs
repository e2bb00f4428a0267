//! Turns a draft into a configuration: checks ranges, formats, and duplicates.

mod queue;
mod twice;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::geteuid;
use tracing_subscriber::EnvFilter;

use super::address::{WEB_FORMS, WebAddress, parse_web_address};
use super::file::{Draft, PrivilegesDraft, ProbesDraft, RecordingsDraft, WebDraft};
use super::interval::parse_interval;
use super::said::{Document, Problem, Said, Source};
use super::{Config, DEFAULT_INTERVAL, DEFAULT_WEB_ADDRESS, Log, Privileges, Web};
use crate::export::http::{TELEMETRY_PATH, is_page};
use crate::kernel::Capability;
use crate::probe;

/// Range of the interval: shorter intervals cost more than they show; longer ones miss problems of a second.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);

/// Greatest limit of scrapes at once: more than there can be connections.
const MAX_REQUESTS: u32 = 1000;

/// Builds the configuration. Errors are added to `problems`; the result is valid only without errors.
pub(super) fn check(draft: Draft, document: &Document<'_>, problems: &mut Vec<Problem>) -> Config {
    let mut checker = Checker { document, problems };
    let config = Config {
        web: checker.web(&draft.web),
        privileges: checker.privileges(&draft.privileges),
        probes: draft.probes.enabled.unwrap_or(true),
        probe_options: probe::Options {
            mechanism: draft.probes.mechanism.unwrap_or_default(),
            statistics: draft.probes.statistics.unwrap_or(false),
            residence: draft.probes.residence.unwrap_or(0),
            self_check: true,
            disabled: checker.disabled(&draft.probes),
        },
        keep_counts: draft.probes.keep_counts.unwrap_or(true),
        interval: checker.interval(draft.observe.interval.as_ref()),
        recordings: recordings(&draft.recordings),
        log: Log { level: checker.level(draft.log.level), format: draft.log.format },
        runtime_dir: draft.runtime_dir.as_ref().map(|said| PathBuf::from(&said.value)),
        queues: draft
            .queues
            .iter()
            .zip(0..)
            .filter_map(|(queue, position)| checker.queue(queue, position, &draft.queues))
            .collect(),
    };
    checker.nothing_twice(&draft.queues, &config.web);
    config
}

/// Directory of recordings: the one from systemd, else the default state directory of this user.
fn recordings(draft: &RecordingsDraft) -> Option<PathBuf> {
    if !draft.enabled.unwrap_or(true) {
        return None;
    }
    if let Some(said) = &draft.directory {
        return Some(PathBuf::from(&said.value));
    }
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = from("STATE_DIRECTORY")
        .or_else(|| geteuid().is_root().then(|| PathBuf::from("/var/lib/zcrxd")))
        .or_else(|| from("XDG_STATE_HOME").map(|dir| dir.join("zcrxd")))
        .or_else(|| from("HOME").map(|dir| dir.join(".local/state/zcrxd")));
    state.map(|dir| dir.join("recordings"))
}
struct Checker<'a> {
    document: &'a Document<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn refuse(&mut self, source: &Source, what: impl Into<String>, remedy: impl Into<String>) {
        let problem =
            Problem { place: self.document.place(source), what: what.into(), remedy: remedy.into() };
        self.problems.push(problem);
    }

    fn web(&mut self, draft: &WebDraft) -> Web {
        let said = draft.listen_addresses.as_deref().unwrap_or_default();
        let mut listen: Vec<_> = said.iter().filter_map(|said| self.web_address(said)).collect();
        if listen.is_empty() {
            listen.push(WebAddress::Ip(DEFAULT_WEB_ADDRESS));
        }
        Web {
            listen,
            systemd_socket: draft.systemd_socket.unwrap_or(false),
            open_health_paths: draft.open_health_paths.unwrap_or(false),
            telemetry_path: self.telemetry_path(draft.telemetry_path.as_ref()),
            max_requests: self.max_requests(draft.max_requests.as_ref()),
            config_file: draft.config_file.as_ref().map(|said| PathBuf::from(&said.value)),
        }
    }

    fn web_address(&mut self, said: &Said<String>) -> Option<WebAddress> {
        parse_web_address(&said.value).map_err(|what| self.refuse(&said.source, what, WEB_FORMS)).ok()
    }

    fn telemetry_path(&mut self, said: Option<&Said<String>>) -> String {
        let Some(said) = said else { return TELEMETRY_PATH.to_owned() };
        let path = said.value.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if !path.starts_with('/') || !path.chars().all(plain) || path.contains("//") || path.contains("/.") {
            self.refuse(
                &said.source,
                format!("{path:?} is no path for the metrics"),
                "write one that begins with / and has letters, digits, -, ., _ and ~ only, such as /metrics",
            );
        } else if is_page(path) {
            self.refuse(
                &said.source,
                format!("zcrxd serves a page on {path}"),
                "write another path for the metrics, such as /metrics",
            );
        } else if path.ends_with('/') {
            self.refuse(
                &said.source,
                format!("the path {path} ends with /"),
                "write it without that, as in /metrics",
            );
        }
        said.value.clone()
    }

    fn max_requests(&mut self, said: Option<&Said<i64>>) -> u32 {
        let Some(said) = said else { return 0 };
        match u32::try_from(said.value) {
            Ok(limit) if limit <= MAX_REQUESTS => return limit,
            _ => self.refuse(
                &said.source,
                format!("{} scrapes at once are out of range", said.value),
                format!("write a number from 0 (no limit) to {MAX_REQUESTS}"),
            ),
        }
        0
    }

    /// As root, zcrxd keeps its capabilities by default: a user who starts it by hand intends to use them.
    fn privileges(&mut self, draft: &PrivilegesDraft) -> Privileges {
        let mut keep = Vec::new();
        for said in draft.keep.as_deref().unwrap_or_default() {
            match said.value.to_uppercase().parse::<Capability>() {
                Ok(capability) => keep.push(capability),
                Err(_) => self.refuse(
                    &said.source,
                    format!("{:?} is no capability", said.value),
                    "capabilities(7) lists them; write CAP_BPF, CAP_NET_ADMIN and so on",
                ),
            }
        }
        Privileges { drop: draft.drop.unwrap_or(!geteuid().is_root()), keep }
    }

    fn disabled(&mut self, draft: &ProbesDraft) -> BTreeSet<String> {
        let mut disabled = BTreeSet::new();
        for said in draft.disabled.as_deref().unwrap_or_default() {
            if probe::names().contains(&said.value.as_str()) {
                disabled.insert(said.value.clone());
            } else {
                let names = probe::names().join(", ");
                self.refuse(
                    &said.source,
                    format!("there is no probe {:?}", said.value),
                    format!("the probes are {names}"),
                );
            }
        }
        disabled
    }

    fn level(&mut self, said: Option<Said<String>>) -> String {
        let Some(said) = said else { return "info".to_owned() };
        if said.value.trim().is_empty() || EnvFilter::builder().parse(&said.value).is_err() {
            self.refuse(
                &said.source,
                format!("log level {:?} is not known", said.value),
                "write error, warn, info, debug or trace, or directives such as info,zcrx_daemon::probe=debug",
            );
        }
        said.value
    }

    fn interval(&mut self, said: Option<&Said<String>>) -> Duration {
        let Some(said) = said else { return DEFAULT_INTERVAL };
        match parse_interval(&said.value) {
            Ok(interval) if INTERVALS.contains(&interval) => return interval,
            Ok(_) => self.refuse(
                &said.source,
                format!("interval {:?} is out of range", said.value),
                "write a time from 50ms to 10s",
            ),
            Err(what) => self.refuse(&said.source, format!("interval {what}"), ""),
        }
        DEFAULT_INTERVAL
    }
}
