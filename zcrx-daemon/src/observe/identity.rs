//! Identities of queues across samples.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::QueueKey;

/// Identity of one registration of a queue: constant while the queue exists, different after a new registration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// A queue in the kernel. A driver that restarts the hardware queue makes a new page pool for it, and an interface may be
    /// renamed: the registration, its area and its owner stay.
    Kernel { ifq: u64 },
    /// A local queue that is not in the kernel, or that the snapshot did not find.
    Local(QueueKey),
}

/// The queues of the last sample, each with its name and generation.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// By life: the wanted name, the name that was given, and the generation.
    known: BTreeMap<Life, (QueueKey, QueueKey, u64)>,
    last_generation: u64,
}

impl Identities {
    /// Names the queues of this sample, each by the name it is wanted to have; the answers are in the same order. A queue
    /// that lives on keeps its generation, and its name as long as it is wanted to have that one; queues that are gone are
    /// forgotten.
    pub(super) fn name(&mut self, queues: Vec<(Life, QueueKey)>) -> Vec<(QueueKey, u64)> {
        let same = |known: &BTreeMap<Life, (QueueKey, QueueKey, u64)>, (life, wanted): &(Life, QueueKey)| {
            known
                .get(life)
                .filter(|known| known.0 == *wanted)
                .map(|(_, name, generation)| (name.clone(), *generation))
        };
        let mut taken: BTreeSet<QueueKey> =
            queues.iter().filter_map(|queue| same(&self.known, queue)).map(|(name, _)| name).collect();
        let mut known = BTreeMap::new();
        let mut named = Vec::with_capacity(queues.len());
        for queue in queues {
            let name = same(&self.known, &queue).unwrap_or_else(|| {
                let renamed = self.known.get(&queue.0).map(|(_, _, generation)| *generation);
                let generation = renamed.unwrap_or_else(|| {
                    self.last_generation += 1;
                    self.last_generation
                });
                (free_name(&queue.1, &taken), generation)
            });
            taken.insert(name.0.clone());
            named.push(name.clone());
            known.insert(queue.0, (queue.1, name.0, name.1));
        }
        self.known = known;
        named
    }
}

/// Returns the wanted name, or the next free one. A hardware queue has only one provider, so two queues of one name are in
/// two network namespaces: the second becomes `eth0~1:3`. Queues without a device are numbered.
fn free_name(wanted: &QueueKey, taken: &BTreeSet<QueueKey>) -> QueueKey {
    let mut key = wanted.clone();
    let mut next = 0;
    while taken.contains(&key) {
        next += 1;
        match &wanted.interface {
            Some(interface) => key.interface = Some(format!("{interface}~{next}")),
            None => key.queue = wanted.queue.wrapping_add(next),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(interface: Option<&str>, queue: u32) -> QueueKey {
        QueueKey { interface: interface.map(str::to_owned), queue }
    }

    fn life(ifq: u64) -> Life {
        Life::Kernel { ifq }
    }

    fn said(named: &[(QueueKey, u64)]) -> Vec<String> {
        named.iter().map(|(key, generation)| format!("{key} {generation}")).collect()
    }

    #[test]
    fn a_queue_keeps_its_name_and_a_registration_makes_a_new_generation() {
        let mut identities = Identities::default();
        let eth0 = key(Some("eth0"), 3);
        assert_eq!(said(&identities.name(vec![(life(7), eth0.clone())])), ["eth0:3 1"]);
        assert_eq!(said(&identities.name(vec![(life(7), eth0.clone())])), ["eth0:3 1"]);
        assert_eq!(said(&identities.name(vec![(life(8), eth0.clone())])), ["eth0:3 2"], "another queue");
        assert_eq!(said(&identities.name(Vec::new())), [""; 0]);
        assert_eq!(said(&identities.name(vec![(life(8), eth0)])), ["eth0:3 3"], "it was gone");
    }

    #[test]
    fn namesakes_of_other_namespaces_are_told_apart_for_as_long_as_they_live() {
        let mut identities = Identities::default();
        let eth0 = key(Some("eth0"), 3);
        let both = vec![(life(7), eth0.clone()), (life(8), eth0.clone())];
        assert_eq!(said(&identities.name(both)), ["eth0:3 1", "eth0~1:3 2"]);
        let second = (life(8), eth0.clone());
        assert_eq!(said(&identities.name(vec![second.clone()])), ["eth0~1:3 2"]);
        let third = (life(9), eth0);
        assert_eq!(said(&identities.name(vec![third, second])), ["eth0:3 3", "eth0~1:3 2"]);
    }

    #[test]
    fn queues_without_a_device_are_numbered() {
        let mut identities = Identities::default();
        let queues =
            vec![(Life::Local(key(None, 0)), key(None, 0)), (life(7), key(None, 0)), (life(8), key(None, 0))];
        assert_eq!(said(&identities.name(queues)), ["software:0 1", "software:1 2", "software:2 3"]);
    }

    #[test]
    fn queue_of_a_renamed_interface_keeps_its_generation() {
        let mut identities = Identities::default();
        identities.name(vec![(life(7), key(Some("eth0"), 3))]);
        assert_eq!(said(&identities.name(vec![(life(7), key(Some("lan0"), 3))])), ["lan0:3 1"]);
    }
}
