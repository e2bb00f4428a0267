//! All local queues: started together, sampled from any thread, stopped together.

use std::fmt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::error;

use super::backend::check_interface;
use super::choices::SinkConfig;
use super::config::QueueConfig;
use super::error::ReceiveError;
use super::group::{WorkerGroup, WorkerSlot};
use super::handover::{HandedQueue, Handover, refuse_all, refuse_unsuited, take_for};
use super::inbox::{BeforeRegistration, ConnectionInbox, Exchange};
use super::listening::{ListenerStore, listen};
use super::merge::merge;
use super::plan::Plan;
use super::stats::Stats;
use super::target::Addresses;
use super::wake::Wake;
use super::worker;
use crate::model::{QueueKey, ReceiveSample};
use crate::net::kernel_index;

/// The running receive path. Dropping it stops it.
pub struct Receiver {
    queues: Mutex<Vec<Queue>>,
    pub(super) exchange: Arc<Exchange>,
}

pub(super) struct Queue {
    pub(super) config: QueueConfig,
    /// The queue's threads; the leader, which registers the queue, comes first.
    workers: Vec<Worker>,
}

/// One thread of a queue.
struct Worker {
    stats: Arc<Stats>,
    wake: Arc<Wake>,
    /// Connections that the thread has left to the next zcrxd.
    left: Handover,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts a thread for each queue and waits until each receives.
    ///
    /// The first queue that cannot start makes the whole call fail; those that had started are stopped again.
    pub fn start(configs: Vec<QueueConfig>) -> Result<Self, ReceiveError> {
        Self::start_on(configs, Arc::default(), Vec::new())
    }

    /// [`Receiver::start`], with a call before a queue that failed, or that found a better backend, is registered again; with a
    /// store in which listening sockets outlive the process; and with the connections that the zcrxd before has left.
    pub fn start_with(
        configs: Vec<QueueConfig>,
        before_registration: BeforeRegistration,
        listeners: Arc<dyn ListenerStore>,
        handed: Vec<HandedQueue>,
    ) -> Result<Self, ReceiveError> {
        Self::start_on(configs, Arc::new(Exchange::new(before_registration, listeners)), handed)
    }

    /// Refuses configurations that cannot work, so nothing is changed for them. Preparation may still add queues to an
    /// interface, so the number of queues is checked only where `prepare` is off.
    pub fn check(configs: &[QueueConfig]) -> Result<(), ReceiveError> {
        for config in configs {
            config.check()?;
            match &config.interface {
                Some(name) if config.prepare && kernel_index(name).is_none() => {
                    return Err(ReceiveError::NoInterface { interface: name.clone() });
                }
                _ if config.prepare => {}
                _ => check_interface(config)?,
            }
        }
        Ok(())
    }

    fn start_on(
        configs: Vec<QueueConfig>,
        exchange: Arc<Exchange>,
        handed: Vec<HandedQueue>,
    ) -> Result<Self, ReceiveError> {
        // First of all: a hardware queue of the zcrxd before would be in the way of a new one.
        let mut handed = refuse_unsuited(handed, &configs);
        // All input is checked before anything is done.
        for config in &configs {
            config.check()?;
            check_interface(config)?;
        }
        let receiver = Self { queues: Mutex::new(Vec::with_capacity(configs.len())), exchange };
        for config in configs {
            let connections = take_for(&config, &mut handed);
            match Queue::start(config, &receiver.exchange, &connections) {
                Ok(queue) => receiver.queues().push(queue),
                Err(error) => {
                    connections.refuse();
                    refuse_all(handed);
                    return Err(error);
                }
            }
        }
        refuse_all(handed);
        Ok(receiver)
    }

    /// Takes a sample of every queue. Cheap; any thread may call this.
    pub fn sample(&self) -> Vec<ReceiveSample> {
        self.queues().iter().filter_map(Queue::sample).collect()
    }

    /// Stops every queue: no new connections, sinks get their queue's `drain_timeout`, buffers are accounted for. Returns the
    /// last samples.
    pub fn stop(&self) -> Vec<ReceiveSample> {
        self.stop_all();
        self.sample()
    }

    /// As [`Receiver::stop`], for a zcrxd that starts next: listening sockets stay as they are, and so do connections that go on
    /// in another process, which [`Receiver::take_left`] returns.
    pub fn stop_before_restart(&self) -> Vec<ReceiveSample> {
        for worker in self.queues().iter().flat_map(|queue| &queue.workers) {
            worker.wake.expect_successor();
        }
        self.stop()
    }

    /// Takes the connections for the next zcrxd, after [`Receiver::stop_before_restart`].
    pub fn take_left(&self) -> Vec<HandedQueue> {
        let of = |queue: &Queue| {
            let left = queue.workers.iter().flat_map(|worker| worker.left.take()).collect();
            let hardware = queue.workers.first().and_then(|leader| leader.left.take_queue());
            HandedQueue::new(&queue.config, left, hardware)
        };
        self.queues().iter().map(of).filter(|queue| !queue.is_empty()).collect()
    }

    /// Ends a stop in progress at once, without waiting for sinks.
    pub fn abort(&self) {
        for worker in self.queues().iter().flat_map(|queue| &queue.workers) {
            worker.wake.abort();
        }
    }

    /// Number of steps that all threads have taken towards their end. It rises while any of them gets on.
    pub fn steps(&self) -> u64 {
        self.queues().iter().flat_map(|queue| &queue.workers).map(|worker| worker.wake.steps()).sum()
    }

    /// Longest time that stopping may wait for sinks.
    pub fn drain_timeout(&self) -> Duration {
        self.queues().iter().map(|queue| queue.config.drain_timeout).max().unwrap_or_default()
    }

    /// Asks every thread for a heartbeat. Returns for each how long it has not answered an earlier call.
    pub fn pulse(&self) -> Vec<(QueueKey, Option<Duration>)> {
        // The thread that has not answered for longest stands for the queue.
        let owed = |queue: &Queue| queue.workers.iter().map(|worker| worker.wake.ask()).max().flatten();
        let queues = self.queues();
        let keyed =
            queues.iter().filter_map(|queue| Some((queue.workers.first()?.stats.key().clone(), owed(queue))));
        keyed.collect()
    }

    /// Makes the first queue's thread hang, to test the watchdog.
    pub fn hang(&self) {
        if let Some(worker) = self.queues().first().and_then(|queue| queue.workers.first()) {
            worker.wake.hang();
        }
    }

    /// Makes the ring of the first queue's last thread fail, to test the recovery.
    pub fn break_ring(&self) {
        if let Some(worker) = self.queues().first().and_then(|queue| queue.workers.last()) {
            worker.wake.break_ring();
        }
    }

    pub(super) fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        // A poisoned lock is harmless: queues are only added and removed as a whole.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_all(&self) {
        let mut threads = Vec::new();
        for worker in self.queues().iter_mut().flat_map(|queue| &mut queue.workers) {
            worker.wake.stop();
            threads.extend(worker.thread.take().map(|thread| (Arc::clone(&worker.stats), thread)));
        }
        // Without the lock, so that samples do not wait.
        for (stats, thread) in threads {
            join(&stats, thread);
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn join(stats: &Stats, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        error!(queue = ?stats.sample().key, "a receive thread panicked");
    }
}

impl Queue {
    /// Stops the queue: closes its connections and accounts for its buffers. Returns its last sample.
    pub(super) fn stop(mut self) -> Option<ReceiveSample> {
        for worker in &self.workers {
            worker.wake.stop();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                join(&worker.stats, thread);
            }
        }
        self.sample()
    }

    /// Joined sample of all threads of the queue.
    fn sample(&self) -> Option<ReceiveSample> {
        merge(self.workers.iter().map(|worker| worker.stats.sample()).collect())
    }

    /// Starts the queue's threads. The leader continues the `connections` of the zcrxd before.
    pub(super) fn start(
        config: QueueConfig,
        exchange: &Arc<Exchange>,
        connections: &Handover,
    ) -> Result<Self, ReceiveError> {
        let store = exchange.listeners();
        let listeners = config
            .listen
            .iter()
            .map(|address| {
                listen(*address, store).map_err(|source| ReceiveError::Listen { address: *address, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = match &config.sink {
            SinkConfig::Forward(destination) => Some(Arc::new(Addresses::resolve_at_start(destination)?)),
            SinkConfig::File(directory) => {
                let unusable = |source| ReceiveError::Directory { path: directory.clone(), source };
                std::fs::create_dir_all(directory).map_err(unusable)?;
                None
            }
            SinkConfig::Discard | SinkConfig::Verify => None,
        };
        // The bound addresses: port 0 is replaced by a real port.
        let listen: Vec<String> = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .map(|address| address.to_string())
            .collect();
        let key = QueueKey { interface: config.interface.clone(), queue: config.queue };
        let name = key.to_string();
        let (mut handles, mut workers) = (Vec::new(), Vec::new());
        for index in 0..config.workers.max(1) {
            let wake = Arc::new(Wake::new().map_err(|source| ReceiveError::Thread { source })?);
            let inbox = ConnectionInbox::new(&config, Arc::clone(&wake));
            // Other queues hand connections to the leader, which distributes them.
            let inbox = if index == 0 { exchange.open(inbox) } else { Arc::new(inbox) };
            let listen = if index == 0 { listen.clone() } else { Vec::new() };
            let stats = Arc::new(Stats::new(key.clone(), &config.sink, listen));
            handles.push((Arc::clone(&wake), inbox));
            workers.push(Worker { stats, wake, left: Handover::default(), thread: None });
        }
        let inboxes: Vec<_> = handles.iter().map(|(_, inbox)| Arc::clone(inbox)).collect();
        let group = (workers.len() > 1).then(|| WorkerGroup::new(handles));
        let mut listeners = Some(listeners);
        let mut plan = |index: u32| Plan {
            name: name.clone(),
            config: config.clone(),
            listeners: listeners.take().unwrap_or_default(),
            addresses: addresses.clone(),
            inbox: Arc::clone(&inboxes[index as usize]),
            exchange: Arc::clone(exchange),
            stats: Arc::clone(&workers[index as usize].stats),
            wake: Arc::clone(&workers[index as usize].wake),
            taken_over: if index == 0 { connections.clone() } else { Handover::default() },
            left: workers[index as usize].left.clone(),
            slot: group.clone().map(|group| WorkerSlot { group, index }),
        };
        let plans: Vec<_> = (0..config.workers.max(1)).map(&mut plan).collect();
        let mut queue = Self { config, workers };
        let (started, outcome) = mpsc::sync_channel(1);
        // Only the leader reports: once that is gone, the wait below ends.
        let mut started = Some(started);
        for ((plan, worker), index) in plans.into_iter().zip(&mut queue.workers).zip(0..) {
            let builder = thread::Builder::new().name(thread_name(&name, index));
            let leads = started.take();
            let thread = builder.spawn(move || match leads {
                Some(started) => worker::run(&plan, &started),
                None => worker::assist(&plan),
            });
            match thread {
                Ok(thread) => worker.thread = Some(thread),
                Err(source) => {
                    queue.stop();
                    return Err(ReceiveError::Thread { source });
                }
            }
        }
        match outcome.recv() {
            Ok(Ok(_selection)) => Ok(queue),
            Ok(Err(error)) => {
                queue.stop();
                Err(error)
            }
            Err(_) => {
                queue.stop();
                Err(std::io::Error::other("the receive thread panicked at its start").into())
            }
        }
    }
}

/// The kernel keeps 15 bytes of a thread's name. The queue's number at its end matters more than the whole interface.
fn thread_name(queue: &str, worker: u32) -> String {
    let prefix = if worker == 0 { "zcrx-rx-".to_owned() } else { format!("zcrx-rx{worker}-") };
    let (interface, number) = queue.rsplit_once(':').unwrap_or((queue, ""));
    let room = 15_usize.saturating_sub(prefix.len() + 1 + number.len());
    let interface: String = interface.chars().take(room).collect();
    format!("{prefix}{interface}:{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_names_fit_and_keep_the_queues_number() {
        assert_eq!(thread_name("eth0:3", 0), "zcrx-rx-eth0:3");
        assert_eq!(thread_name("enp65s0f0np0:12", 0), "zcrx-rx-enp6:12");
        assert_eq!(thread_name("enp65s0f0np0:12", 11), "zcrx-rx11-en:12");
    }
}
