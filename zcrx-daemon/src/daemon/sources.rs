//! The sources of the running daemon: probes and local queues, before, during and after they run.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::memory;
use super::prepare::{Prepared, name_interfaces};
use super::store::Store;
use super::{DaemonError, events};
use crate::kernel::Kernel;
use crate::model::{ProbeSample, ProbeStatus, QueueKey, QueueState, ReceiveSample, Scope, common_refusal};
use crate::observe::{Memory, Observer, ServiceSource, WebSource};
use crate::probe::{self, Probes};
use crate::receive::{Change, QueueConfig, Receiver};

/// How often zcrxd checks whether a prepared interface was reset.
const RESET_CHECK: Duration = Duration::from_secs(5);

pub(super) struct Sources {
    release: String,
    probes: OnceLock<Probes>,
    local: Mutex<Local>,
    prepared: Mutex<Prepared>,
}

/// State of the local queues.
enum Local {
    NotYet,
    Running(Arc<Receiver>),
    Ended(Vec<ReceiveSample>),
}

impl Sources {
    pub(super) fn new(kernel: &Kernel) -> Self {
        let release = kernel.release.clone().unwrap_or_else(|reason| format!("unknown: {reason}"));
        Self {
            release,
            probes: OnceLock::new(),
            local: Mutex::new(Local::NotYet),
            prepared: Mutex::default(),
        }
    }

    /// Creates the observer that joins these sources with those of the web endpoint and the service.
    pub(super) fn observer(self: &Arc<Self>, web: WebSource, service: ServiceSource) -> Observer {
        let (receive, probe) = (Arc::clone(self), Arc::clone(self));
        Observer {
            kernel: self.release.clone(),
            receive: Box::new(move || receive.receive()),
            probe: Box::new(move |scope| probe.probe(scope)),
            web,
            service,
            memory: Memory::default(),
        }
    }

    /// Attaches the probes on a separate thread, the only one that keeps every capability of zcrxd; the thread then ends.
    pub(super) fn attach(
        self: &Arc<Self>,
        kernel: Kernel,
        options: probe::Options,
        store: Arc<Store>,
        keep_counts: bool,
    ) -> Result<oneshot::Receiver<()>, DaemonError> {
        let sources = Arc::clone(self);
        let (done, attached) = oneshot::channel();
        let attach = move || {
            let kept = store.take_programs().filter(|_| keep_counts);
            let probes = Probes::attach_after(&kernel, options, kept);
            // Frees megabytes of type information that zcrxd no longer needs.
            drop(kernel);
            log_probes(&probes.sample().probes);
            match probes.inherited() {
                Some(Ok(queues)) => events::counts_go_on(*queues),
                Some(Err(reason)) => events::counts_begin_at_zero(reason),
                None => {}
            }
            if keep_counts {
                store.leave_programs(&probes);
            }
            sources.probes.set(probes).ok();
            // The daemon may be stopping already.
            done.send(()).ok();
            memory::trim();
        };
        thread::Builder::new().name("zcrxd-attach".to_owned()).spawn(attach).map_err(|source| {
            DaemonError::System { what: "start the thread that attaches probes", source }
        })?;
        Ok(attached)
    }

    /// Starts the queues on another thread, so the event loop keeps serving. Takes listening sockets and connections from the
    /// store.
    pub(super) async fn start(
        self: &Arc<Self>,
        mut queues: Vec<QueueConfig>,
        store: Arc<Store>,
    ) -> Result<(), DaemonError> {
        let sources = Arc::clone(self);
        let start = move || {
            name_interfaces(&mut queues, &[]);
            // A configuration that cannot work changes no interface.
            Receiver::check(&queues)?;
            sources.prepared().prepare(&queues);
            let weak = Arc::downgrade(&sources);
            let before_registration = Box::new(move |queue: &QueueConfig| {
                if let Some(sources) = weak.upgrade() {
                    sources.prepare_again(queue);
                }
            });
            let listeners = Arc::<Store>::clone(&store);
            let handed = store.take_connections();
            let receiver = Receiver::start_with(queues, before_registration, listeners, handed)?;
            store.close_unused();
            let local = Local::Running(Arc::new(receiver));
            sources.with_local(|state| *state = local);
            Ok(())
        };
        on_blocking_thread(start).await
    }

    /// The prepared interfaces. A poisoned lock is harmless: each change replaces whole values.
    fn prepared(&self) -> MutexGuard<'_, Prepared> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares the interface of a queue that is about to be registered again. A receive thread does not wait for another
    /// preparation: the registration fails then, and the queue is tried again.
    fn prepare_again(&self, queue: &QueueConfig) {
        if let (true, Some(interface), Ok(mut prepared)) =
            (queue.prepare, &queue.interface, self.prepared.try_lock())
        {
            prepared.prepare_again(interface);
        }
    }

    /// Changes the local queues to `queues`; queues with unchanged settings are not touched.
    ///
    /// Interfaces are changed only for a valid configuration, restored if its queues cannot start, and restored if no queue
    /// needs them any more.
    pub(super) async fn reconfigure(
        self: &Arc<Self>,
        mut queues: Vec<QueueConfig>,
    ) -> Result<Change, DaemonError> {
        let Some(receiver) = self.receiver() else { return Ok(Change::default()) };
        let sources = Arc::clone(self);
        let reconfigure = move || {
            let running: Vec<_> =
                receiver.sample().into_iter().map(|queue| (queue.key, queue.ifindex)).collect();
            name_interfaces(&mut queues, &running);
            Receiver::check(&queues)?;
            let before = sources.prepared().prepare(&queues);
            match receiver.reconfigure(queues.clone()) {
                Ok(change) => {
                    sources.prepared().put_back_dropped(&queues);
                    Ok(change)
                }
                Err(error) => {
                    sources.prepared().undo(before);
                    Err(error.into())
                }
            }
        };
        on_blocking_thread(reconfigure).await
    }

    /// Prepares interfaces again after device resets, until it is dropped.
    pub(super) async fn keep_prepared(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(RESET_CHECK).await;
            let sources = Arc::clone(self);
            let check = move || {
                // A reload in progress prepares everything itself.
                if let Ok(mut prepared) = sources.prepared.try_lock() {
                    prepared.prepare_again_after_reset();
                }
            };
            tokio::task::spawn_blocking(check).await.ok();
        }
    }

    /// Requests an answer from each receive thread; returns how long each has not answered.
    pub(super) fn pulse(&self) -> Vec<(QueueKey, Option<Duration>)> {
        self.receiver().map_or_else(Vec::new, |receiver| receiver.pulse())
    }

    /// Makes a receive thread hang, for a test.
    pub(super) fn hang(&self) {
        if let Some(receiver) = self.receiver() {
            receiver.hang();
        }
    }

    /// Makes a ring fail, for a test.
    pub(super) fn break_ring(&self) {
        if let Some(receiver) = self.receiver() {
            receiver.break_ring();
        }
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self) -> String {
        let queues = self.receive();
        let degraded = queues.iter().filter(|queue| queue.state != QueueState::Running).count();
        match (queues.len(), degraded) {
            (0, _) => "observing".to_owned(),
            (all, 0) => format!("receiving on {all} queues"),
            (all, some) => format!("receiving on {all} queues, {some} of them degraded or failed"),
        }
    }

    /// The receive path, unless it has not started or has ended.
    pub(super) fn receiver(&self) -> Option<Arc<Receiver>> {
        self.with_local(|local| match local {
            Local::Running(receiver) => Some(Arc::clone(receiver)),
            Local::NotYet | Local::Ended(_) => None,
        })
    }

    /// Makes a stop in progress wait for no sink.
    pub(super) fn abort(&self) {
        if let Some(receiver) = self.receiver() {
            receiver.abort();
        }
    }

    /// Keeps the last samples of queues that have stopped.
    pub(super) fn ended(&self, last: &[ReceiveSample]) {
        self.with_local(|local| *local = Local::Ended(last.to_vec()));
    }

    /// Leaves these interfaces prepared for the next zcrxd.
    pub(super) fn keep_for_next(&self, interfaces: &[String]) {
        self.prepared().keep_for_next(interfaces);
    }

    /// Restores the prepared interfaces, after the queues have stopped. Once `hurry` is set, does not wait for the kernel to
    /// release queues.
    pub(super) async fn put_back(self: &Arc<Self>, hurry: Arc<AtomicBool>) {
        let sources = Arc::clone(self);
        // A panic has been printed.
        tokio::task::spawn_blocking(move || sources.prepared().put_back(&hurry)).await.ok();
    }

    pub(super) fn receive(&self) -> Vec<ReceiveSample> {
        self.with_local(|local| match local {
            Local::NotYet => Vec::new(),
            Local::Running(receiver) => receiver.sample(),
            Local::Ended(last) => last.clone(),
        })
    }

    fn probe(&self, scope: Scope) -> ProbeSample {
        self.probes.get().map(|probes| probes.sample_of(scope)).unwrap_or_default()
    }

    fn with_local<T>(&self, use_it: impl FnOnce(&mut Local) -> T) -> T {
        // A poisoned lock is harmless: each change replaces the whole value.
        use_it(&mut self.local.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs work that may block on another thread.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DaemonError> + Send + 'static,
) -> Result<T, DaemonError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| DaemonError::System {
        what: "continue",
        source: std::io::Error::other("a thread panicked"),
    })?
}

/// Logs which probes attached, and which facts are unknown without the others.
fn log_probes(probes: &[ProbeStatus]) {
    if let Some(reason) = common_refusal(probes) {
        events::no_probe(reason);
        return;
    }
    probes.iter().for_each(events::probe);
}
