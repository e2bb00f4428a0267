//! Lays the kernel's queues and the own ones side by side.

use std::time::Duration;

use super::identity::{Identities, Life};
use crate::model::{BackendKind, KernelQueue, KernelSnapshot, QueueKey, QueueSample, ReceiveSample};

/// Where zcrxd itself lives: by this its own queues are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whereabouts {
    /// Process id, as the kernel's owners are told by.
    pub(super) pid: u32,
    /// Inode of its network namespace, where that can be read.
    pub(super) netns: Option<u64>,
}

/// Who knows of a queue.
#[derive(Clone, Copy)]
enum Seen<'a> {
    ByKernel(&'a KernelQueue, Option<&'a ReceiveSample>),
    ByItself(&'a ReceiveSample),
}

/// One sample for each queue there is.
pub(super) fn join(
    receive: &[ReceiveSample],
    snapshot: Option<&KernelSnapshot>,
    at: Duration,
    here: Whereabouts,
    identities: &mut Identities,
) -> Vec<QueueSample> {
    let kernel = snapshot.map(|snapshot| snapshot.queues.as_slice()).unwrap_or_default();
    let mut unmatched: Vec<&ReceiveSample> = receive.iter().collect();
    let mut seen = Vec::new();
    for queue in kernel {
        let own = own_of(queue, kernel, &unmatched, here);
        unmatched.retain(|other| own.is_none_or(|own| own.key != other.key));
        seen.push(Seen::ByKernel(queue, own));
    }
    seen.extend(unmatched.into_iter().map(Seen::ByItself));
    // Who has the device has its name; of those without one, own queues keep the number they are configured by.
    seen.sort_by_key(|seen| match seen {
        Seen::ByKernel(queue, _) if queue.ifindex.is_some() => 0,
        Seen::ByKernel(_, Some(_)) | Seen::ByItself(_) => 1,
        Seen::ByKernel(_, None) => 2,
    });
    let names = identities.name(seen.iter().map(life).collect());
    seen.iter().zip(names).map(|(seen, (key, generation))| sample(seen, key, generation, at)).collect()
}

/// The own queue that this one in the kernel is.
fn own_of<'r>(
    queue: &KernelQueue,
    kernel: &[KernelQueue],
    own: &[&'r ReceiveSample],
    here: Whereabouts,
) -> Option<&'r ReceiveSample> {
    let on = |own: &ReceiveSample, backend| own.selection.backend == Some(backend);
    if let (Some(interface), Some(index)) = (&queue.interface, queue.queue) {
        // A hardware queue has one provider: if an own queue has it, this is that one.
        let same = |own: &&&ReceiveSample| {
            on(own, BackendKind::Device)
                && own.key.interface.as_ref() == Some(interface)
                && own.key.queue == index
        };
        return own.iter().find(same).copied().filter(|_| queue.netns == here.netns);
    }
    // Without a device there is only what it looks like; of two that look alike neither is claimed.
    let mine = |queue: &KernelQueue| queue.owners.iter().any(|owner| owner.pid == here.pid);
    let looks = |own: &ReceiveSample, queue: &KernelQueue| {
        on(own, BackendKind::Nodev)
            && own.buffers == queue.buffers()
            && queue.refill.is_some_and(|refill| refill.entries == own.refill_capacity)
    };
    if !mine(queue) || queue.ifindex.is_some() {
        return None;
    }
    let mut alike = own.iter().filter(|own| looks(own, queue));
    let found = alike.next()?;
    let twins = kernel.iter().filter(|other| mine(other) && looks(found, other)).count();
    (alike.next().is_none() && twins == 1).then_some(*found)
}

fn life(seen: &Seen<'_>) -> (Life, QueueKey) {
    match *seen {
        Seen::ByItself(own) => (Life::Own(own.key.clone()), own.key.clone()),
        Seen::ByKernel(queue, own) => {
            let life = Life::Kernel { ifq: queue.ifq, pool: queue.pool.map(|pool| pool.id) };
            (life, own.map_or_else(|| name(queue), |own| own.key.clone()))
        }
    }
}

fn name(queue: &KernelQueue) -> QueueKey {
    let unnamed = || queue.ifindex.map(|ifindex| format!("interface{ifindex}"));
    QueueKey { interface: queue.interface.clone().or_else(unnamed), queue: queue.queue.unwrap_or(0) }
}

fn sample(seen: &Seen<'_>, key: QueueKey, generation: u64, at: Duration) -> QueueSample {
    let (kernel, own) = match *seen {
        Seen::ByKernel(queue, own) => (Some(queue), own),
        Seen::ByItself(own) => (None, Some(own)),
    };
    QueueSample {
        // After a fork there are several; the one that made the ring has the lowest id, as long as ids do not wrap.
        owner: kernel.and_then(|queue| queue.owners.iter().min_by_key(|owner| owner.pid)).cloned(),
        buffer_bytes: own.map(|own| own.buffer_bytes),
        kernel: kernel.cloned(),
        own: own.cloned(),
        ..QueueSample::unknown(key, generation, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AreaState, Owner, RefillState};
    use crate::observe::fixture;

    const HERE: Whereabouts = Whereabouts { pid: 10, netns: Some(1) };

    fn own(backend: BackendKind, interface: Option<&str>, queue: u32) -> ReceiveSample {
        let mut own = fixture::queue();
        own.key = QueueKey { interface: interface.map(str::to_owned), queue };
        own.selection.backend = Some(backend);
        own
    }

    fn on_device(ifq: u64, netns: u64) -> KernelQueue {
        KernelQueue {
            ifq,
            ifindex: Some(2),
            interface: Some("eth0".to_owned()),
            netns: Some(netns),
            queue: Some(3),
            ..KernelQueue::default()
        }
    }

    /// One without a device, of the size of the fixture's.
    fn without_device(ifq: u64, pid: u32) -> KernelQueue {
        let area = AreaState { buffers: 16384, free: 0, user_buffers: None, user_references: None };
        KernelQueue {
            ifq,
            owners: vec![Owner { pid, comm: "zcrxd".to_owned(), fd: None, cgroup: None }],
            refill: Some(RefillState { entries: 4096, cached_head: 0, tail: 0 }),
            areas: vec![area],
            ..KernelQueue::default()
        }
    }

    fn said(receive: &[ReceiveSample], queues: Vec<KernelQueue>) -> Vec<String> {
        let snapshot = KernelSnapshot { queues, ..KernelSnapshot::default() };
        let joined = join(receive, Some(&snapshot), Duration::ZERO, HERE, &mut Identities::default());
        let mark = |is: bool, mark| if is { mark } else { "" };
        let say = |sample: &QueueSample| {
            let kernel = mark(sample.kernel.is_some(), " kernel");
            format!("{}{kernel}{}", sample.key, mark(sample.own.is_some(), " own"))
        };
        joined.iter().map(say).collect()
    }

    #[test]
    fn an_own_queue_on_a_device_has_both_sides() {
        let device = own(BackendKind::Device, Some("eth0"), 3);
        assert_eq!(said(&[device], vec![on_device(7, 1)]), ["eth0:3 kernel own"]);
    }

    #[test]
    fn a_namesake_in_another_namespace_is_somebody_elses() {
        let device = own(BackendKind::Device, Some("eth0"), 3);
        assert_eq!(
            said(&[device], vec![on_device(7, 2), on_device(8, 1)]),
            ["eth0:3 kernel", "eth0~1:3 kernel own"]
        );
    }

    #[test]
    fn an_own_queue_that_fell_back_to_copying_is_not_the_one_that_has_the_device() {
        let copy = own(BackendKind::Copy, Some("eth0"), 3);
        assert_eq!(said(&[copy], vec![on_device(7, 1)]), ["eth0:3 kernel", "eth0~1:3 own"]);
    }

    #[test]
    fn own_queues_without_a_device_are_known_by_their_looks() {
        let nodev = |queue| own(BackendKind::Nodev, None, queue);
        assert_eq!(said(&[nodev(0)], vec![without_device(7, 10)]), ["software:0 kernel own"]);
        assert_eq!(
            said(&[nodev(0)], vec![without_device(7, 11)]),
            ["software:0 own", "software:1 kernel"],
            "another process"
        );
        assert_eq!(
            said(&[nodev(0), nodev(1)], vec![without_device(7, 10), without_device(8, 10)]),
            ["software:0 own", "software:1 own", "software:2 kernel", "software:3 kernel"],
            "twins are not guessed at"
        );
    }

    #[test]
    fn without_a_snapshot_own_queues_are_all_there_is() {
        let copy = own(BackendKind::Copy, None, 0);
        let joined = join(&[copy], None, Duration::ZERO, HERE, &mut Identities::default());
        assert_eq!(joined.len(), 1);
        assert!(joined[0].own.is_some() && joined[0].kernel.is_none());
    }
}
