//! What a run of the fleet measured, as a table of docs/fleet.md.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::Options;
use super::servers::{Server, sum};
use super::storm::Notification;
use xtask_tools::workspace::root;

const MIB: f64 = 1_048_576.0;

const DOCUMENT: &str = "docs/fleet.md";
const BEGIN: &str = "<!-- measured: begin, written by `cargo xtask fleet --write` -->\n";
const END: &str = "<!-- measured: end -->";

/// Notifications for one alert in one cluster, at most: the first, and another when more alerts have joined.
const MOST_FOR_A_GROUP: usize = 2;

/// What Prometheus needs.
pub(super) struct Cost {
    pub series: f64,
    pub samples_a_second: f64,
    /// Processor seconds in a second.
    pub processors: f64,
    /// Bytes.
    pub memory: f64,
    /// Seconds that one evaluation of all groups takes.
    pub rules: f64,
    pub failed_scrapes: usize,
}

/// What VictoriaMetrics needs.
pub(super) struct Store {
    version: String,
    /// Bytes.
    memory: f64,
    samples: f64,
    /// Bytes.
    disk: f64,
}

impl Store {
    pub(super) fn of(server: &Server) -> Result<Self> {
        let metrics = server.metrics()?;
        Ok(Self {
            version: server.version.clone(),
            memory: sum(&metrics, "process_resident_memory_bytes", "")?,
            samples: sum(&metrics, "vm_rows", "storage/")?,
            disk: sum(&metrics, "vm_data_size_bytes", "storage/")?,
        })
    }
}

/// Everything that one run measured.
pub(super) struct Report<'a> {
    pub options: &'a Options,
    /// Series of a host.
    pub series: usize,
    pub cost: Cost,
    /// Alerts, pending or firing, while every host is well.
    pub healthy_alerts: usize,
    /// Seconds that one evaluation of all groups takes at the end of the storm.
    pub rules_in_storm: f64,
    /// Alerts that fire at the end of the storm.
    pub firing: usize,
    pub notifications: Vec<Notification>,
    pub store: Option<Store>,
    pub prometheus: String,
    pub alertmanager: String,
}

impl Report<'_> {
    /// Fails if a healthy fleet has alerts, if a host was not scraped, or if the storm led to no page or to many.
    pub(super) fn judge(&self) -> Result<()> {
        ensure!(self.cost.failed_scrapes == 0, "{} hosts could not be scraped", self.cost.failed_scrapes);
        ensure!(self.healthy_alerts == 0, "{} alerts while every host is well", self.healthy_alerts);
        let queues = self.options.starving * self.options.queues;
        ensure!(self.firing == queues, "{} alerts fire for {queues} queues that starve", self.firing);
        ensure!(self.pages() > 0, "no page was sent for {queues} queues that starve");
        for notification in &self.notifications {
            let same = self.notifications.iter().filter(|other| other.group == notification.group).count();
            ensure!(same <= MOST_FOR_A_GROUP, "{same} notifications of {}", notification.group);
        }
        Ok(())
    }

    fn pages(&self) -> usize {
        self.notifications.iter().filter(|notification| notification.path == "/page").count()
    }

    /// The table.
    pub(super) fn text(&self) -> String {
        let (options, cost) = (self.options, &self.cost);
        let mut text = format!(
            "`cargo xtask fleet --hosts {} --queues {} --starving {}{}`, Prometheus {}, Alertmanager {}:\n\n\
             | | Measured |\n|---|---|\n",
            options.hosts,
            options.queues,
            options.starving,
            if options.victoria_metrics { " --victoria-metrics" } else { "" },
            self.prometheus,
            self.alertmanager
        );
        let mut row = |name: &str, value: String| {
            // Writing to a String cannot fail.
            writeln!(text, "| {name} | {value} |").ok();
        };
        row(
            "hosts, queues of each, series of each",
            format!("{}, {}, {}", options.hosts, options.queues, self.series),
        );
        row("series in Prometheus, recorded ones included", format!("{:.0}", cost.series));
        row(
            &format!("samples a second, scraped every {} s", options.scrape_seconds),
            format!("{:.0}", cost.samples_a_second),
        );
        row(
            "memory of Prometheus",
            format!("{:.0} MiB, {:.1} KiB a series", cost.memory / MIB, cost.memory / 1024.0 / cost.series),
        );
        row("processor time of Prometheus", format!("{:.2} s a second", cost.processors));
        row("one evaluation of all rules, every 30 s", format!("{:.2} s", cost.rules));
        if let Some(store) = &self.store {
            row(
                &format!("VictoriaMetrics {}, memory", store.version),
                format!(
                    "{:.0} MiB, {:.1} KiB a series",
                    store.memory / MIB,
                    store.memory / 1024.0 / cost.series
                ),
            );
            row(
                "VictoriaMetrics, disk",
                format!(
                    "{:.2} bytes a sample ({:.1} million samples)",
                    store.disk / store.samples,
                    store.samples / 1e6
                ),
            );
        }
        row("hosts that could not be scraped in time", self.cost.failed_scrapes.to_string());
        row("alerts while every host is well", self.healthy_alerts.to_string());
        row(
            &format!("alerts that fire when all queues of {} hosts starve", options.starving),
            self.firing.to_string(),
        );
        row("one evaluation of all rules then", format!("{:.2} s", self.rules_in_storm));
        row(
            &format!("notifications of them in {} min", options.storm_minutes),
            format!("{}, of these {} pages", self.notifications.len(), self.pages()),
        );
        for notification in &self.notifications {
            let to = notification.path.trim_start_matches('/');
            row(&format!("— {to}: {}", notification.group), format!("{} alerts", notification.alerts));
        }
        text
    }

    /// Writes the table into the document.
    pub(super) fn write(&self) -> Result<()> {
        let path = root().join(DOCUMENT);
        let document = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
        let (before, rest) =
            document.split_once(BEGIN).with_context(|| format!("{DOCUMENT} has no {BEGIN}"))?;
        let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} has no {END}"))?;
        let document = format!("{before}{BEGIN}{}{END}{after}", self.text());
        fs::write(&path, document).with_context(|| format!("cannot write {DOCUMENT}"))
    }
}
