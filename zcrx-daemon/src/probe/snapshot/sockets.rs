//! What waits in the sockets of queues' owners, and which queue it is laid to.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use zcrx_common::snapshot::{Sockets, SocketsKey};

use super::super::{iterator, object};
use crate::model::{KernelQueue, SocketBacklog};

const PROGRAM: &str = "snapshot_sockets";

/// Sums by process and NAPI instance.
pub(super) type Sums = BTreeMap<(u32, u32), SocketBacklog>;

pub(super) struct Reader {
    sums: HashMap<MapData, SocketsKey, Sockets>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self { sums: object::map(ebpf, "SNAPSHOT_SOCKETS")? })
    }

    /// Adds up the sockets of the owners that the snapshot of this generation found.
    pub(super) fn read(&self, ebpf: &mut Ebpf, generation: u64) -> Result<Sums, String> {
        iterator::run(ebpf, PROGRAM)?;
        let mut sums = Sums::new();
        for entry in &self.sums {
            let (key, sum) = entry.map_err(|error| format!("SNAPSHOT_SOCKETS: {error}"))?;
            if sum.generation == generation {
                let SocketsKey { pid, napi_id } = key;
                sums.insert((pid, napi_id), backlog(&sum));
            }
        }
        Ok(sums)
    }
}

const fn backlog(sum: &Sockets) -> SocketBacklog {
    SocketBacklog {
        sockets: sum.sockets,
        unread_bytes: sum.unread_bytes,
        limit_bytes: sum.limit_bytes,
        armed: None,
        unarmed_unread_bytes: None,
        buffered_bytes: None,
    }
}

/// Gives a queue what waits in the sockets that it feeds, or says why that cannot be told.
///
/// A socket knows which NAPI instance delivered to it last. Where the queue's driver does not say which one serves it,
/// or there is no device, all sockets of the owner count, if this is its only queue.
pub(super) fn lay(queue: &mut KernelQueue, queues_of: &BTreeMap<u32, usize>, sums: Result<&Sums, &str>) {
    match backlog_of(queue, queues_of, sums) {
        Ok(backlog) => queue.sockets = Some(backlog),
        Err(reason) => queue.sockets_unknown = Some(reason),
    }
}

fn backlog_of(
    queue: &KernelQueue,
    queues_of: &BTreeMap<u32, usize>,
    sums: Result<&Sums, &str>,
) -> Result<SocketBacklog, String> {
    let sums = sums.map_err(str::to_owned)?;
    if queue.owners.is_empty() {
        return Err("its owner is not known".to_owned());
    }
    let mut total = SocketBacklog::default();
    for owner in &queue.owners {
        if queue.napi_id.is_none() && queues_of.get(&owner.pid).is_some_and(|&queues| queues > 1) {
            return Err(format!(
                "{} has several queues, and {} not told, so its sockets cannot be told apart",
                owner.comm,
                if queue.ifindex.is_some() {
                    "the NAPI instance of this one is"
                } else {
                    "without a device it is"
                }
            ));
        }
        for ((_, napi_id), sum) in sums.range((owner.pid, 0)..=(owner.pid, u32::MAX)) {
            if queue.napi_id.is_none_or(|wanted| wanted == *napi_id) {
                total.sockets += sum.sockets;
                total.unread_bytes += sum.unread_bytes;
                total.limit_bytes += sum.limit_bytes;
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Owner;

    fn queue(pids: &[u32], napi_id: Option<u32>) -> KernelQueue {
        let owner = |&pid| Owner { pid, comm: "receiver".to_owned(), fd: None, cgroup: None };
        let owners = pids.iter().map(owner).collect();
        KernelQueue { owners, napi_id, ifindex: napi_id, ..KernelQueue::default() }
    }

    fn sums(entries: &[(u32, u32, u64)]) -> Sums {
        let sum = |&(pid, napi_id, unread_bytes): &(u32, u32, u64)| {
            (
                (pid, napi_id),
                SocketBacklog { sockets: 1, unread_bytes, limit_bytes: 1000, ..SocketBacklog::default() },
            )
        };
        entries.iter().map(sum).collect()
    }

    /// Two queues of process 1, on NAPI instances 81 and 82; one of process 2 without a device.
    fn unread(queue: &KernelQueue) -> Result<u64, String> {
        let sums = sums(&[(1, 0, 5), (1, 81, 100), (1, 82, 200), (2, 0, 7), (2, 90, 8), (3, 81, 1)]);
        let queues_of = [(1, 2), (2, 1), (3, 1)].into();
        backlog_of(queue, &queues_of, Ok(&sums)).map(|backlog| backlog.unread_bytes)
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
    fn what_cannot_be_told_says_why() {
        let mut queue = queue(&[1], Some(81));
        lay(&mut queue, &BTreeMap::new(), Err("not attached"));
        assert_eq!((queue.sockets, queue.sockets_unknown.as_deref()), (None, Some("not attached")));
    }
}
