//! Where one queue's thread hands connections to another's.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::Socket;

use super::config::{QueueConfig, SinkConfig};
use super::wake::Wake;

/// The desks of all own queues: they come and go as the configuration does.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    desks: Mutex<Vec<Weak<Desk>>>,
}

impl Exchange {
    /// Adds a queue's desk, which is there as long as its queue.
    pub(super) fn open(&self, desk: Desk) -> Arc<Desk> {
        let desk = Arc::new(desk);
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|desk| desk.strong_count() > 0);
        desks.push(Arc::downgrade(&desk));
        desk
    }

    /// The desk whose thread connections are for that arrive on that hardware queue, for that sink.
    pub(super) fn find(&self, interface: &str, queue: u32, sink: &SinkConfig) -> Option<Arc<Desk>> {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.iter().filter_map(Weak::upgrade).find(|desk| desk.serves(interface, queue, sink))
    }
}

/// One queue, from the side of the others.
#[derive(Debug)]
pub(super) struct Desk {
    interface: Option<String>,
    queue: u32,
    sink: SinkConfig,
    /// Whether the thread receives on that hardware queue now.
    open: AtomicBool,
    handed: Mutex<Vec<Socket>>,
    wake: Arc<Wake>,
}

impl Desk {
    pub(super) fn new(config: &QueueConfig, wake: Arc<Wake>) -> Self {
        Self {
            interface: config.interface.clone(),
            queue: config.queue,
            sink: config.sink.clone(),
            open: AtomicBool::new(false),
            handed: Mutex::default(),
            wake,
        }
    }

    /// The queue receives by its hardware queue from now on, or does not.
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Whether connections that arrive on that hardware queue, for that sink, are for this thread.
    fn serves(&self, interface: &str, queue: u32, sink: &SinkConfig) -> bool {
        self.open.load(Ordering::Acquire)
            && self.interface.as_deref() == Some(interface)
            && self.queue == queue
            && self.sink == *sink
    }

    /// Hands a connection over. One that comes as the queue fails waits there until it is back.
    pub(super) fn hand(&self, socket: Socket) {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        self.wake.knock();
    }

    /// Hands a connection over if the thread receives now; gives it back otherwise.
    pub(super) fn offer(&self, socket: Socket) -> Result<(), Socket> {
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: what is put here before the thread stops is found by [`Self::shut`].
        if !self.open.load(Ordering::Acquire) {
            return Err(socket);
        }
        handed.push(socket);
        drop(handed);
        self.wake.knock();
        Ok(())
    }

    /// No connections any more; what was handed over and not taken.
    pub(super) fn shut(&self) -> Vec<Socket> {
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_open(false);
        mem::take(&mut handed)
    }

    /// Takes what was handed over.
    pub(super) fn take(&self) -> Vec<Socket> {
        mem::take(&mut self.handed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_desk_of_the_same_queue_and_sink_serves() -> std::io::Result<()> {
        let config =
            QueueConfig { interface: Some("eth0".to_owned()), queue: 3, ..QueueConfig::new(Vec::new()) };
        let desk = Desk::new(&config, Arc::new(Wake::new()?));
        assert!(!desk.serves("eth0", 3, &SinkConfig::Discard), "it is closed");
        desk.set_open(true);
        assert!(desk.serves("eth0", 3, &SinkConfig::Discard));
        assert!(!desk.serves("eth0", 2, &SinkConfig::Discard));
        assert!(!desk.serves("eth1", 3, &SinkConfig::Discard));
        assert!(!desk.serves("eth0", 3, &SinkConfig::Verify), "another sink is another destination");
        Ok(())
    }
}
