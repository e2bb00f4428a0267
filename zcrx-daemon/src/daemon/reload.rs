//! A new configuration while the daemon runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{error, info, warn};

use super::DaemonError;
use super::capabilities::GivenUp;
use super::log::Logging;
use super::manager::Manager;
use super::sources::Sources;
use super::totals::Totals;
use crate::config::{Config, ConfigError};
use crate::export::http::Access;
use crate::observe::Reload;

/// Reads the configuration anew: the same file, the same flags.
pub type ReadAgain<'a> = dyn Fn() -> Result<Config, ConfigError> + 'a;

/// The configuration in use.
pub(super) struct Current {
    config: Mutex<Config>,
    reload: Mutex<Reload>,
    given_up: GivenUp,
    manager: Arc<Manager>,
}

impl Current {
    pub(super) fn new(config: Config, given_up: GivenUp, manager: Arc<Manager>) -> Self {
        Self { config: Mutex::new(config), reload: Mutex::new(Reload::succeeded()), given_up, manager }
    }

    /// How reading it went last.
    pub(super) fn reload(&self) -> Reload {
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies what has changed, or leaves everything as it is and says why.
    pub(super) async fn apply(
        &self,
        read: &ReadAgain<'_>,
        sources: &Arc<Sources>,
        logging: &Logging,
        access: &Access,
    ) {
        self.manager.reloading();
        let outcome = match read() {
            Ok(config) => self.take(config, sources, logging).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        access.look_now();
        let mut reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                *reload = Reload::succeeded();
                self.manager.ready(&sources.status());
            }
            Err(what) => {
                reload.successful = false;
                for line in what.lines() {
                    error!("the configuration stays as it was: {line}");
                }
                self.manager.ready(&format!("{}; a new configuration was refused", sources.status()));
            }
        }
    }

    async fn take(
        &self,
        config: Config,
        sources: &Arc<Sources>,
        logging: &Logging,
    ) -> Result<(), DaemonError> {
        if let Some(capabilities) = self.given_up.missing_for(&config) {
            return Err(DaemonError::GivenUp { capabilities });
        }
        let change = sources.reconfigure(config.queues.clone()).await?;
        info!(
            "new configuration: {} queues untouched, {} started, {} ended",
            change.kept,
            change.started,
            change.ended.len()
        );
        if !change.ended.is_empty() {
            info!("ended: {}", Totals::of(&change.ended));
        }
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if current.log.level != config.log.level {
            logging.set_level(&config.log.level);
        }
        for key in only_at_start(&current, &config) {
            warn!("{key} has changed: that takes effect when zcrxd starts again");
        }
        *current = config;
        Ok(())
    }
}

/// Keys whose change a running daemon does not follow.
fn only_at_start(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("runtime_dir", old.runtime_dir != new.runtime_dir),
        ("[web]", old.web != new.web),
        ("[privileges]", old.privileges != new.privileges),
        ("[probes]", (old.probes, old.probe_options) != (new.probes, new.probe_options)),
        ("[observe]", old.interval != new.interval),
        ("[recordings]", old.recordings != new.recordings),
        ("format under [log]", old.log.format != new.log.format),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
