//! `cargo xtask fleet`: many simulated hosts in a real Prometheus and a real Alertmanager with the project's rules. What the
//! hosts cost is measured, and what a page storm leads to; docs/fleet.md has the results.

mod http;
mod recording;
mod report;
mod servers;
mod storm;

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use self::recording::Recordings;
use self::report::{Cost, Report, Store};
use self::servers::{Scraping, Server};
use self::storm::Storm;
use xtask_tools::cache::Cache;
use xtask_tools::workspace::target;

/// How large the fleet is.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Hosts
    #[arg(long, default_value_t = 500)]
    pub hosts: usize,
    /// Receive queues of each host
    #[arg(long, default_value_t = 8)]
    pub queues: usize,
    /// Hosts all of whose queues starve in the page storm
    #[arg(long, default_value_t = 50)]
    pub starving: usize,
    /// Seconds between two scrapes of a host
    #[arg(long, default_value_t = 15)]
    pub scrape_seconds: u64,
    /// Minutes of healthy hosts before costs are read
    #[arg(long, default_value_t = 4)]
    pub minutes: u64,
    /// Minutes of the page storm: a group of alerts is notified of again after five
    #[arg(long, default_value_t = 7)]
    pub storm_minutes: u64,
    /// Send everything to VictoriaMetrics too, of Debian sid
    #[arg(long)]
    pub victoria_metrics: bool,
    /// Write the results into docs/fleet.md
    #[arg(long)]
    pub write: bool,
}

/// Alerts, pending or firing.
const ALERTS: &str = "ALERTS";

/// Seconds that the last evaluation of each group of rules took.
const RULES: &str = "prometheus_rule_group_last_duration_seconds";

/// Alerts of the storm that fire.
const STARVING: &str = "ALERTS{alertstate=\"firing\",alertname=\"ZcrxQueueStarving\"}";

/// When the storm began and ended, for the hosts.
#[derive(Debug, Default)]
struct Weather {
    begun: Option<Instant>,
    ended: bool,
}

/// Runs the fleet, prints what it measured, and fails if the storm led to more notifications than it should.
pub(crate) fn run(cache: &Cache, options: &Options) -> Result<()> {
    println!("recording a host with {} queues, healthy and while all starve", options.queues);
    let recordings = Arc::new(Recordings::take(options.queues)?);
    let series = recordings.healthy.series;
    let folder = target()?.join(format!("fleet/{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let weather = Arc::new(Mutex::new(Weather::default()));
    let fleet = hosts(Arc::clone(&recordings), Arc::clone(&weather), options.starving)?;
    let storm = Storm::listen()?;
    let alertmanager = servers::alertmanager(cache, &folder, storm.address)?;
    let store =
        if options.victoria_metrics { Some(servers::victoria_metrics(cache, &folder)?) } else { None };
    let scraping = Scraping {
        fleet,
        hosts: options.hosts,
        seconds: options.scrape_seconds,
        alertmanager: alertmanager.address,
        remote_write: store.as_ref(),
    };
    let prometheus = servers::prometheus(cache, &folder, &scraping)?;

    println!("{} hosts with {series} series each are well for {} min", options.hosts, options.minutes);
    let cost = cost(&prometheus, Duration::from_secs(60 * options.minutes))?;
    let healthy_alerts = servers::count(&prometheus, ALERTS)?;
    println!("the queues of {} hosts starve for {} min", options.starving, options.storm_minutes);
    lock(&weather).begun = Some(Instant::now());
    thread::sleep(Duration::from_secs(60 * options.storm_minutes));
    let firing = servers::count(&prometheus, STARVING)?;
    let rules_in_storm = prometheus.own(RULES)?;
    let notifications = storm.take();
    lock(&weather).ended = true;
    let store = store.as_ref().map(Store::of).transpose()?;
    let report = Report {
        options,
        series,
        cost,
        healthy_alerts,
        rules_in_storm,
        firing,
        notifications,
        store,
        prometheus: prometheus.version.clone(),
        alertmanager: alertmanager.version.clone(),
    };
    println!("\n{}", report.text());
    drop(prometheus);
    drop(alertmanager);
    report.judge().with_context(|| format!("logs and data are in {}", folder.display()))?;
    if options.write {
        report.write()?;
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Serves `/hosts/N` as the zcrxd of host N would serve `/metrics`.
fn hosts(
    recordings: Arc<Recordings>,
    weather: Arc<Mutex<Weather>>,
    starving: usize,
) -> Result<std::net::SocketAddr> {
    let begun = Instant::now();
    http::serve(move |request| {
        let host = request.path.rsplit('/').next().and_then(|host| host.parse().ok()).unwrap_or(0);
        let storm = {
            let weather = lock(&weather);
            weather.begun.filter(|_| host < starving && !weather.ended)
        };
        match storm {
            Some(since) => recordings.starving.scrape(host, since.elapsed().as_secs_f64()),
            None => recordings.healthy.scrape(host, begun.elapsed().as_secs_f64()),
        }
    })
}

/// What Prometheus needs for the fleet, over the last minute of `time`.
fn cost(prometheus: &Server, time: Duration) -> Result<Cost> {
    const MEASURED: Duration = Duration::from_mins(1);
    thread::sleep(time.saturating_sub(MEASURED));
    let samples = || prometheus.own("prometheus_tsdb_head_samples_appended_total");
    let processor = || prometheus.own("process_cpu_seconds_total");
    let (begun, samples_before, processor_before) = (Instant::now(), samples()?, processor()?);
    thread::sleep(MEASURED);
    let elapsed = begun.elapsed().as_secs_f64();
    Ok(Cost {
        series: prometheus.own("prometheus_tsdb_head_series")?,
        samples_a_second: (samples()? - samples_before) / elapsed,
        processors: (processor()? - processor_before) / elapsed,
        memory: prometheus.own("process_resident_memory_bytes")?,
        rules: prometheus.own(RULES)?,
        failed_scrapes: servers::count(prometheus, "up == 0")?,
    })
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
