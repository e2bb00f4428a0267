//! The sockets in which the most data waits, against what their program says of them.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::Foreign;
use crate::harness::namespace::Namespace;
use crate::harness::random::{self, Random};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[TOP];

/// How many sockets zcrxd names.
const NAMED: usize = 4;
/// What connections carry, bytes: apart far enough that the overhead of packets does not change their order, and less than a socket
/// takes.
const SIZES: [u64; 7] = [1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 60 << 10];
const PORT: u16 = 5001;

const TOP: Scenario = Scenario {
    name: "top-sockets",
    about: "of a program that reads from none of seven connections, over IPv4 and IPv6, opened in an order of the seed, `zcrxd diagnose` \
            names the four in which most waits: process, descriptor, peer and unread bytes are the program's own",
    needs: &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 200,
    default: true,
    run: || {
        let host = Namespace::create()?;
        let listen = format!("[::]:{PORT}");
        let mut foreign = Foreign::start(&host, &["--listen", &listen, "--fault", "not-reading"])?;
        let daemon = Daemon::start(&host, &[])?;
        let mut random = Random::new(random::seed());
        let mut sizes = SIZES.to_vec();
        let mut traffic = Vec::new();
        while !sizes.is_empty() {
            let size = sizes.swap_remove(random.below(sizes.len() as u32) as usize);
            let to = random.one_of(&["127.0.0.1", "[::1]"]);
            traffic.push(Traffic::start(&host, &format!("{to}:{PORT}"), size, &[])?);
        }
        // Beside the headers of the test pattern.
        let total: u64 = SIZES.iter().sum();
        foreign.until("all of it waits", STEP_LIMIT, |truth| {
            sockets(truth).filter_map(|socket| socket["unread_bytes"].as_u64()).sum::<u64>() >= total
        })?;
        let truth = largest(&foreign.truth()?)?;
        let pid = foreign.pid();
        let mut last = Value::Null;
        let shown = eventually("zcrxd names them", STEP_LIMIT, || {
            last = top(&daemon)?;
            let shown: Result<Vec<Named>> = last.as_array().into_iter().flatten().map(Named::of).collect();
            let foreign = last
                .as_array()
                .into_iter()
                .flatten()
                .all(|socket| socket["pid"] == pid && socket["port"] == PORT && socket["armed"] == false);
            Ok((foreign && shown? == truth).then_some(()))
        });
        shown.with_context(|| format!("the program has {truth:?}, zcrxd shows {last}"))?;
        for connection in traffic {
            connection.abandon()?;
        }
        daemon.stop()?;
        foreign.quit()
    },
};

/// A socket, as both sides name it.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    fd: u64,
    peer: SocketAddr,
    unread_bytes: u64,
}

impl Named {
    fn of(socket: &Value) -> Result<Self> {
        let number = |name: &str| socket[name].as_u64().with_context(|| format!("no {name} in {socket}"));
        let peer = socket["peer"].as_str().with_context(|| format!("no peer in {socket}"))?;
        let peer: SocketAddr = peer.parse()?;
        // A listener for both families has IPv4 peers under mapped addresses.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Ok(Self { fd: number("fd")?, peer, unread_bytes: number("unread_bytes")? })
    }
}

fn sockets(truth: &Value) -> impl Iterator<Item = &Value> {
    truth["sockets"].as_array().into_iter().flatten()
}

/// The program's sockets in which most waits, most first.
fn largest(truth: &Value) -> Result<Vec<Named>> {
    let mut all = sockets(truth).map(Named::of).collect::<Result<Vec<_>>>()?;
    ensure!(all.len() == SIZES.len(), "{} sockets", all.len());
    all.sort_by_key(|socket| std::cmp::Reverse(socket.unread_bytes));
    all.truncate(NAMED);
    Ok(all)
}

/// What zcrxd shows of the only queue.
fn top(daemon: &Daemon<'_>) -> Result<Value> {
    let report = daemon.diagnose_json()?;
    let queues = report["queues"].as_array().context("no list of queues")?;
    ensure!(queues.len() == 1, "{} queues", queues.len());
    Ok(queues[0]["report"]["top_sockets"].clone())
}
