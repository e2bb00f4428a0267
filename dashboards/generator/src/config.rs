//! What the rules and dashboards share, each said once.

/// Where the runbook can be read: `<this>/<alert>.md`. Somebody with a copy of their own writes with `--runbook`.
pub(super) const RUNBOOK: &str = "https://zcrxd.example/docs/runbook";

/// The name of the scrape job, as in the examples: what is not there has no series of its own to be found by.
pub(super) const JOB: &str = "zcrxd";

/// How far back the recorded rates look, and what their names end with.
pub(super) const WINDOW: &str = "5m";

/// A number that alerts compare with. In `alerts.yml` it is a recording rule of the first group, and only there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threshold {
    /// The middle of its name: `zcrx:<this>:threshold`.
    pub name: &'static str,
    /// Its value as it comes.
    pub value: f64,
    /// What it is and why it is that number.
    pub why: &'static str,
}

impl Threshold {
    /// The name of its series.
    pub(super) fn series(&self) -> String {
        format!("zcrx:{}:threshold", self.name)
    }
}

/// Seconds: what `zcrx_queue_time_to_starvation_seconds` may fall to before somebody is told.
pub(super) const FORESIGHT: Threshold = Threshold {
    name: "time_to_starvation_seconds",
    value: 600.0,
    why: "seconds until the forecast starvation: time enough to act without haste",
};
/// Episodes of one queue within an hour.
pub(super) const EPISODES: Threshold = Threshold {
    name: "starvation_episodes_1h",
    value: 3.0,
    why: "episodes of one queue in an hour: one is an accident, three are a habit",
};
/// Share of the payload.
pub(super) const COPIED: Threshold = Threshold {
    name: "receive_copied_ratio",
    value: 0.1,
    why: "share of a device queue's payload that is copied: the first segments of a connection may be",
};
/// Refused registrations in 15 minutes.
pub(super) const REGISTRATIONS: Threshold = Threshold {
    name: "registration_failures_15m",
    value: 3.0,
    why: "refused registrations in 15 minutes: a program that tries what it can have is refused once or twice",
};
/// Connections in 15 minutes.
pub(super) const SINK_ERRORS: Threshold = Threshold {
    name: "sink_errors_15m",
    value: 1.0,
    why: "connections in 15 minutes whose sink failed: data of each is lost",
};
/// Seconds.
pub(super) const STALE: Threshold = Threshold {
    name: "diagnosis_age_seconds",
    value: 30.0,
    why: "seconds since the last diagnosis; the longest interval that can be configured is 10",
};
/// Seconds.
pub(super) const SLOW_SCRAPE: Threshold = Threshold {
    name: "observe_duration_seconds",
    value: 2.0,
    why: "seconds it takes to read all sources; Prometheus gives up after 10 by default",
};
/// Share of the limit.
pub(super) const FDS: Threshold =
    Threshold { name: "open_fds_ratio", value: 0.8, why: "share of the file descriptors zcrxd may open" };
/// Starts in half an hour.
pub(super) const RESTARTS: Threshold = Threshold {
    name: "restarts_30m",
    value: 2.0,
    why: "restarts in half an hour: an upgrade and its correction are two",
};

/// Every threshold, in the order of the file.
pub(super) const THRESHOLDS: &[Threshold] =
    &[FORESIGHT, EPISODES, COPIED, REGISTRATIONS, SINK_ERRORS, STALE, SLOW_SCRAPE, FDS, RESTARTS];
