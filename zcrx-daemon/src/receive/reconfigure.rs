//! Applies a new set of queues without disturbing those that stay.

use std::net::SocketAddr;

use tracing::{error, info};

use super::ReceiveError;
use super::backend::check_interface;
use super::config::QueueConfig;
use super::handover::Handover;
use super::receiver::{Queue, Receiver};
use crate::model::ReceiveSample;

/// Result of a reconfiguration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Number of queues that were not touched.
    pub kept: usize,
    /// Number of queues that were started.
    pub started: usize,
    /// Last samples of the queues that were stopped.
    pub ended: Vec<ReceiveSample>,
}

impl Receiver {
    /// Replaces the queues. Does not touch a queue whose configuration stays the same: its connections continue.
    ///
    /// A queue whose hardware queue or port a new one takes stops before that one starts. All other queues start before any
    /// stops.
    ///
    /// # Errors
    ///
    /// A queue cannot start. The previous queues run again, without the connections of those that had to stop first.
    pub fn reconfigure(&self, configs: Vec<QueueConfig>) -> Result<Change, ReceiveError> {
        for config in &configs {
            config.check()?;
            check_interface(config)?;
        }
        let running: Vec<_> = self.queues().iter().map(|queue| queue.config.clone()).collect();
        let Plan { kept, fresh, gone } = plan(&running, configs);
        let (late, early): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|new| gone.iter().any(|old| in_the_way(old, new)));
        let mut started = Vec::new();
        self.start_each(early, &mut started)?;
        let (first, last): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|old| late.iter().any(|new| in_the_way(old, new)));
        let mut ended = self.end(&first);
        if let Err(failure) = self.start_each(late, &mut started) {
            self.bring_back(first);
            return Err(failure);
        }
        ended.extend(self.end(&last));
        Ok(Change { kept, started: started.len(), ended })
    }

    /// Starts queues. If one fails, stops those in `started`.
    fn start_each(
        &self,
        configs: Vec<QueueConfig>,
        started: &mut Vec<QueueConfig>,
    ) -> Result<(), ReceiveError> {
        for config in configs {
            match Queue::start(config.clone(), &self.exchange, &Handover::default()) {
                Ok(queue) => {
                    self.queues().push(queue);
                    started.push(config);
                }
                Err(failure) => {
                    self.end(started);
                    self.forget_unused(&[config]);
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    fn end(&self, configs: &[QueueConfig]) -> Vec<ReceiveSample> {
        let taken: Vec<_> = self.queues().extract_if(.., |queue| configs.contains(&queue.config)).collect();
        // Without the lock, so that samples do not wait.
        let last = taken.into_iter().filter_map(Queue::stop).collect();
        self.forget_unused(configs);
        last
    }

    /// Takes the listening sockets of these queues out of the store, except those that another queue uses.
    fn forget_unused(&self, configs: &[QueueConfig]) {
        let Some(store) = self.exchange.listeners() else { return };
        let used: Vec<_> = self.queues().iter().flat_map(|queue| queue.config.listen.clone()).collect();
        for address in configs.iter().flat_map(|config| &config.listen) {
            if !used.contains(address) {
                store.forget(*address);
            }
        }
    }

    fn bring_back(&self, configs: Vec<QueueConfig>) {
        for config in configs {
            match Queue::start(config, &self.exchange, &Handover::default()) {
                Ok(queue) => self.queues().push(queue),
                Err(failure) => {
                    error!(
                        %failure,
                        "cannot start a previous queue again: it receives nothing until the next reload or restart"
                    );
                }
            }
        }
        info!("the previous queues run again");
    }
}

struct Plan {
    kept: usize,
    /// Queues to start.
    fresh: Vec<QueueConfig>,
    /// Queues to stop.
    gone: Vec<QueueConfig>,
}

/// Sorts queues into unchanged, new and removed ones.
fn plan(running: &[QueueConfig], wanted: Vec<QueueConfig>) -> Plan {
    let mut gone = running.to_vec();
    let mut fresh = Vec::new();
    let mut kept = Vec::new();
    for config in wanted {
        match gone.iter().position(|old| same(old, &config)) {
            Some(found) => kept.push(gone.swap_remove(found)),
            None => fresh.push(config),
        }
    }
    // The number of a queue without an interface only distinguishes it; unchanged queues keep their numbers.
    for index in 0..fresh.len() {
        if fresh[index].interface.is_some() {
            continue;
        }
        let taken = |number: u32| {
            let others = fresh[..index].iter().chain(&kept);
            others.into_iter().any(|other| other.interface.is_none() && other.queue == number)
        };
        if taken(fresh[index].queue) {
            // There are more numbers than queues, so one is free.
            let free = (0..=u32::MAX).find(|number| !taken(*number)).unwrap_or_default();
            fresh[index].queue = free;
        }
    }
    Plan { kept: kept.len(), fresh, gone }
}

fn same(old: &QueueConfig, new: &QueueConfig) -> bool {
    let number = if old.interface.is_none() { old.queue } else { new.queue };
    *old == QueueConfig { queue: number, ..new.clone() }
}

/// Whether the new queue cannot start while the old one runs.
fn in_the_way(old: &QueueConfig, new: &QueueConfig) -> bool {
    let place = |config: &QueueConfig| config.interface.clone().map(|interface| (interface, config.queue));
    let same_place = place(old).is_some_and(|old| place(new) == Some(old));
    // Port 0 is a new port each time. An address that covers the other address conflicts with it too.
    let ports = |config: &QueueConfig| -> Vec<u16> {
        config.listen.iter().map(SocketAddr::port).filter(|port| *port != 0).collect()
    };
    let same_port = ports(old).iter().any(|port| ports(new).contains(port));
    let same_number = old.interface.is_none() && new.interface.is_none() && old.queue == new.queue;
    same_place || same_port || same_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(number: u32, port: u16) -> QueueConfig {
        QueueConfig { queue: number, ..QueueConfig::new(vec![([127, 0, 0, 1], port).into()]) }
    }

    #[test]
    fn what_is_asked_for_as_it_runs_stays_whatever_its_position() {
        let running = [queue(0, 7000), queue(1, 7001)];
        let Plan { kept, fresh, gone } = plan(&running, vec![queue(0, 7001)]);
        assert_eq!((kept, fresh, gone), (1, Vec::new(), vec![queue(0, 7000)]));
    }

    #[test]
    fn a_new_queue_gets_a_number_that_is_free() {
        let running = [queue(0, 7000), queue(1, 7001)];
        let Plan { kept, fresh, .. } =
            plan(&running, vec![queue(0, 7002), queue(1, 7000), queue(2, 7001), queue(3, 7003)]);
        assert_eq!(kept, 2);
        assert_eq!(fresh.iter().map(|config| config.queue).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_changed_queue_ends_and_starts() {
        let bigger = QueueConfig { area_bytes: 1 << 30, ..queue(0, 7000) };
        let Plan { kept, fresh, gone } = plan(&[queue(0, 7000)], vec![bigger.clone()]);
        assert_eq!((kept, &fresh[..], &gone[..]), (0, &[bigger][..], &[queue(0, 7000)][..]));
        assert!(in_the_way(&gone[0], &fresh[0]));
        assert!(!in_the_way(&queue(0, 7000), &queue(1, 7001)));
    }
}
