//! What waits in the sockets of queues' owners, and which queue it belongs to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use zcrx_common::snapshot::{self, NO_FD, Sockets, SocketsKey, TOP_SOCKETS};

use super::super::{iterator, object};
use super::process::lives;
use crate::model::{KernelQueue, SocketBacklog, TopSocket};

const PROGRAM: &str = "snapshot_sockets";

/// Sockets of one process whose data came by one NAPI instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) pid: u32,
    pub(super) napi_id: u32,
    /// Queue and ring of the receive that is armed on them; `None` without one.
    pub(super) armed: Option<(u64, u64)>,
}

/// The sockets of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    backlog: SocketBacklog,
    /// Those in which the most data waits.
    top: Vec<TopSocket>,
}

/// Sums by place.
pub(super) type Sums = BTreeMap<Place, Sum>;

/// Processes whose threads are visited one process at a time; with more of them, one walk over all threads of the host costs less.
const MOST_OWNERS: usize = 64;

pub(super) struct Reader {
    sums: HashMap<MapData, SocketsKey, Sockets>,
    owners: HashMap<MapData, u32, u64>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self {
            sums: object::map(ebpf, "SNAPSHOT_SOCKETS")?,
            owners: object::map(ebpf, "SNAPSHOT_OWNERS")?,
        })
    }

    /// Removes processes that have exited from the table of those that hold a ring.
    pub(super) fn forget_exited(&mut self) {
        let processes: Vec<u32> = self.owners.keys().filter_map(Result::ok).collect();
        for process in processes {
            if !lives(process) {
                self.forget(process);
            }
        }
    }

    /// Removes a process from that table.
    pub(super) fn forget(&mut self, process: u32) {
        // One that is not there is forgotten as well.
        self.owners.remove(&process).ok();
    }

    /// Adds up the sockets of the owners that the snapshot of this generation found. Without them, all threads of the host are visited
    /// for those that the programs noted.
    pub(super) fn read(
        &mut self,
        ebpf: &mut Ebpf,
        generation: u64,
        owners: Option<&BTreeSet<u32>>,
    ) -> Result<Sums, String> {
        match owners.filter(|owners| owners.len() <= MOST_OWNERS) {
            Some(owners) => {
                for &owner in owners {
                    // The programs do not note those that are known from an earlier walk only.
                    self.owners
                        .insert(owner, generation, 0)
                        .map_err(|error| format!("SNAPSHOT_OWNERS: {error}"))?;
                    iterator::run_for_process(ebpf, PROGRAM, owner)?;
                }
            }
            None => iterator::run(ebpf, PROGRAM)?,
        }
        let mut sums = Sums::new();
        let mut stale = Vec::new();
        for entry in &self.sums {
            let (key, sum) = entry.map_err(|error| format!("SNAPSHOT_SOCKETS: {error}"))?;
            if sum.generation == generation {
                let SocketsKey { pid, napi_id, ifq, ring } = key;
                let armed = (ifq != 0).then_some((ifq, ring));
                let top = sum.top.iter().filter_map(|socket| named(pid, armed.is_some(), socket)).collect();
                sums.insert(Place { pid, napi_id, armed }, Sum { backlog: backlog(&sum), top });
            } else {
                stale.push(key);
            }
        }
        for key in stale {
            // One that is not there is removed as well.
            self.sums.remove(&key).ok();
        }
        Ok(sums)
    }
}

/// A socket by its addresses; `None` for an empty place.
fn named(pid: u32, armed: bool, socket: &snapshot::TopSocket) -> Option<TopSocket> {
    let address = match i32::from(socket.family) {
        libc::AF_INET => {
            let [a, b, c, d, ..] = socket.peer;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(socket.peer)).to_canonical(),
        _ => return None,
    };
    Some(TopSocket {
        pid,
        fd: (socket.fd != NO_FD).then_some(socket.fd),
        port: socket.port,
        peer: SocketAddr::new(address, u16::from_be(socket.peer_port)),
        unread_bytes: socket.unread_bytes,
        buffered_bytes: Some(socket.buffered_bytes),
        armed: Some(armed),
    })
}

fn backlog(sum: &Sockets) -> SocketBacklog {
    SocketBacklog {
        sockets: sum.sockets,
        unread_bytes: sum.unread_bytes,
        limit_bytes: sum.limit_bytes,
        armed: None,
        unarmed_unread_bytes: None,
        buffered_bytes: Some(sum.buffered_bytes),
        buffers: buffers(sum),
    }
}

/// Buffers of the data that sockets account for: as many as in the same memory of their first packets. Of what is only out of order, no
/// packet was looked at.
fn buffers(sum: &Sockets) -> Option<u64> {
    if sum.buffered_bytes == 0 {
        return Some(0);
    }
    let per_byte = u128::from(sum.buffered_bytes) * u128::from(sum.packet_buffers);
    per_byte.checked_div(sum.packet_bytes.into())?.try_into().ok()
}

fn add(total: &mut SocketBacklog, sum: &SocketBacklog, armed: bool) {
    total.sockets += sum.sockets;
    total.unread_bytes += sum.unread_bytes;
    total.limit_bytes += sum.limit_bytes;
    total.buffered_bytes = total.buffered_bytes.zip(sum.buffered_bytes).map(|(total, sum)| total + sum);
    total.buffers = total.buffers.zip(sum.buffers).map(|(total, sum)| total + sum);
    if armed {
        total.armed = total.armed.map(|armed| armed + sum.sockets);
    } else {
        total.unarmed_unread_bytes = total.unarmed_unread_bytes.map(|unread| unread + sum.unread_bytes);
    }
}

/// Figures of sockets, beside the sums, that this kernel's types describe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SocketFigures {
    /// How much waits in them: without that, they say nothing.
    pub(super) unread: bool,
    /// Whether a receive is armed.
    pub(super) armed: bool,
    /// The memory that they account for.
    pub(super) buffered: bool,
    /// In how many buffers a packet lies.
    pub(super) buffers: bool,
    /// Ports and peers.
    pub(super) peers: bool,
}

impl SocketFigures {
    /// The sums, or why they are not used.
    fn usable<'s>(self, sums: Result<&'s Sums, &str>) -> Result<&'s Sums, String> {
        if !self.unread {
            let reason =
                "the self-check read unread bytes wrong, or this kernel's types do not describe them";
            return Err(reason.to_owned());
        }
        sums.map_err(str::to_owned)
    }

    fn nothing(self) -> SocketBacklog {
        SocketBacklog {
            armed: self.armed.then_some(0),
            unarmed_unread_bytes: self.armed.then_some(0),
            buffered_bytes: self.buffered.then_some(0),
            buffers: (self.buffered && self.buffers).then_some(0),
            ..SocketBacklog::default()
        }
    }

    /// The sockets that a queue names, of those that its places name, without what is not known of them.
    fn of(self, mut top: Vec<TopSocket>) -> Vec<TopSocket> {
        top.sort_by_key(|socket| Reverse(socket.waiting()));
        top.truncate(TOP_SOCKETS);
        for socket in &mut top {
            socket.armed = socket.armed.filter(|_| self.armed);
            socket.buffered_bytes = socket.buffered_bytes.filter(|_| self.buffered);
        }
        top
    }
}

/// Gives a queue, and each of its rings, what waits in the sockets that it feeds, or says why that is not known.
///
/// An armed receive names its queue and its ring. Without one, a socket knows which NAPI instance delivered to it last. Where the
/// queue's driver does not say which one serves it, or there is no device, all sockets of the owner count, if this is its only
/// queue.
pub(super) fn assign(
    queue: &mut KernelQueue,
    queues_of: &BTreeMap<u32, usize>,
    sums: Result<&Sums, &str>,
    has: SocketFigures,
) {
    match backlog_of(queue, queues_of, sums, has) {
        Ok(sum) => {
            queue.sockets = Some(sum.backlog);
            queue.top_sockets = has.peers.then(|| has.of(sum.top));
        }
        Err(reason) => queue.sockets_unknown = Some(reason),
    }
    let alone = queue.rings.len() == 1;
    for ring in &mut queue.rings {
        let own = if alone {
            queue.sockets.ok_or_else(|| queue.sockets_unknown.clone().unwrap_or_default())
        } else {
            armed_of(queue.ifq, ring.id, sums, has)
        };
        match own {
            Ok(backlog) => ring.sockets = Some(backlog),
            Err(reason) => ring.sockets_unknown = Some(reason),
        }
    }
}

/// The sockets on which one of several rings has armed a receive. Other sockets cannot be attributed to a ring.
fn armed_of(
    ifq: u64,
    ring: u64,
    sums: Result<&Sums, &str>,
    has: SocketFigures,
) -> Result<SocketBacklog, String> {
    let sums = has.usable(sums)?;
    if !has.armed {
        return Err("several rings share the queue, and this kernel's types do not describe armed receives"
            .to_owned());
    }
    let mut total = SocketBacklog { unarmed_unread_bytes: None, ..has.nothing() };
    for (_, sum) in sums.iter().filter(|(place, _)| place.armed == Some((ifq, ring))) {
        add(&mut total, &sum.backlog, true);
    }
    Ok(total)
}

fn backlog_of(
    queue: &KernelQueue,
    queues_of: &BTreeMap<u32, usize>,
    sums: Result<&Sums, &str>,
    has: SocketFigures,
) -> Result<Sum, String> {
    let sums = has.usable(sums)?;
    if queue.owners.is_empty() {
        return Err("its owner is not known".to_owned());
    }
    let mut total = Sum { backlog: has.nothing(), top: Vec::new() };
    for owner in &queue.owners {
        let first = Place { pid: owner.pid, napi_id: 0, armed: None };
        let last = Place { pid: owner.pid, napi_id: u32::MAX, armed: Some((u64::MAX, u64::MAX)) };
        for (place, sum) in sums.range(first..=last) {
            let fed = match place.armed {
                Some((ifq, _)) => ifq == queue.ifq,
                None if queue.napi_id.is_none()
                    && queues_of.get(&owner.pid).is_some_and(|&queues| queues > 1) =>
                {
                    return Err(format!(
                        "{} has several queues, and {} not known, so zcrxd cannot assign its sockets to a queue",
                        owner.comm,
                        if queue.ifindex.is_some() {
                            "the NAPI instance of this one is"
                        } else {
                            "without a device it is"
                        }
                    ));
                }
                None => queue.napi_id.is_none_or(|wanted| wanted == place.napi_id),
            };
            if fed {
                add(&mut total.backlog, &sum.backlog, place.armed.is_some());
                total.top.extend(sum.top.iter().cloned());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests;
