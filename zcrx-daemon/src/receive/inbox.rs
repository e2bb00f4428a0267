//! Connections and helpers' answers that other threads leave for a receive thread.
//!
//! A receive thread never waits: what may block (names, netlink, large mappings, registrations) is done by a helper thread,
//! which leaves its answer here.

use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use socket2::Socket;
use tracing::warn;

use super::choices::SinkConfig;
use super::config::QueueConfig;
use super::connections::placement::HardwareQueue;
use super::listening::ListenerStore;
use super::mapping::Mapping;
use super::prepared::Prepared;
use super::target::Addresses;
use super::wake::Wake;

/// Answer of a helper.
pub(super) enum Answer {
    /// The current addresses of a destination.
    Addresses(io::Result<Addresses>),
    /// The host's hardware queues.
    Queues(Vec<HardwareQueue>),
    /// Memory for another area.
    Area(io::Result<Mapping>),
    /// A queue on a better backend; `None` if there is none.
    Upgrade(Option<Box<Prepared>>),
    /// No helper thread could be started.
    NoThread,
}

/// The inboxes of all local queues of the current configuration.
#[derive(Default)]
pub(super) struct Exchange {
    inboxes: Mutex<Vec<Weak<ConnectionInbox>>>,
    before_registration: Option<BeforeRegistration>,
    listeners: Option<Arc<dyn ListenerStore>>,
}

/// Called before a queue is registered again, with its configuration under the interface's current name. May block.
pub type BeforeRegistration = Box<dyn Fn(&QueueConfig) + Send + Sync>;

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// Creates an exchange that calls `before_registration` before a queue is registered again. Listening sockets come from
    /// `listeners` and are kept there.
    pub(super) fn new(before_registration: BeforeRegistration, listeners: Arc<dyn ListenerStore>) -> Self {
        Self { before_registration: Some(before_registration), listeners: Some(listeners), ..Self::default() }
    }

    /// Where listening sockets outlive zcrxd; `None` if nowhere.
    pub(super) fn listeners(&self) -> Option<&dyn ListenerStore> {
        self.listeners.as_deref()
    }

    /// Whether queues may outlive the process.
    pub(super) fn outlives(&self) -> bool {
        self.listeners().is_some_and(ListenerStore::outlives)
    }

    /// Whether announcements are heard.
    pub(super) const fn is_heard(&self) -> bool {
        self.before_registration.is_some()
    }

    /// Announces that a queue is about to be registered again.
    pub(super) fn before_registration(&self, config: &QueueConfig) {
        if let Some(prepare) = &self.before_registration {
            prepare(config);
        }
    }

    /// Adds a queue's inbox, which lives as long as the queue.
    pub(super) fn open(&self, inbox: ConnectionInbox) -> Arc<ConnectionInbox> {
        let inbox = Arc::new(inbox);
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.retain(|inbox| inbox.strong_count() > 0);
        inboxes.push(Arc::downgrade(&inbox));
        inbox
    }

    /// Returns the inbox of the thread that takes connections of that hardware queue for that sink.
    pub(super) fn find(&self, ifindex: u32, queue: u32, sink: &SinkConfig) -> Option<Arc<ConnectionInbox>> {
        let inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.iter().filter_map(Weak::upgrade).find(|inbox| inbox.serves(ifindex, queue, sink))
    }
}

/// One queue, as the threads of other queues see it.
pub(super) struct ConnectionInbox {
    /// Index of the interface that the queue is registered on; 0 without one.
    ifindex: AtomicU32,
    queue: u32,
    sink: SinkConfig,
    /// Whether the thread receives on that hardware queue now.
    open: AtomicBool,
    /// `None` once the thread has ended for good.
    handed: Mutex<Option<Vec<Socket>>>,
    answers: Mutex<Vec<Answer>>,
    /// Whether `answers` has any.
    answered: AtomicBool,
    wake: Arc<Wake>,
}

impl ConnectionInbox {
    pub(super) fn new(config: &QueueConfig, wake: Arc<Wake>) -> Self {
        Self {
            ifindex: AtomicU32::new(0),
            queue: config.queue,
            sink: config.sink.clone(),
            open: AtomicBool::new(false),
            handed: Mutex::new(Some(Vec::new())),
            answers: Mutex::default(),
            answered: AtomicBool::new(false),
            wake,
        }
    }

    /// Says which interface the queue is registered on.
    pub(super) fn registered_on(&self, ifindex: Option<u32>) {
        self.ifindex.store(ifindex.unwrap_or(0), Ordering::Relaxed);
    }

    /// The queue receives by its hardware queue from now on, or does not.
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Whether connections that arrive on that hardware queue, for that sink, are for this thread.
    fn serves(&self, ifindex: u32, queue: u32, sink: &SinkConfig) -> bool {
        self.open.load(Ordering::Acquire)
            && self.ifindex.load(Ordering::Relaxed) == ifindex
            && self.queue == queue
            && self.sink == *sink
    }

    fn handed(&self) -> MutexGuard<'_, Option<Vec<Socket>>> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a connection over. If the queue fails, the connection waits here until the queue is registered again. Returns the
    /// connection if the thread has ended.
    pub(super) fn hand(&self, socket: Socket) -> Result<(), Socket> {
        let mut handed = self.handed();
        let Some(sockets) = handed.as_mut() else { return Err(socket) };
        sockets.push(socket);
        drop(handed);
        self.wake.notify();
        Ok(())
    }

    /// Hands a connection over if the thread receives now; returns it otherwise.
    pub(super) fn offer(&self, socket: Socket) -> Result<(), Socket> {
        let mut handed = self.handed();
        // Checked under the lock, so that [`Self::shut`] finds every connection that was put here before the thread stopped.
        let open = self.open.load(Ordering::Acquire);
        let Some(sockets) = handed.as_mut().filter(|_| open) else { return Err(socket) };
        sockets.push(socket);
        drop(handed);
        self.wake.notify();
        Ok(())
    }

    /// Refuses further connections. Returns those that the thread has not taken.
    pub(super) fn shut(&self) -> Vec<Socket> {
        let mut handed = self.handed();
        self.set_open(false);
        handed.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Refuses further connections for good. Returns those that the thread has not taken.
    pub(super) fn end(&self) -> Vec<Socket> {
        self.set_open(false);
        self.handed().take().unwrap_or_default()
    }

    /// Takes the connections that were handed over.
    pub(super) fn take(&self) -> Vec<Socket> {
        self.handed().as_mut().map(mem::take).unwrap_or_default()
    }

    /// Runs a task that may block on a helper thread, which leaves its answer here.
    pub(super) fn offload(self: &Arc<Self>, what: &str, job: impl FnOnce() -> Answer + Send + 'static) {
        let inbox = Arc::clone(self);
        let helper = thread::Builder::new().name(format!("zcrx-{what}")).spawn(move || inbox.answer(job()));
        if let Err(error) = helper {
            warn!(%error, "cannot start a helper thread ({what}): raise the limit of processes (`ulimit -u`)");
            self.answer(Answer::NoThread);
        }
    }

    fn answer(&self, answer: Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        self.answered.store(true, Ordering::Release);
        self.wake.notify();
    }

    /// Takes the answers of helpers.
    #[inline]
    pub(super) fn take_answers(&self) -> Vec<Answer> {
        if !self.answered.load(Ordering::Relaxed) || !self.answered.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_thread_gets_no_connection() -> io::Result<()> {
        let inbox = ConnectionInbox::new(&QueueConfig::new(Vec::new()), Arc::new(Wake::new()?));
        let socket = || Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        assert!(inbox.hand(socket()?).is_ok());
        assert_eq!(inbox.end().len(), 1);
        assert!(inbox.hand(socket()?).is_err());
        assert!(inbox.take().is_empty());
        Ok(())
    }

    #[test]
    fn only_an_open_inbox_of_the_same_queue_and_sink_serves() -> io::Result<()> {
        let config =
            QueueConfig { interface: Some("eth0".to_owned()), queue: 3, ..QueueConfig::new(Vec::new()) };
        let inbox = ConnectionInbox::new(&config, Arc::new(Wake::new()?));
        inbox.registered_on(Some(2));
        assert!(!inbox.serves(2, 3, &SinkConfig::Discard), "it is closed");
        inbox.set_open(true);
        assert!(inbox.serves(2, 3, &SinkConfig::Discard));
        assert!(!inbox.serves(2, 2, &SinkConfig::Discard));
        assert!(!inbox.serves(5, 3, &SinkConfig::Discard));
        assert!(!inbox.serves(2, 3, &SinkConfig::Verify), "another sink is another destination");
        Ok(())
    }
}
