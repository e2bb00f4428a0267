//! Wiring and lifecycle.
//!
//! The order of the start is the order in which mistakes are cheapest to say: one daemon only, then web addresses,
//! then probes, then queues. From the moment the web endpoint is bound it
//! answers, `/readyz` with 503 until all is up.

mod bind;
mod instance;
mod local;
mod log;
mod prepare;
mod sampler;
mod sources;
mod totals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use crate::config::Config;
use crate::export::Phase;
use crate::export::http::{Connections, Endpoint, Limits, Server, router};
use crate::kernel::Kernel;
use crate::receive::ReceiveError;

use instance::Instance;
use local::Local;
use sampler::{Sampler, Sampling};
use sources::Sources;
use totals::Totals;

pub use bind::BindError;
pub use instance::InstanceError;
pub use local::{ask, socket};

/// How long the end may take before the process ends without it.
const STOP_LIMIT: Duration = Duration::from_millis(900);

/// How long a look that is under way may delay the end. A disk that hangs must not.
const LAST_LOOK: Duration = Duration::from_millis(300);

/// Why the daemon did not start, or did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There is another daemon.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A web address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A queue cannot receive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The log cannot be installed; `RUST_LOG` is the usual reason.
    #[error("cannot set up the log: {0}; is RUST_LOG what it should be?")]
    Log(Box<dyn std::error::Error + Send + Sync>),
    /// The system refuses something that every process needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The receive threads did not end in time.
    #[error("the receive threads did not end within {} ms", STOP_LIMIT.as_millis())]
    Hung,
    /// A second signal came before all had ended.
    #[error("ended at once on a second signal, {name}")]
    Impatient {
        /// The signal.
        name: &'static str,
    },
}

/// Runs the daemon until SIGINT or SIGTERM.
pub fn run(config: &Config) -> Result<(), DaemonError> {
    log::install(&config.log).map_err(DaemonError::Log)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { what: "make an event loop", source })?;
    let outcome = runtime.block_on(live(config));
    // A receive thread that hangs must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn live(config: &Config) -> Result<(), DaemonError> {
    // First of all: a signal during the start ends it cleanly too.
    let mut signals = Signals::install()?;
    let instance = Instance::claim(config.runtime_dir.as_deref())?;
    let listeners = bind::bind_all(&config.web).await?;
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let kernel = Kernel::inspect();

    let sources = Arc::new(Sources::new(&kernel));
    let connections = Arc::new(Connections::default());
    let (phase, phase_seen) = watch::channel(Phase::Starting);
    let observer = Arc::new(sources.observer(&connections));
    let (told, diagnosis) = watch::channel(Arc::default());
    let endpoint = Endpoint { observer: Arc::clone(&observer), diagnosis, phase: phase_seen };
    let (stop, stopped) = watch::channel(());
    let routes = router(Arc::new(endpoint));
    let _local = Local::serve(&instance, routes.clone())?;
    let server = Server { listeners, routes, connections, limits: Limits::default() };
    let web = tokio::spawn(server.run(stopped));

    let started = sources.start(config, kernel).await;
    if started.is_ok() {
        phase.send_replace(Phase::Running);
        announce(&addresses, &sources);
        let sampling = Sampling { interval: config.interval, recordings: config.recordings.clone() };
        let sampler = Sampler::start(observer, sampling, told)?;
        let name = signals.next().await;
        info!("stopping on {name}");
        // Before the queues end: that they do is no trouble of theirs.
        let stopping = tokio::task::spawn_blocking(|| sampler.stop());
        tokio::time::timeout(LAST_LOOK, stopping).await.ok();
    }
    phase.send_replace(Phase::Stopping);
    let ended = tokio::select! {
        ended = sources.stop(STOP_LIMIT) => ended,
        name = signals.next() => {
            Err(DaemonError::Impatient { name })
        }
    };
    if ended.is_ok() {
        sources.put_back().await;
    }
    drop(stop);
    // The endpoint ends within its own limit; a panic in it has been printed.
    web.await.ok();
    started?;
    info!("ended: {}", Totals::of(&ended?));
    Ok(())
}

/// The lines that say that all is up, and on what.
fn announce(web: &[SocketAddr], sources: &Sources) {
    let queues = sources.receive();
    for queue in &queues {
        let backend = queue.selection.backend.map_or("no backend", |backend| backend.name());
        let listen = queue.listen.join(", ");
        info!("queue {} receives on {listen} with backend {backend}, sink {}", queue.key, queue.sink);
    }
    for address in web {
        info!("web endpoint on http://{address}/");
    }
    info!("ready");
}

/// The signals that end the daemon.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> Result<Self, DaemonError> {
        let install =
            |kind| signal(kind).map_err(|source| DaemonError::System { what: "handle signals", source });
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
        })
    }

    /// Waits for one and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
