//! What waits in the sockets of queues' owners, and which queue it belongs to.

use std::collections::{BTreeMap, BTreeSet};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use zcrx_common::snapshot::{Sockets, SocketsKey};

use super::super::{iterator, object};
use super::process::lives;
use crate::model::{KernelQueue, SocketBacklog};

const PROGRAM: &str = "snapshot_sockets";

/// Sockets of one process whose data came by one NAPI instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) pid: u32,
    pub(super) napi_id: u32,
    /// Queue and ring of the receive that is armed on them; `None` without one.
    pub(super) armed: Option<(u64, u64)>,
}

/// Sums by place.
pub(super) type Sums = BTreeMap<Place, SocketBacklog>;

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
                sums.insert(Place { pid, napi_id, armed }, backlog(&sum));
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
    /// Whether a receive is armed.
    pub(super) armed: bool,
    /// The memory that they account for.
    pub(super) buffered: bool,
    /// In how many buffers a packet lies.
    pub(super) buffers: bool,
}

impl SocketFigures {
    fn nothing(self) -> SocketBacklog {
        SocketBacklog {
            armed: self.armed.then_some(0),
            unarmed_unread_bytes: self.armed.then_some(0),
            buffered_bytes: self.buffered.then_some(0),
            buffers: (self.buffered && self.buffers).then_some(0),
            ..SocketBacklog::default()
        }
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
        Ok(backlog) => queue.sockets = Some(backlog),
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
    let sums = sums.map_err(str::to_owned)?;
    if !has.armed {
        return Err("several rings share the queue, and this kernel's types do not describe armed receives"
            .to_owned());
    }
    let mut total = SocketBacklog { unarmed_unread_bytes: None, ..has.nothing() };
    for (_, sum) in sums.iter().filter(|(place, _)| place.armed == Some((ifq, ring))) {
        add(&mut total, sum, true);
    }
    Ok(total)
}

fn backlog_of(
    queue: &KernelQueue,
    queues_of: &BTreeMap<u32, usize>,
    sums: Result<&Sums, &str>,
    has: SocketFigures,
) -> Result<SocketBacklog, String> {
    let sums = sums.map_err(str::to_owned)?;
    if queue.owners.is_empty() {
        return Err("its owner is not known".to_owned());
    }
    let mut total = has.nothing();
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
                add(&mut total, sum, place.armed.is_some());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Owner, QueueRing};

    const ALL_FIGURES: SocketFigures = SocketFigures { armed: true, buffered: true, buffers: true };

    fn queue(pids: &[u32], napi_id: Option<u32>) -> KernelQueue {
        let owner = |&pid| Owner { pid, comm: "receiver".to_owned(), fd: None, cgroup: None };
        let owners = pids.iter().map(owner).collect();
        KernelQueue { ifq: 7, owners, napi_id, ifindex: napi_id, ..KernelQueue::default() }
    }

    /// Process, NAPI instance, queue and ring of the armed receive, unread bytes.
    type Entry = (u32, u32, Option<(u64, u64)>, u64);

    fn sums(entries: &[Entry]) -> Sums {
        let sum = |&(pid, napi_id, armed, unread_bytes): &Entry| {
            let backlog = SocketBacklog {
                sockets: 1,
                unread_bytes,
                limit_bytes: 1000,
                buffered_bytes: Some(unread_bytes * 2),
                buffers: Some(unread_bytes / 5),
                ..SocketBacklog::default()
            };
            (Place { pid, napi_id, armed }, backlog)
        };
        entries.iter().map(sum).collect()
    }

    /// Two queues of process 1, on NAPI instances 81 and 82; one of process 2 without a device.
    fn unread(queue: &KernelQueue) -> Result<u64, String> {
        let none = None;
        let sums = sums(&[
            (1, 0, none, 5),
            (1, 81, none, 100),
            (1, 82, none, 200),
            (2, 0, none, 7),
            (2, 90, none, 8),
            (3, 81, none, 1),
        ]);
        let queues_of = [(1, 2), (2, 1), (3, 1)].into();
        backlog_of(queue, &queues_of, Ok(&sums), ALL_FIGURES).map(|backlog| backlog.unread_bytes)
    }

    #[test]
    fn sockets_go_to_the_queue_whose_napi_instance_fed_them() {
        assert_eq!(unread(&queue(&[1], Some(81))), Ok(100));
        assert_eq!(unread(&queue(&[1], Some(82))), Ok(200));
        assert_eq!(unread(&queue(&[1], Some(83))), Ok(0));
        assert_eq!(unread(&queue(&[1, 3], Some(81))), Ok(101), "after a fork each socket is counted once");
    }

    #[test]
    fn without_a_napi_instance_an_only_queue_has_all_of_its_owners() {
        assert_eq!(unread(&queue(&[2], None)), Ok(15));
        assert!(unread(&queue(&[1], None)).is_err_and(|reason| reason.contains("several queues")));
        assert!(unread(&queue(&[], Some(81))).is_err());
    }

    #[test]
    fn armed_sockets_go_to_the_queue_of_their_receive() {
        let sums = sums(&[(1, 0, Some((7, 50)), 10), (1, 81, Some((8, 50)), 20), (1, 81, None, 40)]);
        let backlog = backlog_of(&queue(&[1], Some(81)), &[(1, 2)].into(), Ok(&sums), ALL_FIGURES);
        let backlog = backlog.expect("NAPI instance and receives are known");
        assert_eq!((backlog.sockets, backlog.armed, backlog.unread_bytes), (2, Some(1), 50));
        assert_eq!((backlog.unarmed_unread_bytes, backlog.buffered_bytes), (Some(40), Some(100)));
        assert_eq!(backlog.buffers, Some(10));
    }

    #[test]
    fn each_of_several_rings_has_the_sockets_it_armed() {
        let sums = sums(&[(1, 0, Some((7, 50)), 10), (1, 0, Some((7, 51)), 30)]);
        let ring = |id| QueueRing { id, ..QueueRing::default() };
        let mut queue = KernelQueue { rings: vec![ring(50), ring(51)], ..queue(&[1], None) };
        assign(&mut queue, &[(1, 1)].into(), Ok(&sums), ALL_FIGURES);
        let unread: Vec<_> =
            queue.rings.iter().map(|ring| ring.sockets.map(|all| all.unread_bytes)).collect();
        assert_eq!(unread, [Some(10), Some(30)]);
        assert_eq!(queue.sockets.map(|all| all.unread_bytes), Some(40));
    }

    #[test]
    fn buffers_follow_from_the_packets_that_were_looked_at() {
        // Two first packets of 17 frames, a page for each, and the overhead of a packet; 1,023 such frames wait.
        let packets =
            Sockets { packet_bytes: 2 * (17 * 4096 + 896), packet_buffers: 34, ..Sockets::default() };
        let of = |buffered_bytes, packets: Sockets| buffers(&Sockets { buffered_bytes, ..packets });
        assert_eq!(of(1023 * 4096 + 61 * 896, packets), Some(1023));
        assert_eq!(of(0, Sockets::default()), Some(0));
        assert_eq!(of(4992, Sockets::default()), None, "only out-of-order data");
    }

    #[test]
    fn unknown_sockets_say_why() {
        let mut queue = queue(&[1], Some(81));
        assign(&mut queue, &BTreeMap::new(), Err("not attached"), ALL_FIGURES);
        assert_eq!((queue.sockets, queue.sockets_unknown.as_deref()), (None, Some("not attached")));
    }
}
