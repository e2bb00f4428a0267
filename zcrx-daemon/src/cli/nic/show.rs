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
            let jumbo = rings.rx_jumbo.filter(|descriptors| *descriptors > 0);
            let jumbo = jumbo.map(|descriptors| {
                format!(", payload in rx-jumbo: {descriptors} of {}", or_unknown(rings.rx_jumbo_max))
            });
            format!("{} of {}{}", or_unknown(rings.rx), or_unknown(rings.rx_max), jumbo.unwrap_or_default())
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
            let hash = match rss.input_xfrm {
                0 => String::new(),
                xfrm => format!(", symmetric hashing ({xfrm})"),
            };
            format!("{} buckets, {}{hash}", rss.table.len(), spread_words(&Spread::of(&rss.table, queues)))
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
    if let Some(pause) = interface.pause {
        let state = |on| if on { "on" } else { "off" };
        say("pause frames", format!("rx {}, tx {}", state(pause.rx), state(pause.tx)));
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
    let pools = QueuePools::of(interface, queues, pools);
    let mut rows = vec![
        ["queue", "napi", "fed by", "pool", "inflight", "packets", "bytes", "alloc_fail", "hw_drops"]
            .map(str::to_owned),
    ];
    for queue in queues {
        let pools = pools.of_queue(queue);
        let stats = stats.iter().find(|stats| (stats.ifindex, stats.queue) == (interface.index, queue.id));
        rows.push([
            queue.id.to_string(),
            or_unknown(queue.napi_id),
            fed_by(queue),
            pools.ids(),
            or_unknown(pools.inflight()),
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

/// Page pools of an interface by the NAPI instance that uses them, which is all that the kernel says of them.
///
/// A queue may have several (fbnic: headers and payload), and several queues may share a NAPI instance.
struct QueuePools<'a> {
    by_napi: BTreeMap<u64, Vec<&'a PagePool>>,
    queues: &'a [RxQueue],
}

/// The pools of one queue; or, where several queues share them, of all these.
struct Pools<'a> {
    pools: Vec<&'a PagePool>,
    shared: bool,
}

impl<'a> QueuePools<'a> {
    fn of(interface: &Interface, queues: &'a [RxQueue], pools: &'a [PagePool]) -> Self {
        let mut by_napi: BTreeMap<u64, Vec<&PagePool>> = BTreeMap::new();
        let present =
            pools.iter().filter(|pool| pool.ifindex == Some(interface.index) && pool.detached_at.is_none());
        for pool in present {
            if let Some(napi) = pool.napi_id {
                by_napi.entry(napi).or_default().push(pool);
            }
        }
        Self { by_napi, queues }
    }

    /// The payload pool of a queue with a provider is the one with that provider; elsewhere all pools of its NAPI count.
    fn of_queue(&self, queue: &RxQueue) -> Pools<'a> {
        let napi = queue.napi_id.map(u64::from);
        let all = napi.and_then(|napi| self.by_napi.get(&napi)).map_or(&[][..], Vec::as_slice);
        let same_kind = |other: &&RxQueue| {
            other.napi_id == queue.napi_id && other.provider.is_some() == queue.provider.is_some()
        };
        let pools =
            all.iter().copied().filter(|pool| queue.provider.is_none() || pool.provider.is_some()).collect();
        Pools { pools, shared: self.queues.iter().filter(same_kind).count() > 1 }
    }
}

impl Pools<'_> {
    fn ids(&self) -> String {
        let ids: Vec<String> = self.pools.iter().map(|pool| pool.id.to_string()).collect();
        match (ids.is_empty(), self.shared) {
            (true, _) => "-".to_owned(),
            (false, false) => ids.join(","),
            (false, true) => format!("of {}", ids.join(",")),
        }
    }

    /// Buffers in flight; unknown where the pools are other queues' too.
    fn inflight(&self) -> Option<u64> {
        if self.shared || self.pools.is_empty() {
            return None;
        }
        self.pools.iter().map(|pool| pool.inflight).sum()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::needs::fixture::ready;

    fn pool(id: u64, napi: u64, inflight: u64, zcrx: bool) -> PagePool {
        let provider = zcrx.then_some(MemoryProvider::IoUring { rx_buf_len: None });
        PagePool {
            id,
            ifindex: Some(2),
            napi_id: Some(napi),
            inflight: Some(inflight),
            provider,
            ..PagePool::default()
        }
    }

    fn queue(id: u32, napi: u32, zcrx: bool) -> RxQueue {
        let provider = zcrx.then_some(MemoryProvider::IoUring { rx_buf_len: None });
        RxQueue { ifindex: 2, id, napi_id: Some(napi), provider, af_xdp: false }
    }

    #[test]
    fn a_queue_with_two_pools_shows_both_and_a_zcrx_queue_its_payload_pool() {
        let pools =
            [pool(1, 10, 5, false), pool(2, 10, 7, false), pool(3, 11, 9, false), pool(4, 11, 8, true)];
        let queues = [queue(0, 10, false), queue(1, 11, true)];
        let found = QueuePools::of(&ready(), &queues, &pools);
        let (ordinary, zcrx) = (found.of_queue(&queues[0]), found.of_queue(&queues[1]));
        assert_eq!((ordinary.ids(), ordinary.inflight()), ("1,2".to_owned(), Some(12)));
        assert_eq!((zcrx.ids(), zcrx.inflight()), ("4".to_owned(), Some(8)));
    }

    #[test]
    fn queues_that_share_a_napi_are_not_told_apart() {
        let pools = [pool(1, 10, 5, false), pool(2, 10, 7, false), pool(3, 10, 2, true)];
        let queues = [queue(0, 10, false), queue(1, 10, false), queue(2, 10, true)];
        let found = QueuePools::of(&ready(), &queues, &pools);
        let (ordinary, zcrx) = (found.of_queue(&queues[0]), found.of_queue(&queues[2]));
        assert_eq!((ordinary.ids(), ordinary.inflight()), ("of 1,2,3".to_owned(), None));
        assert_eq!((zcrx.ids(), zcrx.inflight()), ("3".to_owned(), Some(2)));
    }
}
