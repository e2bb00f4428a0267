//! The sources of the running daemon: probes and own queues, whether they are up yet or not any more.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::DaemonError;
use super::prepare::Prepared;
use crate::config::Config;
use crate::export::http::Connections;
use crate::kernel::Kernel;
use crate::model::{ProbeSample, ProbeStatus, ReceiveSample};
use crate::observe::{Memory, Observer};
use crate::probe::Probes;
use crate::receive::Receiver;

pub(super) struct Sources {
    release: String,
    probes: OnceLock<Probes>,
    own: Mutex<Own>,
    prepared: OnceLock<Prepared>,
}

/// The own queues' life.
enum Own {
    NotYet,
    Running(Receiver),
    Ended(Vec<ReceiveSample>),
}

impl Sources {
    pub(super) fn new(kernel: &Kernel) -> Self {
        let release = kernel.release.clone().unwrap_or_else(|reason| format!("unknown: {reason}"));
        Self { release, probes: OnceLock::new(), own: Mutex::new(Own::NotYet), prepared: OnceLock::new() }
    }

    /// What the web endpoint asks.
    pub(super) fn observer(self: &Arc<Self>, connections: &Arc<Connections>) -> Observer {
        let (receive, probe, web) = (Arc::clone(self), Arc::clone(self), Arc::clone(connections));
        Observer {
            kernel: self.release.clone(),
            receive: Box::new(move || receive.receive()),
            probe: Box::new(move || probe.probe()),
            web: Box::new(move || web.sample()),
            memory: Memory::default(),
        }
    }

    /// Attaches probes, then starts the queues. Neither waits on the event loop: it serves meanwhile.
    pub(super) async fn start(self: &Arc<Self>, config: &Config, kernel: Kernel) -> Result<(), DaemonError> {
        let sources = Arc::clone(self);
        let (probes, queues) = (config.probes, config.queues.clone());
        let start = move || {
            if probes {
                let probes = Probes::attach(&kernel);
                tell(&probes.sample().probes);
                sources.probes.set(probes).ok();
            }
            // The kernel's types are megabytes that nobody needs from here on.
            drop(kernel);
            sources.prepared.set(Prepared::prepare(&queues)).ok();
            let own = if queues.is_empty() {
                Own::Ended(Vec::new())
            } else {
                Own::Running(Receiver::start(queues)?)
            };
            sources.with_own(|place| *place = own);
            Ok(())
        };
        tokio::task::spawn_blocking(start).await.map_err(|_| DaemonError::System {
            what: "start",
            source: std::io::Error::other("a thread panicked"),
        })?
    }

    /// Ends the queues and answers with what they did; an error if that takes longer than `limit`.
    pub(super) async fn stop(&self, limit: Duration) -> Result<Vec<ReceiveSample>, DaemonError> {
        let Own::Running(receiver) = self.with_own(|own| std::mem::replace(own, Own::Ended(Vec::new())))
        else {
            return Ok(Vec::new());
        };
        let stopping = tokio::task::spawn_blocking(|| receiver.stop());
        let Ok(Ok(last)) = tokio::time::timeout(limit, stopping).await else { return Err(DaemonError::Hung) };
        self.with_own(|own| *own = Own::Ended(last.clone()));
        Ok(last)
    }

    /// Puts the interfaces back that were prepared. The queues have ended by then.
    pub(super) async fn put_back(self: &Arc<Self>) {
        let sources = Arc::clone(self);
        let put_back = move || {
            if let Some(prepared) = sources.prepared.get() {
                prepared.put_back();
            }
        };
        // A panic has been printed.
        tokio::task::spawn_blocking(put_back).await.ok();
    }

    pub(super) fn receive(&self) -> Vec<ReceiveSample> {
        self.with_own(|own| match own {
            Own::NotYet => Vec::new(),
            Own::Running(receiver) => receiver.sample(),
            Own::Ended(last) => last.clone(),
        })
    }

    fn probe(&self) -> ProbeSample {
        self.probes.get().map(Probes::sample).unwrap_or_default()
    }

    fn with_own<T>(&self, use_it: impl FnOnce(&mut Own) -> T) -> T {
        // Each change replaces the whole value: a panic elsewhere cannot have left it half made.
        use_it(&mut self.own.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says which probes this kernel allows, and what is lost.
fn tell(probes: &[ProbeStatus]) {
    for probe in probes {
        if let Some((mechanism, target)) = &probe.attached {
            info!("probe {}: {} {target}", probe.name, mechanism.name());
        } else {
            warn!("probe {}: not attached; unknown without it: {}", probe.name, probe.lost_without);
        }
    }
}
