//! Applies a new configuration while the daemon runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::DaemonError;
use super::capabilities::Dropped;
use super::events;
use super::log::Logging;
use super::manager::Manager;
use super::sources::Sources;
use super::totals::Totals;
use crate::config::{Config, ConfigError};
use crate::export::http::Access;
use crate::observe::Reload;

/// Reads the configuration again, with the same file and flags.
pub type ReadAgain<'a> = dyn Fn() -> Result<Config, ConfigError> + 'a;

/// The configuration in use.
pub(super) struct Current {
    config: Mutex<Config>,
    reload: Mutex<Reload>,
    dropped: Dropped,
    manager: Arc<Manager>,
}

impl Current {
    pub(super) fn new(config: Config, dropped: Dropped, manager: Arc<Manager>) -> Self {
        Self { config: Mutex::new(config), reload: Mutex::new(Reload::succeeded()), dropped, manager }
    }

    /// Result of the last reload.
    pub(super) fn reload(&self) -> Reload {
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the differences. On an error, changes nothing and logs the reason.
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
                    events::configuration_refused(line);
                }
                self.manager
                    .ready(&format!("{}; refused a new configuration, see the log", sources.status()));
            }
        }
    }

    async fn take(
        &self,
        config: Config,
        sources: &Arc<Sources>,
        logging: &Logging,
    ) -> Result<(), DaemonError> {
        if let Some(capabilities) = self.dropped.needed_by(&config) {
            return Err(DaemonError::Dropped { capabilities });
        }
        let change = sources.reconfigure(config.queues.clone()).await?;
        events::configuration_applied(change.kept, change.started, change.ended.len());
        if !change.ended.is_empty() {
            info!("stopped: {}", Totals::of(&change.ended));
        }
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if current.log.level != config.log.level {
            logging.set_level(&config.log.level);
        }
        for key in only_at_start(&current, &config) {
            warn!("{key} has changed: restart zcrxd to apply it");
        }
        *current = config;
        Ok(())
    }
}

/// Changed keys that need a restart.
fn only_at_start(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("runtime_dir", old.runtime_dir != new.runtime_dir),
        ("[web]", old.web != new.web),
        ("[privileges]", old.privileges != new.privileges),
        ("[probes]", (old.probes, &old.probe_options) != (new.probes, &new.probe_options)),
        ("[observe]", old.interval != new.interval),
        ("[recordings]", old.recordings != new.recordings),
        ("format under [log]", old.log.format != new.log.format),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
