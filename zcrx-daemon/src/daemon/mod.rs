//! Wiring and lifecycle.
//!
//! The order of the start is the order in which mistakes are cheapest to say: one daemon only, then web addresses,
//! then probes, then queues. From the moment the web endpoint is bound it
//! answers, `/readyz` with 503 until all is up.
//!
//! | Module | Idea |
//! |---|---|
//! | `instance` | one daemon per user |
//! | `bind`, `local` | sockets of the web endpoint, and the one for commands on this host |
//! | `sources`, `sampler` | probes and own queues, and who looks at them |
//! | `capabilities` | what is given up once the probes are attached |
//! | `manager`, `heart` | what systemd is told, and whether its watchdog is fed |
//! | `reload` | a new configuration while all runs |
//! | `log` | where log lines go, and how many |
//! | `fault` | faults on purpose, for tests |

mod bind;
mod capabilities;
mod fault;
mod heart;
mod instance;
mod local;
mod log;
mod manager;
mod prepare;
mod reload;
mod sampler;
mod sources;
mod totals;

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
use heart::{Beat, Heart};
use instance::Instance;
use local::Local;
use log::Logging;
use manager::Manager;
use reload::Current;
use sampler::{Sampler, Sampling};
use sources::Sources;
use totals::Totals;

pub use bind::BindError;
pub use fault::Fault;
pub use instance::InstanceError;
pub use local::{ask, socket};
pub use reload::ReadAgain;

/// How long the end may take before the process ends without it.
const STOP_LIMIT: Duration = Duration::from_millis(900);

/// How long a look that is under way may delay the end. A disk that hangs must not.
const LAST_LOOK: Duration = Duration::from_millis(300);

/// How often it is said which log lines were left out.
const TELL_SUPPRESSED: Duration = Duration::from_secs(10);

/// Threads for what may take a while: looks, hashes, files. Each has a limit of its own below this.
const BLOCKING_THREADS: usize = 16;

/// Why the daemon did not start, or did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There is another daemon.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The web configuration is wrong.
    #[error(transparent)]
    Web(#[from] SettingsError),
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
    /// A new configuration asks for what was given up.
    #[error(
        "its queues need {capabilities}, which zcrxd gave up at its start; restart it, or name what is to stay in keep \
         under [privileges]"
    )]
    GivenUp {
        /// In words.
        capabilities: String,
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

/// Runs the daemon until SIGINT or SIGTERM. `read_again` gives the configuration that SIGHUP asks for.
pub fn run(config: Config, read_again: &ReadAgain<'_>, fault: Option<Fault>) -> Result<(), DaemonError> {
    let logging = Logging::install(&config.log).map_err(DaemonError::Log)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|source| DaemonError::System { what: "make an event loop", source })?;
    let outcome = runtime.block_on(live(config, read_again, fault, Arc::new(logging)));
    // A receive thread that hangs must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn live(
    config: Config,
    read_again: &ReadAgain<'_>,
    fault: Option<Fault>,
    logging: Arc<Logging>,
) -> Result<(), DaemonError> {
    // First of all: a signal during the start ends it cleanly too.
    let mut signals = Signals::install(fault.is_some())?;
    let instance = Instance::claim(config.runtime_dir.as_deref())?;
    let access = Arc::new(Access::load(config.web.config_file.as_deref())?);
    let listeners = bind::bind_all(&config.web).await?;
    let scheme = if access.encrypts() { "https" } else { "http" };
    let addresses: Vec<_> = listeners.iter().map(|listener| url(scheme, &listener.to_string())).collect();
    let kernel = Kernel::inspect();

    let sources = Arc::new(Sources::new(&kernel));
    let attached = config.probes.then(|| sources.attach(kernel, config.probe_options)).transpose()?;
    // No other thread has begun but the one that attaches.
    let given_up = capabilities::give_up(&config);
    let connections = Arc::new(Connections::default());
    let manager = Manager::find();
    let telling = tokio::spawn(Arc::clone(&manager).say_again());
    let heart = Arc::new(Heart::default());
    let current = Arc::new(Current::new(config.clone(), given_up, Arc::clone(&manager)));
    let (phase, phase_seen) = watch::channel(Phase::Starting);
    let observer = Arc::new(
        sources.observer(web_source(&connections, &access), service_source(&heart, &current, &logging)),
    );
    let (told, diagnosis) = watch::channel(Arc::default());
    let endpoint = Endpoint { observer: Arc::clone(&observer), diagnosis, phase: phase_seen };
    let (stop, stopped) = watch::channel(());
    let routes = router(Arc::new(endpoint));
    let _local = Local::serve(&instance, routes.clone())?;
    let limits = Limits::default();
    let server = Server { listeners, routes, access: Arc::clone(&access), connections, limits };
    let web = tokio::spawn(server.run(stopped));
    let looking = config.web.config_file.as_ref().map(|_| tokio::spawn(look_at_files(Arc::clone(&access))));

    if let Some(attached) = attached {
        // If the thread panicked, that has been printed; the daemon does without probes.
        attached.await.ok();
    }
    let started = sources.start(config.queues.clone()).await;
    if started.is_ok() {
        phase.send_replace(Phase::Running);
        announce(&addresses, &sources);
        let sampling = Sampling { interval: config.interval, recordings: config.recordings.clone() };
        let (beat, trap) = (Arc::new(Beat::new()), Arc::new(Trap::default()));
        let sampler = Sampler::start(observer, sampling, told, Arc::clone(&beat), Arc::clone(&trap))?;
        manager.ready(&sources.status());
        let name = tokio::select! {
            name = serve_signals(&mut signals, || current.apply(read_again, &sources, &logging, &access), || {
                if let Some(fault) = fault {
                    fault.happen(&sources, &trap);
                }
            }) => name,
            () = heart.watch(&sources, &manager, beat, config.interval) => "nothing",
            () = tell_suppressed(&logging) => "nothing",
        };
        info!("stopping on {name}");
        manager.stopping();
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
    if let Some(looking) = looking {
        looking.abort();
    }
    telling.abort();
    drop(stop);
    // The endpoint ends within its own limit; a panic in it has been printed.
    web.await.ok();
    started?;
    info!("ended: {}", Totals::of(&ended?));
    Ok(())
}

/// Does what signals ask for, until one asks for the end; names that one.
async fn serve_signals<F: Future<Output = ()>>(
    signals: &mut Signals,
    reload: impl Fn() -> F,
    fault: impl Fn(),
) -> &'static str {
    loop {
        match signals.any().await {
            Asked::End(name) => return name,
            Asked::Reload => {
                // Whoever loses patience with a new configuration may still end it all.
                tokio::select! {
                    () = reload() => {}
                    name = signals.next() => return name,
                }
            }
            Asked::Fault => fault(),
        }
    }
}

/// Looks at the files of the web configuration once in a while.
async fn look_at_files(access: Arc<Access>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let access = Arc::clone(&access);
        // A disk that hangs must not keep the endpoint.
        tokio::task::spawn_blocking(move || access.look()).await.ok();
    }
}

async fn tell_suppressed(logging: &Logging) {
    loop {
        tokio::time::sleep(TELL_SUPPRESSED).await;
        logging.tell_suppressed();
    }
}

fn web_source(connections: &Arc<Connections>, access: &Arc<Access>) -> WebSource {
    let (connections, access) = (Arc::clone(connections), Arc::clone(access));
    Box::new(move || access.sample(connections.sample()))
}

fn service_source(heart: &Arc<Heart>, current: &Arc<Current>, logging: &Arc<Logging>) -> ServiceSource {
    let (heart, current, logging) = (Arc::clone(heart), Arc::clone(current), Arc::clone(logging));
    Box::new(move || ServiceSample {
        config: Some(current.reload()),
        threads: heart.sample(),
        log_lines_suppressed: logging.suppressed(),
    })
}

/// Where to ask: a URL, or for a Unix socket its path.
fn url(scheme: &str, listener: &str) -> String {
    if listener.starts_with("unix:") {
        format!("{listener} ({scheme})")
    } else {
        format!("{scheme}://{listener}/")
    }
}

/// The lines that say that all is up, and on what.
fn announce(web: &[String], sources: &Sources) {
    let queues = sources.receive();
    for queue in &queues {
        let backend = queue.selection.backend.map_or("no backend", |backend| backend.name());
        let listen = queue.listen.join(", ");
        info!("queue {} receives on {listen} with backend {backend}, sink {}", queue.key, queue.sink);
    }
    for address in web {
        info!("web endpoint on {address}");
    }
    info!("ready");
}

/// What a signal asks for.
enum Asked {
    /// The end, by the signal of this name.
    End(&'static str),
    /// A new configuration.
    Reload,
    /// A fault on purpose.
    Fault,
}

/// The signals that the daemon answers to.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Only where a fault was asked for; else SIGUSR1 ends zcrxd as it ends any program.
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

    /// Waits for one that ends the daemon, and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Waits for any.
    async fn any(&mut self) -> Asked {
        let user1 = async {
            match &mut self.user1 {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.hangup.recv() => Asked::Reload,
            _ = user1 => Asked::Fault,
        }
    }
}
