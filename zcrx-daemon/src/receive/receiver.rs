//! All own queues: started together, sampled from any thread, stopped together.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;
use tracing::error;

use super::backend::check_interface;
use super::config::{QueueConfig, SinkConfig};
use super::desk::{Desk, Exchange};
use super::error::ReceiveError;
use super::pool::short_name;
use super::stats::Stats;
use super::target::Target;
use super::wake::Wake;
use super::worker::{self, Plan};
use crate::model::{QueueKey, ReceiveSample};

/// The running receive path. Dropping it stops it.
#[derive(Debug)]
pub struct Receiver {
    queues: Mutex<Vec<Queue>>,
    pub(super) exchange: Arc<Exchange>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) config: QueueConfig,
    stats: Arc<Stats>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts a thread for each queue and waits until each receives.
    ///
    /// The first queue that cannot start makes the whole call fail; those that had started are stopped again.
    pub fn start(configs: Vec<QueueConfig>) -> Result<Self, ReceiveError> {
        // All input is looked at before anything is done.
        for config in &configs {
            config.check()?;
            check_interface(config)?;
        }
        let receiver =
            Self { queues: Mutex::new(Vec::with_capacity(configs.len())), exchange: Arc::default() };
        for config in configs {
            let queue = Queue::start(config, &receiver.exchange)?;
            receiver.queues().push(queue);
        }
        Ok(receiver)
    }

    /// What every queue says of itself now. Cheap, from any thread.
    pub fn sample(&self) -> Vec<ReceiveSample> {
        self.queues().iter().map(|queue| queue.stats.sample()).collect()
    }

    /// Stops every queue: connections are closed and buffers accounted for, within a second. Gives the last samples.
    pub fn stop(&self) -> Vec<ReceiveSample> {
        self.stop_all();
        self.sample()
    }

    /// Asks every thread to show that it is alive. Gives for each for how long it owes the answer to an earlier call.
    pub fn pulse(&self) -> Vec<(QueueKey, Option<Duration>)> {
        self.queues().iter().map(|queue| (queue.stats.key().clone(), queue.wake.ask())).collect()
    }

    /// Makes the first queue's thread hang: a fault on purpose, for tests of whoever watches.
    pub fn hang(&self) {
        if let Some(queue) = self.queues().first() {
            queue.wake.hang();
        }
    }

    /// Makes the first queue's ring fail: a fault on purpose, for tests of what is done then.
    pub fn break_ring(&self) {
        if let Some(queue) = self.queues().first() {
            queue.wake.break_ring();
        }
    }

    pub(super) fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        // Queues are put in and taken out whole: a panic elsewhere cannot have left one half made.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_all(&self) {
        let mut threads = Vec::new();
        for queue in self.queues().iter_mut() {
            queue.wake.stop();
            threads.extend(queue.thread.take().map(|thread| (Arc::clone(&queue.stats), thread)));
        }
        // Without the lock: a sample does not wait for this.
        for (stats, thread) in threads {
            join(&stats, thread);
        }
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
    /// Ends it: connections are closed and buffers accounted for. Gives its last sample.
    pub(super) fn stop(mut self) -> ReceiveSample {
        self.wake.stop();
        if let Some(thread) = self.thread.take() {
            join(&self.stats, thread);
        }
        self.stats.sample()
    }

    pub(super) fn start(config: QueueConfig, exchange: &Arc<Exchange>) -> Result<Self, ReceiveError> {
        let listeners = config
            .listen
            .iter()
            .map(|address| {
                listen(*address).map_err(|source| ReceiveError::Listen { address: *address, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let target = match &config.sink {
            SinkConfig::Forward(destination) => Some(Target::resolve(destination)?),
            SinkConfig::File(directory) => {
                let unusable = |source| ReceiveError::Directory { path: directory.clone(), source };
                std::fs::create_dir_all(directory).map_err(unusable)?;
                None
            }
            SinkConfig::Discard | SinkConfig::Verify => None,
        };
        // As bound: port 0 has become a real one.
        let listen = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .map(|address| address.to_string())
            .collect();
        let key = QueueKey { interface: config.interface.clone(), queue: config.queue };
        let stats = Arc::new(Stats::new(key, config.sink.name(), listen));
        let wake = Arc::new(Wake::new().map_err(|source| ReceiveError::Thread { source })?);
        let desk = exchange.open(Desk::new(&config, Arc::clone(&wake)));
        let name = short_name(config.interface.as_deref(), config.queue);
        let thread_name = thread_name(&name);
        let plan = Plan {
            name,
            config: config.clone(),
            listeners,
            target,
            desk,
            exchange: Arc::clone(exchange),
            stats: Arc::clone(&stats),
            wake: Arc::clone(&wake),
        };
        let (started, outcome) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(thread_name)
            .spawn(move || worker::run(&plan, &started))
            .map_err(|source| ReceiveError::Thread { source })?;
        let queue = Self { config, stats, wake, thread: Some(thread) };
        match outcome.recv() {
            Ok(Ok(_selection)) => Ok(queue),
            Ok(Err(error)) => {
                queue.join();
                Err(error)
            }
            Err(_) => {
                queue.join();
                Err(std::io::Error::other("the receive thread panicked at its start").into())
            }
        }
    }

    /// Waits for a thread that ends by itself.
    fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then, and the caller gets an error as well.
            let _panicked = thread.join();
        }
    }
}

/// A listener whose connections notice a peer that is gone without a word. Who only receives never would: there is nothing
/// that the peer fails to acknowledge. When to ask the peer is the host's to say (`net.ipv4.tcp_keepalive_time`).
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    SockRef::from(&listener).set_keepalive(true)?;
    Ok(listener)
}

/// The kernel keeps 15 bytes of a thread's name. The queue's number at its end matters more than the whole interface.
fn thread_name(queue: &str) -> String {
    const PREFIX: &str = "zcrx-rx-";
    let (interface, number) = queue.rsplit_once(':').unwrap_or((queue, ""));
    let room = 15_usize.saturating_sub(PREFIX.len() + 1 + number.len());
    let interface: String = interface.chars().take(room).collect();
    format!("{PREFIX}{interface}:{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_names_fit_and_keep_the_queues_number() {
        assert_eq!(thread_name("eth0:3"), "zcrx-rx-eth0:3");
        assert_eq!(thread_name("enp65s0f0np0:12"), "zcrx-rx-enp6:12");
    }
}
