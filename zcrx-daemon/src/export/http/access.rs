//! The web configuration in use, read again when a file that it was made of has changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::{error, info, warn};

use super::auth::Authenticator;
use super::fingerprint::Fingerprint;
use super::settings::{Settings, SettingsError};
use crate::observe::{Reload, WebSample};

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may ask, and how.
#[derive(Default)]
pub struct Access {
    file: Option<PathBuf>,
    state: Mutex<State>,
    pub(super) authenticator: Authenticator,
    /// Whether `/healthz` and `/readyz` answer without a password.
    open_health_paths: bool,
    unauthorized: AtomicU64,
    handshakes_failed: AtomicU64,
}

#[derive(Default)]
struct State {
    settings: Arc<Settings>,
    /// As they were when they were last read.
    read: Vec<Fingerprint>,
    /// State at the last check: files that are being replaced are not read until they stop changing.
    seen: Vec<Fingerprint>,
    reload: Option<Reload>,
}

impl Access {
    /// Reads the file, if there is one; without it, plain HTTP for every client.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let access = Self { file: file.map(Path::to_owned), ..Self::default() };
        access.read()?;
        Ok(access)
    }

    /// Lets `/healthz` and `/readyz` answer without a password, or not.
    #[must_use]
    pub fn with_open_health_paths(self, open_health_paths: bool) -> Self {
        Self { open_health_paths, ..self }
    }

    /// Whether a path is served without a password.
    pub(super) fn is_open(&self, path: &str) -> bool {
        self.open_health_paths && matches!(path, "/healthz" | "/readyz")
    }

    /// Whether connections are encrypted now.
    pub fn encrypts(&self) -> bool {
        self.current().tls.is_some()
    }

    /// Reads the files again if one has changed and rests. What cannot be used is said once, and the old stays.
    pub fn look(&self) {
        let changed = {
            let mut state = self.state();
            let now: Vec<_> = state.read.iter().map(Fingerprint::again).collect();
            let rests = now == state.seen;
            let changed = now != state.read;
            state.seen = now;
            changed && rests
        };
        if changed {
            match self.read() {
                Ok(()) => info!("the web configuration was read again"),
                Err(error) => error!("the web configuration stays as it was: {error}"),
            }
        }
    }

    /// Reads the files again whether they have changed or not.
    pub fn look_now(&self) {
        if self.file.is_some()
            && let Err(error) = self.read()
        {
            error!("the web configuration stays as it was: {error}");
        }
    }

    fn read(&self) -> Result<(), SettingsError> {
        let Some(file) = &self.file else { return Ok(()) };
        let (settings, fingerprints) = Settings::load(file);
        let mut state = self.state();
        state.seen.clone_from(&fingerprints);
        state.read = fingerprints;
        let result = settings.map(|settings| {
            for note in &settings.notes {
                warn!("{}: {note}", file.display());
            }
            state.settings = Arc::new(settings);
        });
        let last_success = match &result {
            Ok(()) => Some(SystemTime::now()),
            Err(_) => state.reload.and_then(|reload| reload.last_success),
        };
        state.reload = Some(Reload { successful: result.is_ok(), last_success });
        result
    }

    pub(super) fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.state().settings)
    }

    pub(super) fn count_unauthorized(&self) {
        self.unauthorized.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed_handshake(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what is counted here to what the connections say.
    pub fn sample(&self, connections: WebSample) -> WebSample {
        let tls = self.current().tls.clone();
        WebSample {
            server_certificate: tls.as_ref().and_then(|tls| tls.server_certificate),
            client_ca: tls.as_ref().and_then(|tls| tls.client_ca),
            unauthorized: self.unauthorized.load(Ordering::Relaxed),
            handshakes_failed: self.handshakes_failed.load(Ordering::Relaxed),
            config: self.state().reload,
            ..connections
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change replaces whole values: a panic elsewhere cannot have left one half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
