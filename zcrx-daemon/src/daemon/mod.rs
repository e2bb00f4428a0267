//! Wiring and lifecycle of `zcrxd run`.
//!
//! The start reports the cheapest errors first: another daemon, then web addresses, then probes, then queues. The web
//! endpoint answers as soon as it is bound; `/readyz` answers 503 until every queue receives.
//!
//! | Module | Idea |
//! |---|---|
//! | `instance` | one daemon per user |
//! | `bind`, `local` | sockets of the web endpoint, and the socket for commands on this host |
//! | `sources`, `sampler` | probes and local queues, and the thread that samples them |
//! | `capabilities` | drops capabilities once the probes are attached |
//! | `manager`, `watchdog` | notifications to systemd, and whether zcrxd feeds its watchdog |
//! | `store`, `package`, `connections`, `restart` | what systemd keeps while it restarts zcrxd, and whether it does |
//! | `reload` | applies a new configuration at run time |
//! | `stop` | the end of the queues, and what counts as a thread that hangs |
//! | `log` | destination and rate limit of log lines |
//! | `fault` | deliberate faults, for tests |

mod bind;
mod capabilities;
mod connections;
mod events;
mod fault;
mod instance;
mod local;
mod log;
mod manager;
mod memory;
mod package;
mod prepare;
mod queues;
mod reload;
mod restart;
mod sampler;
mod sources;
mod stop;
mod store;
mod totals;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use crate::config::Config;
use crate::export::Phase;
use crate::export::http::{Access, Connections, Endpoint, LOOK_EVERY, Limits, Server, SettingsError, router};
use crate::kernel::Kernel;
use crate::observe::{ServiceSample, ServiceSource, WebSource};
use crate::receive::ReceiveError;

use fault::Trap;
use instance::Instance;
use local::Local;
use log::Logging;
use manager::Manager;
use queues::Queues;
use reload::Current;
use sampler::{Sampler, Sampling};
use sources::Sources;
use stop::Next;
use store::Store;
use totals::Totals;
use watchdog::{Heartbeat, Watchdog};

pub use bind::BindError;
pub use fault::Fault;
pub use instance::InstanceError;
pub use local::{ask, request, socket};
pub use reload::ReadAgain;

/// Limit for the sample in progress at the stop, since a disk that hangs must not delay it.
const LAST_SAMPLE_LIMIT: Duration = Duration::from_millis(300);

/// How often zcrxd logs how many lines it suppressed or dropped.
const REPORT_MISSING_LINES_EVERY: Duration = Duration::from_secs(10);

/// How long the end waits for a log that does not take its lines.
const LOG_FLUSH_LIMIT: Duration = Duration::from_millis(300);

/// Threads for blocking work: samples, password hashes, files. Each kind has its own lower limit.
const BLOCKING_THREADS: usize = 16;

/// Why the daemon did not start or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon of this user runs, or the runtime directory is unusable.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The web configuration is invalid.
    #[error(transparent)]
    Web(#[from] SettingsError),
    /// The web endpoint cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A queue cannot receive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The log cannot be set up, usually because of `RUST_LOG`.
    #[error("cannot set up the log: {0}; check RUST_LOG and `level` under [log]")]
    Log(Box<dyn std::error::Error + Send + Sync>),
    /// The system refuses a resource that zcrxd cannot run without.
    #[error("cannot {what}: {source}")]
    System {
        /// The attempted operation, after "cannot".
        what: &'static str,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A new configuration needs capabilities that zcrxd has dropped.
    #[error(
        "its queues need {capabilities}, which zcrxd dropped at the start: restart zcrxd, or first add the capability to \
         `keep` under [privileges] and restart once"
    )]
    Dropped {
        /// Names of the capabilities.
        capabilities: String,
    },
    /// Receive threads hang.
    #[error(
        "the receive threads of {queues} do not stop: zcrxd exits without them, which resets their connections, and what those \
         lose is not counted; please report this with the log"
    )]
    Hung {
        /// Names of the queues.
        queues: String,
    },
}

/// Runs the daemon until SIGINT or SIGTERM. `read_again` reads the configuration again for SIGHUP.
pub fn run(config: Config, read_again: &ReadAgain<'_>, fault: Option<Fault>) -> Result<(), DaemonError> {
    memory::keep_small();
    let logging = Logging::install(&config.log).map_err(DaemonError::Log)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|source| DaemonError::System { what: "create the event loop", source })?;
    let logging = Arc::new(logging);
    let outcome = runtime.block_on(live(config, read_again, fault, Arc::clone(&logging)));
    // A receive thread that hangs must not keep the process.
    runtime.shutdown_background();
    logging.flush(LOG_FLUSH_LIMIT);
    outcome
}

async fn live(
    config: Config,
    read_again: &ReadAgain<'_>,
    fault: Option<Fault>,
    logging: Arc<Logging>,
) -> Result<(), DaemonError> {
    // Installed first, so a signal during the start stops zcrxd cleanly too.
    let mut signals = Signals::install(fault.is_some())?;
    let instance = Instance::claim(config.runtime_dir.as_deref())?;
    let access = Access::load(config.web.config_file.as_deref())?;
    let access = Arc::new(access.with_open_health_paths(config.web.open_health_paths));
    let manager = Manager::find();
    let store = Store::open(Arc::clone(&manager))
        .map_err(|source| DaemonError::System { what: "take the descriptors from systemd", source })?;
    let store = Arc::new(store);
    let listeners = bind::bind_all(&config.web, store.take_web()).await?;
    let scheme = if access.encrypts() { "https" } else { "http" };
    let addresses: Vec<_> = listeners.iter().map(|listener| url(scheme, &listener.to_string())).collect();
    let kernel = Kernel::inspect();

    let sources = Arc::new(Sources::new(&kernel));
    let attached = if config.probes {
        Some(sources.attach(kernel, config.probe_options.clone(), Arc::clone(&store), config.keep_counts)?)
    } else {
        // Those of an earlier zcrxd end here.
        store.take_programs();
        None
    };
    // Before any other thread starts, except the one that attaches the probes: capabilities belong to threads.
    let dropped = capabilities::drop_unneeded(&config);
    let connections = Arc::new(Connections::default());
    let notifying = tokio::spawn(Arc::clone(&manager).send_pending());
    let watchdog = Arc::new(Watchdog::default());
    let current = Arc::new(Current::new(config.clone(), dropped, Arc::clone(&manager)));
    let (phase, phase_seen) = watch::channel(Phase::Starting);
    let observer = Arc::new(
        sources.observer(web_source(&connections, &access), service_source(&watchdog, &current, &logging)),
    );
    let queues = Queues::new(config.interval);
    let endpoint = Endpoint {
        observer: Arc::clone(&observer),
        diagnosis: queues.diagnosis(),
        outlook: queues.outlook(),
        phase: phase_seen,
        telemetry_path: config.web.telemetry_path.clone(),
        max_requests: (config.web.max_requests > 0).then_some(config.web.max_requests as usize),
    };
    let (stop, stopped) = watch::channel(());
    let routes = router(Arc::new(endpoint));
    let _local = Local::serve(&instance, routes.clone())?;
    let limits = Limits::default();
    let server = Server { listeners, routes, access: Arc::clone(&access), connections, limits };
    let web = tokio::spawn(server.run(stopped));
    let looking = config.web.config_file.as_ref().map(|_| tokio::spawn(look_at_files(Arc::clone(&access))));

    if let Some(attached) = attached {
        // A panic of the thread has been printed; the daemon continues without probes.
        attached.await.ok();
    }
    let started = sources.start(config.queues.clone(), Arc::clone(&store)).await;
    let mut next = Next::Nothing;
    if started.is_ok() {
        phase.send_replace(Phase::Running);
        announce(&addresses, &sources);
        let sampling = Sampling { interval: config.interval, recordings: config.recordings.clone() };
        let (heartbeat, trap) = (Arc::new(Heartbeat::new()), Arc::new(Trap::default()));
        let sampler = Sampler::start(observer, sampling, queues, Arc::clone(&heartbeat), Arc::clone(&trap))?;
        manager.ready(&sources.status());
        let name = tokio::select! {
            name = serve_signals(&mut signals, || current.apply(read_again, &sources, &logging, &access), || {
                if let Some(fault) = fault {
                    fault.trigger(&sources, &trap);
                }
            }) => name,
            () = watchdog.run(&sources, &manager, heartbeat, config.interval) => "nothing",
            () = report_missing_lines(&logging) => "nothing",
            () = sources.keep_prepared() => "nothing",
        };
        events::stopping(name);
        next = Next::after(name, &store, read_again).await;
        if next == Next::Nothing {
            store.end_programs();
        }
        manager.stopping();
        // Before the queues stop, so their end does not look like a problem of the queues.
        let stopping = tokio::task::spawn_blocking(|| sampler.stop());
        tokio::time::timeout(LAST_SAMPLE_LIMIT, stopping).await.ok();
    }
    phase.send_replace(Phase::Stopping);
    let ended = stop::stop_receiving(&sources, &mut signals, next, &store).await;
    if let Some(looking) = looking {
        looking.abort();
    }
    notifying.abort();
    drop(stop);
    // The endpoint stops within its own limit; a panic in it has been printed.
    web.await.ok();
    started?;
    info!("stopped: {}", Totals::of(&ended?));
    Ok(())
}

/// Serves signals until one requests the end; returns its name.
async fn serve_signals<F: Future<Output = ()>>(
    signals: &mut Signals,
    reload: impl Fn() -> F,
    fault: impl Fn(),
) -> &'static str {
    loop {
        match signals.next().await {
            Request::Stop(name) => return name,
            Request::Reload => {
                // A signal may also stop zcrxd while it applies a new configuration.
                tokio::select! {
                    () = reload() => {}
                    name = signals.stop() => return name,
                }
            }
            Request::Fault => fault(),
        }
    }
}

/// Checks the files of the web configuration periodically.
async fn look_at_files(access: Arc<Access>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let access = Arc::clone(&access);
        // A disk that hangs must not block the endpoint.
        tokio::task::spawn_blocking(move || access.look()).await.ok();
    }
}

async fn report_missing_lines(logging: &Logging) {
    loop {
        tokio::time::sleep(REPORT_MISSING_LINES_EVERY).await;
        logging.report_missing_lines();
    }
}

fn web_source(connections: &Arc<Connections>, access: &Arc<Access>) -> WebSource {
    let (connections, access) = (Arc::clone(connections), Arc::clone(access));
    Box::new(move || access.sample(connections.sample()))
}

fn service_source(watchdog: &Arc<Watchdog>, current: &Arc<Current>, logging: &Arc<Logging>) -> ServiceSource {
    let (watchdog, current, logging) = (Arc::clone(watchdog), Arc::clone(current), Arc::clone(logging));
    Box::new(move || ServiceSample {
        config: Some(current.reload()),
        threads: watchdog.sample(),
        log_lines_suppressed: logging.suppressed(),
        log_lines_dropped: logging.dropped(),
    })
}

/// Address of the endpoint for the log: a URL, or the path of a Unix socket.
fn url(scheme: &str, listener: &str) -> String {
    if listener.starts_with("unix:") {
        format!("{listener} ({scheme})")
    } else {
        format!("{scheme}://{listener}/")
    }
}

/// Logs the queues and the addresses that are ready.
fn announce(web: &[String], sources: &Sources) {
    sources.receive().iter().for_each(events::queue_receives);
    for address in web {
        events::web_listens(address);
    }
    events::ready();
}

/// Request of a signal.
enum Request {
    /// Stop, with the name of the signal.
    Stop(&'static str),
    /// Read the configuration again.
    Reload,
    /// Trigger the fault of `--fault`.
    Fault,
}

/// Signals that the daemon handles.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Only with `--fault`; otherwise SIGUSR1 keeps its default action.
    user1: Option<Signal>,
}

impl Signals {
    fn install(fault: bool) -> Result<Self, DaemonError> {
        let install =
            |kind| signal(kind).map_err(|source| DaemonError::System { what: "handle signals", source });
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
            hangup: install(SignalKind::hangup())?,
            user1: fault.then(|| install(SignalKind::user_defined1())).transpose()?,
        })
    }

    /// Waits for a signal that stops the daemon and returns its name.
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Request {
        let user1 = async {
            match &mut self.user1 {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.hangup.recv() => Request::Reload,
            _ = user1 => Request::Fault,
        }
    }
}
