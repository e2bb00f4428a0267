//! `zcrxd nic show`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Format, json, refuse};
use crate::cli::{Exit, complain, print};
use crate::model::{Channels, Interface, MemoryProvider, PagePool, QueueStats, Reading, RxQueue, XdpMode};
use crate::net::{self, NTUPLE, NetError, Netlink, Spread};

/// Features that change what zcrx sees, by the kernel's name.
const FEATURES: [&str; 4] = [NTUPLE, "rx-gro-hw", "rx-lro", "rx-gro"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The interface [default: all]
    #[arg(value_name = "IF", conflicts_with = "all_namespaces")]
    interface: Option<String>,
    /// Look into every network namespace of the host (needs CAP_SYS_ADMIN)
    #[arg(long)]
    all_namespaces: bool,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// What there is in one network namespace.
#[derive(Serialize)]
struct Found {
    /// A name or path of the namespace; `None` for the caller's own.
    namespace: Option<String>,
    interfaces: Vec<Interface>,
    page_pools: Reading<Vec<PagePool>>,
    queue_stats: Reading<Vec<QueueStats>>,
}

pub(super) fn run(args: &Args) -> Exit {
    let own = match look(None, args.interface.as_deref()) {
        Ok(found) => found,
        Err(error) => return refuse(&error),
    };
    let mut found = vec![own];
    if args.all_namespaces {
        // The first is the caller's own.
        for namespace in net::namespaces().into_iter().skip(1) {
            let name = namespace.name.clone().unwrap_or_else(|| namespace.path.display().to_string());
            match net::inside(&namespace.path, || look(Some(name), None)).flatten() {
                Ok(other) => found.push(other),
                Err(error) => complain(&error),
            }
        }
    }
    print(&match args.format {
        Format::Json => json(&found),
        Format::Text => found.iter().map(text).collect::<Vec<_>>().join("\n"),
    });
    Exit::Done
}

fn look(namespace: Option<String>, only: Option<&str>) -> Result<Found, NetError> {
    let mut netlink = Netlink::new();
    let interfaces = match only {
        Some(name) => vec![net::interface(&mut netlink, name)?],
        None => net::interfaces(&mut netlink)?,
    };
    let shown = |ifindex: u32| interfaces.iter().any(|interface| interface.index == ifindex);
    let mut pools: Reading<Vec<PagePool>> = netlink.page_pools().into();
    let mut stats: Reading<Vec<QueueStats>> = netlink.queue_stats(None).into();
    if only.is_some() {
        if let Reading::Known(pools) = &mut pools {
            pools.retain(|pool| pool.ifindex.is_some_and(shown));
        }
        if let Reading::Known(stats) = &mut stats {
            stats.retain(|stats| shown(stats.ifindex));
        }
    }
    Ok(Found { namespace, interfaces, page_pools: pools, queue_stats: stats })
}

fn text(found: &Found) -> String {
    let pools = found.page_pools.known().map_or(&[][..], Vec::as_slice);
    let stats = found.queue_stats.known().map_or(&[][..], Vec::as_slice);
    let mut lines: Vec<String> = found.namespace.iter().map(|name| format!("namespace {name}")).collect();
    for interface in &found.interfaces {
        lines.extend(interface_lines(interface, pools, stats));
    }
    let homeless = pools.iter().filter(|pool| pool.ifindex.is_none() || pool.detached_at.is_some());
    lines.extend(homeless.map(|pool| {
        let since =
            pool.detached_at.map(|at| format!(", let go of at {at} s after boot")).unwrap_or_default();
        format!("page pool {} without a driver{since}: {} buffers out", pool.id, or_unknown(pool.inflight))
    }));
    lines.join("\n") + "\n"
}

fn interface_lines(interface: &Interface, pools: &[PagePool], stats: &[QueueStats]) -> Vec<String> {
    let driver = or_why(&interface.driver, Clone::clone);
    let bus = interface.bus.as_ref().map(|bus| format!(" at {bus}")).unwrap_or_default();
    let state = if interface.up { "up" } else { "down" };
    let mut lines = vec![format!("{} (index {}, {driver}{bus}, {state})", interface.name, interface.index)];
    let mut say = |name: &str, value: String| lines.push(format!("  {name:15} {value}"));
    say(
        "channels",
        or_why(&interface.setup.channels, |channels| {
            let counts = [
                ("combined", channels.combined, channels.combined_max),
                ("rx", channels.rx, channels.rx_max),
                ("tx", channels.tx, channels.tx_max),
            ];
            let present = counts.iter().filter(|(_, _, most)| *most > 0);
            let words: Vec<String> =
                present.map(|(name, count, most)| format!("{name} {count} of {most}")).collect();
            words.join(", ")
        }),
    );
    say(
        "rx ring",
        or_why(&interface.setup.rings, |rings| {
            format!("{} of {}", or_unknown(rings.rx), or_unknown(rings.rx_max))
        }),
    );
    say(
        "tcp-data-split",
        or_why(&interface.setup.rings, |rings| {
            let threshold = rings.hds_thresh.map(|bytes| format!(", hds-thresh {bytes}")).unwrap_or_default();
            format!("{}{threshold}", rings.tcp_data_split.name())
        }),
    );
    let queues = interface.setup.channels.known().map_or(0, Channels::rx_queues);
    say(
        "rss",
        or_why(&interface.setup.rss, |rss| {
            if rss.table.is_empty() {
                return "no table".to_owned();
            }
            format!("{} buckets, {}", rss.table.len(), spread_words(&Spread::of(&rss.table, queues)))
        }),
    );
    say(
        "features",
        or_why(&interface.setup.features, |features| {
            let state = |name: &&str| {
                let feature = features.get(*name)?;
                Some(format!("{name} {}", if feature.active { "on" } else { "off" }))
            };
            FEATURES.iter().filter_map(state).collect::<Vec<_>>().join(", ")
        }),
    );
    match &interface.setup.rules {
        Reading::Unknown(why) => say("flow rules", format!("unknown: {why}")),
        Reading::Known(rules) if rules.rules.is_empty() => say("flow rules", "none".to_owned()),
        Reading::Known(rules) => {
            for rule in &rules.rules {
                say("flow rule", format!("{}: {}", or_unknown(rule.location), rule.text));
            }
        }
    }
    say("xdp", xdp_words(interface));
    lines.extend(queue_lines(interface, pools, stats));
    lines
}

fn spread_words(spread: &Spread) -> String {
    match spread {
        Spread::Default => "over all queues".to_owned(),
        Spread::Equal { start, count: 1 } => format!("all to queue {start}"),
        Spread::Equal { start, count } => format!("over queues {start} to {}", start + count - 1),
        Spread::Weight(shares) => format!("weights {shares:?} by queue"),
        Spread::Table(table) => format!("set by hand: {table:?}"),
    }
}

fn xdp_words(interface: &Interface) -> String {
    let mode = |mode| match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Offload => "offload",
    };
    let programs: Vec<String> = interface
        .xdp
        .iter()
        .map(|program| format!("program {} ({})", program.id, mode(program.mode)))
        .collect();
    if programs.is_empty() { "none".to_owned() } else { programs.join(", ") }
}

fn queue_lines(interface: &Interface, pools: &[PagePool], stats: &[QueueStats]) -> Vec<String> {
    let queues = match &interface.queues {
        Reading::Known(queues) => queues,
        Reading::Unknown(why) => return vec![format!("  {:15} unknown: {why}", "queues")],
    };
    if queues.is_empty() {
        return Vec::new();
    }
    let by_napi: BTreeMap<u64, &PagePool> = pools
        .iter()
        .filter(|pool| pool.ifindex == Some(interface.index) && pool.detached_at.is_none())
        .filter_map(|pool| Some((pool.napi_id?, pool)))
        .collect();
    let mut rows = vec![
        ["queue", "napi", "fed by", "pool", "inflight", "packets", "bytes", "alloc_fail", "hw_drops"]
            .map(str::to_owned),
    ];
    for queue in queues {
        let pool = queue.napi_id.and_then(|napi| by_napi.get(&u64::from(napi)));
        let stats = stats.iter().find(|stats| (stats.ifindex, stats.queue) == (interface.index, queue.id));
        rows.push([
            queue.id.to_string(),
            or_unknown(queue.napi_id),
            fed_by(queue),
            or_unknown(pool.map(|pool| pool.id)),
            or_unknown(pool.and_then(|pool| pool.inflight)),
            or_unknown(stats.and_then(|stats| stats.packets)),
            or_unknown(stats.and_then(|stats| stats.bytes)),
            or_unknown(stats.and_then(|stats| stats.alloc_fail)),
            or_unknown(stats.and_then(|stats| stats.hw_drops)),
        ]);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; 9]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn fed_by(queue: &RxQueue) -> String {
    match queue.provider {
        Some(MemoryProvider::IoUring { .. }) => "zcrx".to_owned(),
        Some(MemoryProvider::Dmabuf { id }) => format!("dmabuf {id}"),
        None if queue.af_xdp => "AF_XDP".to_owned(),
        None => "driver".to_owned(),
    }
}

/// A value or a dash: unknown is not zero.
fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn or_why<T>(reading: &Reading<T>, say: impl Fn(&T) -> String) -> String {
    match reading {
        Reading::Known(value) => say(value),
        Reading::Unknown(why) => format!("unknown: {why}"),
    }
}
