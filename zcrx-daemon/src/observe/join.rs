//! Joins the figures of each queue in one sample: the owner's, the kernel's and the NIC's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cgroup::Cgroups;
use super::identity::{Identities, Life};
use super::nic::{NicSample, buffer_bytes};
use crate::model::{
    BackendKind, CopyCount, KernelQueue, KernelSnapshot, Owner, QueueKey, QueueSample, ReceiveSample,
    RunState,
};

/// The sources that know a queue.
#[derive(Clone, Copy)]
enum Seen<'a> {
    ByKernel(&'a Arc<KernelQueue>, Option<&'a ReceiveSample>),
    ByItself(&'a ReceiveSample),
}

/// The queue that a page pool serves or served.
#[derive(Debug)]
struct PoolOwner {
    ifq: u64,
    key: QueueKey,
    generation: u64,
    owner: Option<Owner>,
}

/// Joins the figures of each queue in one sample, and remembers the queues.
#[derive(Debug, Default)]
pub struct Join {
    identities: Identities,
    /// The queue of each page pool: a pool may outlive its queue.
    pools: BTreeMap<u32, PoolOwner>,
    cgroups: Cgroups,
}

impl Join {
    /// Returns one sample of each queue, and of each page pool whose queue is gone.
    pub fn samples(
        &mut self,
        at: Duration,
        receive: &[ReceiveSample],
        snapshot: Option<&KernelSnapshot>,
        nic: &NicSample,
    ) -> Vec<QueueSample> {
        let kernel = snapshot.map(|snapshot| snapshot.queues.as_slice()).unwrap_or_default();
        let seen = lay_side_by_side(receive, kernel, nic.netns);
        let names = self.identities.name(seen.iter().map(life).collect());
        self.cgroups.refresh(at);
        let mut samples: Vec<_> = seen
            .iter()
            .zip(names)
            .map(|(seen, (key, generation))| {
                sample(seen, QueueSample::unknown(key, generation, at), nic, &mut self.cgroups)
            })
            .collect();
        for sample in &samples {
            if let Some(kernel) = &sample.kernel
                && let Some(pool) = kernel.pool
            {
                let (key, owner) = (sample.key.clone(), sample.owner.clone());
                let whose = PoolOwner { ifq: kernel.ifq, key, generation: sample.generation, owner };
                self.pools.insert(pool.id, whose);
            }
        }
        samples.extend(self.left_behind(at, kernel, nic));
        samples
    }

    /// Whether zcrxd must read page pools although no queue exists: detached pools remain.
    pub(super) fn remembers_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// Samples of detached pools whose queue is gone and was sampled before. If the queue still exists with another pool, the driver
    /// has restarted it, and the queue's sample counts its buffers. Forgets pools that are gone.
    fn left_behind(
        &mut self,
        at: Duration,
        kernel: &[Arc<KernelQueue>],
        nic: &NicSample,
    ) -> Vec<QueueSample> {
        let lives = |id| kernel.iter().any(|queue| queue.pool.is_some_and(|pool| pool.id == id));
        self.pools.retain(|id, _| lives(*id) || nic.pool(*id).is_some());
        let restarted = |whose: &PoolOwner| kernel.iter().any(|queue| queue.ifq == whose.ifq);
        let gone = self.pools.iter().filter(|(id, whose)| !lives(**id) && !restarted(whose));
        gone.filter_map(|(id, PoolOwner { key, generation, owner, .. })| {
            let pool = nic.pool(*id).filter(|pool| pool.detached_at.is_some())?;
            Some(QueueSample {
                owner: owner.clone(),
                nic: nic.pool_figures(pool),
                ..QueueSample::unknown(key.clone(), *generation, at)
            })
        })
        .collect()
    }
}

/// Pairs local queues with the kernel's, in the order in which they get names.
fn lay_side_by_side<'a>(
    receive: &'a [ReceiveSample],
    kernel: &'a [Arc<KernelQueue>],
    netns: Option<u64>,
) -> Vec<Seen<'a>> {
    let here = Whereabouts { pid: std::process::id(), netns };
    let mut unmatched: Vec<&ReceiveSample> = receive.iter().collect();
    let mut seen = Vec::new();
    for queue in kernel {
        let local = local_of(queue, kernel, &unmatched, here);
        unmatched.retain(|other| local.is_none_or(|local| local.key != other.key));
        seen.push(Seen::ByKernel(queue, local));
    }
    seen.extend(unmatched.into_iter().map(Seen::ByItself));
    // A queue with a device has the device's name. Among queues without one, local queues keep their configured number.
    seen.sort_by_key(|seen| match seen {
        Seen::ByKernel(queue, _) if queue.ifindex.is_some() => 0,
        Seen::ByKernel(_, Some(_)) | Seen::ByItself(_) => 1,
        Seen::ByKernel(_, None) => 2,
    });
    seen
}

/// Process and network namespace of zcrxd, by which it recognises its local queues in the snapshot.
#[derive(Clone, Copy)]
struct Whereabouts {
    /// Process id, in the namespace that the snapshot's owners use.
    pid: u32,
    /// Inode of its network namespace, where that can be read.
    netns: Option<u64>,
}

/// Finds the local queue that is `queue` in the kernel.
fn local_of<'r>(
    queue: &KernelQueue,
    kernel: &[Arc<KernelQueue>],
    local: &[&'r ReceiveSample],
    here: Whereabouts,
) -> Option<&'r ReceiveSample> {
    let on = |local: &ReceiveSample, backend| local.selection.backend == Some(backend);
    if let (Some(interface), Some(index)) = (&queue.interface, queue.queue) {
        // A hardware queue has one provider: if a queue of zcrxd has it, this is that one.
        // By the interface's index where that is known: its name may have changed since the registration.
        let same_interface = |local: &ReceiveSample| match (local.ifindex, queue.ifindex) {
            (Some(local), Some(kernel)) => local == kernel,
            _ => local.key.interface.as_ref() == Some(interface),
        };
        let same = |local: &&&ReceiveSample| {
            on(local, BackendKind::Device) && same_interface(local) && local.key.queue == index
        };
        return local
            .iter()
            .find(same)
            .copied()
            .filter(|_| queue.netns.is_none() || queue.netns == here.netns);
    }
    // Without a device only the sizes identify a queue; if two queues have the same sizes, neither is matched.
    let mine = |queue: &KernelQueue| queue.owners.iter().any(|owner| owner.pid == here.pid);
    let looks = |local: &ReceiveSample, queue: &KernelQueue| {
        on(local, BackendKind::Nodev)
            && local.buffers == queue.buffers()
            && queue.refill.is_some_and(|refill| refill.entries == local.refill_capacity)
    };
    if !mine(queue) || queue.ifindex.is_some() {
        return None;
    }
    let mut alike = local.iter().filter(|local| looks(local, queue));
    let found = alike.next()?;
    let twins = kernel.iter().filter(|other| mine(other) && looks(found, other)).count();
    (alike.next().is_none() && twins == 1).then_some(*found)
}

fn life(seen: &Seen<'_>) -> (Life, QueueKey) {
    match *seen {
        Seen::ByItself(local) => (Life::Local(local.key.clone()), local.key.clone()),
        Seen::ByKernel(queue, local) => {
            let life = Life::Kernel { ifq: queue.ifq };
            (life, local.map_or_else(|| name(queue), |local| local.key.clone()))
        }
    }
}

/// The process that a queue belongs to: the one whose thread works for its first ring. After a fork others hold the ring too; the thread
/// may have exited, and then the lowest process id is most likely the parent's.
fn owner(queue: &KernelQueue) -> Option<&Owner> {
    let consumer = queue.rings.first().and_then(|ring| ring.consumer.as_ref());
    let working = consumer.filter(|consumer| consumer.run != Some(RunState::Exited));
    let of_thread = working.and_then(|consumer| queue.owners.iter().find(|owner| owner.pid == consumer.pid));
    of_thread.or_else(|| queue.owners.iter().min_by_key(|owner| owner.pid))
}

fn name(queue: &KernelQueue) -> QueueKey {
    let unnamed = || queue.ifindex.map(|ifindex| format!("interface{ifindex}"));
    QueueKey { interface: queue.interface.clone().or_else(unnamed), queue: queue.queue.unwrap_or(0) }
}

fn sample(seen: &Seen<'_>, unknown: QueueSample, nic: &NicSample, cgroups: &mut Cgroups) -> QueueSample {
    let local = |local: &ReceiveSample| (Some(local.buffer_bytes), Some(Box::new(local.clone())));
    let oldest_held = |local: &Option<Box<ReceiveSample>>| local.as_ref()?.ring?.oldest_held;
    match *seen {
        Seen::ByItself(by_itself) => {
            let (buffer_bytes, local) = local(by_itself);
            let owner = Owner { pid: std::process::id(), comm: "zcrxd".to_owned(), fd: None, cgroup: None };
            QueueSample {
                oldest_held: oldest_held(&local),
                owner_cgroup: cgroups.of(&owner),
                owner: Some(owner),
                buffer_bytes,
                local,
                ..unknown
            }
        }
        Seen::ByKernel(queue, matched) => {
            let (by_itself, local) = matched.map_or((None, None), local);
            let nic = nic.of(queue);
            let pool = queue.pool.and_then(|pool| nic.ok()?.pool(pool.id));
            let owner = owner(queue).cloned();
            QueueSample {
                owner_cgroup: owner.as_ref().and_then(|owner| cgroups.of(owner)),
                owner,
                buffer_bytes: by_itself.or(queue.buffer_bytes.map(u64::from)).or_else(|| buffer_bytes(pool?)),
                kernel: Some(Arc::clone(queue)),
                oldest_held: oldest_held(&local),
                local,
                nic: nic.map(|nic| nic.figures(queue)).unwrap_or_default(),
                nic_unknown: nic.err().map(str::to_owned),
                received_bytes: queue.delivery.as_ref().map(|count| count.bytes),
                copies: queue.fallback.map(|count| CopyCount { calls: count.buffers, bytes: count.bytes }),
                errors: queue.delivery.as_ref().map(|count| count.errors.clone()),
                ..unknown
            }
        }
    }
}

#[cfg(test)]
mod tests;
