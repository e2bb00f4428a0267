//! How many series a host has, by what there is on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use super::contract::{Contract, Metric};
use xtask_tools::scrape::Scrape;
use xtask_tools::workspace::root;

/// The document that says so.
pub(super) const DOCUMENT: &str = "docs/fleet.md";

const BEGIN: &str = "<!-- series: begin, written by `cargo xtask regenerate` -->\n";
const END: &str = "<!-- series: end -->";

/// What series are about, with the letter that stands for how many there are of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Per {
    Host,
    Receiver,
    KernelQueue,
    DiagnosedQueue,
    PagePool,
    Probe,
    Thread,
}

impl Per {
    const ALL: [Self; 7] = [
        Self::Host,
        Self::Receiver,
        Self::KernelQueue,
        Self::DiagnosedQueue,
        Self::PagePool,
        Self::Probe,
        Self::Thread,
    ];

    /// What a metric is about.
    fn of(name: &str, contract: &Contract) -> Self {
        let has =
            |label: &str| contract.metrics.get(name).is_some_and(|metric| metric.labels.contains(label));
        match name {
            _ if name.starts_with("zcrxd_receiver_") => Self::Receiver,
            _ if DIAGNOSED.iter().any(|prefix| name.starts_with(prefix)) => Self::DiagnosedQueue,
            _ if name.starts_with("zcrx_queue_") => Self::KernelQueue,
            _ if has("page_pool") => Self::PagePool,
            _ if has("probe") => Self::Probe,
            _ if has("thread") => Self::Thread,
            _ => Self::Host,
        }
    }

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => ("1", "the host and its zcrxd"),
            Self::Receiver => ("R", "receive queue of zcrxd's own"),
            Self::KernelQueue => ("K", "zcrx queue in the kernel, of any process"),
            Self::DiagnosedQueue => ("D", "diagnosed queue: each of the above, once"),
            Self::PagePool => ("P", "page pool that was active, fed by zcrx or not"),
            Self::Probe => ("C", "probe of the catalogue"),
            Self::Thread => ("T", "thread that is asked whether it answers: one for each of R, and a few"),
        }
    }
}

/// Metrics of the diagnosis: there is one of each for every queue, be it in the kernel or not.
const DIAGNOSED: [&str; 9] = [
    "zcrx_queue_alarm",
    "zcrx_queue_cause_",
    "zcrx_queue_episode_active",
    "zcrx_queue_episode_seconds",
    "zcrx_queue_episodes",
    "zcrx_queue_headroom_",
    "zcrx_queue_mean_hold_",
    "zcrx_queue_recommended_",
    "zcrx_queue_time_to_",
];

/// The most values that a label has on one host, for one thing that it is about.
fn values(label: &str, name: &str) -> Result<usize> {
    Ok(match label {
        // Two better backends than the worst were refused.
        "backend" if name.ends_with("refused_info") => 2,
        // How one thing ended.
        "errno" if name.ends_with("_info") => 1,
        // One value each for the subject of the series: a queue runs on one backend.
        "interface" | "queue" | "probe" | "thread" | "page_pool" | "ifindex" | "netns" | "zcrx_id"
        | "napi_id" | "pid" | "comm" | "fd" | "cgroup" | "pod_uid" | "container_id" | "sink" | "version"
        | "revision" | "release" | "provider" | "backend" => 1,
        // Those that receives, registrations and control calls end with, near enough.
        // And the ways in which probes lose something.
        "errno" | "loss" => 8,
        // Two that the configuration can ask for, of the seven that a kernel can have.
        "feature" if name.ends_with("fallback_info") => 2,
        "feature" => 7,
        // Failed allocations and copies; the server and the CAs of clients.
        "event" | "certificate" => 2,
        // The same, and what later kernels add.
        "notification" => 3,
        // A probe has one state and one mechanism at a time.
        "state" | "mechanism" if name == "zcrxd_probe_info" => 1,
        // The collectors; the states of a receiver; threads of one queue, where it has several.
        "collector" | "state" | "worker" => 4,
        "operation" => 5,
        // Entry and exit of each function, by one mechanism each, and the snapshot's.
        "program" => 32,
        "map" => 24,
        "alarm" => 13,
        // What the self-check compares.
        "figure" => 17,
        // Thirteen, and the unknown one.
        "cause" => 14,
        _ => {
            bail!(
                "how many values has the label {label} of {name}? say so in dashboards/generator/src/series.rs"
            )
        }
    })
}

/// Buckets that a histogram has at most, with their sum and count.
const HISTOGRAM: usize = 16 + 2;

/// How many series of a metric there are at most, and how many of them only while something is wrong or after it was.
fn bound(name: &str, metric: &Metric) -> Result<(usize, usize)> {
    let mut most = if metric.kind == "histogram" { HISTOGRAM } else { 1 };
    for label in &metric.labels {
        most *= values(label, name)?;
    }
    // Errors and problems are absent on a healthy host.
    let hoped_not = metric.labels.contains("errno")
        || ["zcrx_queue_alarm", "zcrx_queue_alarm_duration_seconds"].contains(&name)
        || name.starts_with("zcrx_queue_cause_");
    Ok(match name {
        // What ended well has no errno.
        "zcrx_queue_control_calls_total" => (most + values("operation", name)?, most),
        "zcrx_last_registration_info" => (most, 0),
        _ => (most, if hoped_not { most } else { 0 }),
    })
}

/// For each thing: the series that there are at most, and those of them that exist only now and then.
fn bounds(contract: &Contract) -> Result<BTreeMap<Per, (usize, usize)>> {
    let mut bounds = BTreeMap::new();
    for (name, metric) in contract.metrics.iter().filter(|(_, metric)| !metric.on_request) {
        let (most, seldom) = bound(name, metric)?;
        let entry = bounds.entry(Per::of(name, contract)).or_insert((0, 0));
        entry.0 += most;
        entry.1 += seldom;
    }
    Ok(bounds)
}

/// The document as it has to be.
pub(super) fn document() -> Result<String> {
    let path = root().join(DOCUMENT);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (head, rest) = text.split_once(BEGIN).with_context(|| format!("{DOCUMENT} has no {BEGIN}"))?;
    let (_, tail) = rest.split_once(END).with_context(|| format!("{DOCUMENT} has no {END}"))?;
    Ok(format!("{head}{BEGIN}{}{END}{tail}", table(&Contract::read()?)?))
}

fn table(contract: &Contract) -> Result<String> {
    let bounds = bounds(contract)?;
    let mut text = "| | For each | Series, at most | of these only while something is wrong, or after it was |\n|---|---|--:|--:|\n".to_owned();
    let mut formula = Vec::new();
    for per in Per::ALL {
        let (letter, what) = per.row();
        let (most, seldom) = bounds.get(&per).copied().unwrap_or_default();
        writeln!(text, "| {letter} | {what} | {most} | {seldom} |")?;
        let usual = most - seldom;
        formula.push(if letter == "1" { usual.to_string() } else { format!("{usual} {letter}") });
    }
    writeln!(text, "\nOn a host that is well: **series ≤ {}**.", formula.join(" + "))?;
    let usual = |per: Per| bounds.get(&per).map_or(0, |(most, seldom)| most - seldom);
    // 64 queues in the kernel, none of zcrxd's own; a pool for each; the probes of the catalogue.
    let queues = 64;
    let host = usual(Per::Host) + PROBES * usual(Per::Probe);
    let each = usual(Per::KernelQueue) + usual(Per::DiagnosedQueue) + usual(Per::PagePool);
    let series = host + queues * each;
    let hosts = 10_000;
    let all = series * hosts;
    // One sample each 15 s; 1.5 bytes each once compressed, by Prometheus's own figures; 8 KiB of memory each series.
    let samples = all / 15;
    let days = 15;
    let disk = samples as f64 * 86400.0 * f64::from(days) * 1.5;
    let memory = all as f64 * 8192.0;
    writeln!(
        text,
        "\nWith 64 foreign queues, a page pool for each and {PROBES} probes: {host} + {queues} × {each} = **{series} series a host**. \
         Of {hosts} such hosts: **{:.0} million series**; scraped every 15 s, {:.1} million samples a second, {:.0} TB for {days} \
         days on disk, and some {:.1} TB of memory over all servers that hold the newest hours.\n\n\
         The recorded series of hosts are {} for each host at most: {:.1} million for all, {:.0} thousand samples a second.",
        all as f64 / 1e6,
        samples as f64 / 1e6,
        disk / 1e12,
        memory / 1e12,
        RECORDED,
        (RECORDED * hosts) as f64 / 1e6,
        (RECORDED * hosts) as f64 / 30.0 / 1e3,
    )?;
    Ok(text)
}

/// Probes of the catalogue, near enough.
const PROBES: usize = 16;

/// Recorded series of a host: one for each rule of its level, nine alarms, and twice fourteen causes.
const RECORDED: usize = 50;

/// Threads that are asked whether they answer, beside those that receive.
const OTHER_THREADS: usize = 3;

/// Errors in scrapes of daemons that differ in how many queues of their own they have: a series that is not
/// documented, or more of them than the bound allows, or a number that does not grow with the queues.
pub fn complaints(scrapes: &[(usize, Scrape)]) -> Result<Vec<String>> {
    let contract = Contract::read()?;
    let bounds = bounds(&contract)?;
    let mut complaints = Vec::new();
    let mut counts = Vec::new();
    for (queues, scrape) in scrapes {
        let mut count = BTreeMap::<Per, usize>::new();
        for (series, labelled) in scrape.series() {
            let Some((name, _)) = contract.of_series(series) else {
                complaints.push(format!("{series} is exported, but docs/metrics.md does not have it"));
                continue;
            };
            let known = contract.labels(series).unwrap_or_default();
            for label in labelled.label_names().filter(|&label| !known.contains(label)) {
                complaints
                    .push(format!("{series} is exported with {label}, which docs/metrics.md does not have"));
            }
            *count.entry(Per::of(name, &contract)).or_default() += 1;
        }
        for (per, most) in [
            (Per::Host, 1),
            (Per::Receiver, *queues),
            (Per::DiagnosedQueue, *queues),
            (Per::Thread, queues + OTHER_THREADS),
        ] {
            let found = count.get(&per).copied().unwrap_or(0);
            let allowed = bounds.get(&per).map_or(0, |(bound, _)| bound * most);
            if found == 0 || found > allowed {
                complaints.push(format!("{per:?}: {found} series, and {allowed} at most are said to be"));
            }
        }
        counts.push((*queues, count));
    }
    if let [(fewer, some), (more, others)] = counts.as_slice() {
        let of = |count: &BTreeMap<Per, usize>, per| count.get(&per).copied().unwrap_or(0);
        let each = of(some, Per::Receiver) / fewer;
        if of(others, Per::Receiver) != each * more {
            complaints.push(format!(
                "{each} series for each receive queue, but {} for {more}",
                of(others, Per::Receiver)
            ));
        }
        if of(some, Per::Host) != of(others, Per::Host) {
            complaints.push(format!("series of the host grow with its queues: {some:?}, {others:?}"));
        }
        let diagnosed = of(some, Per::DiagnosedQueue) / fewer;
        println!(
            "a receive queue has {each} series and {diagnosed} of its diagnosis, the host {}",
            of(some, Per::Host)
        );
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unexpected_series_are_reported() -> Result<()> {
        let scrape = |text: &str| Scrape::parse(text.to_owned());
        let well = "zcrxd_build_info{version=\"1\"} 1\nzcrxd_receiver_received_bytes_total{queue=\"0\"} 1\nzcrx_queue_episode_active{queue=\"0\"} 0\n\
                    zcrxd_thread_responsive{thread=\"sampler\"} 1\n";
        assert_eq!(complaints(&[(1, scrape(well)?)])?, [""; 0]);
        let unknown =
            format!("{well}zcrx_no_such 1\nzcrxd_receiver_connections{{queue=\"0\",colour=\"red\"}} 1\n");
        assert_eq!(complaints(&[(1, scrape(&unknown)?)])?.len(), 2);
        let more = format!("{well}zcrxd_receiver_connections{{queue=\"0\"}} 1\n");
        assert_eq!(complaints(&[(1, scrape(well)?), (1, scrape(&more)?)])?.len(), 1);
        let crowd = "zcrxd_thread_responsive{thread=\"other\"} 1\n".repeat(1 + OTHER_THREADS);
        assert_eq!(complaints(&[(1, scrape(&format!("{well}{crowd}"))?)])?.len(), 1);
        Ok(())
    }
}
