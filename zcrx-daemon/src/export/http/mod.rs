//! The web endpoint.
//!
//! Connections live on the daemon's one thread, and what may take time is done on others, for few requests at once.
//! Clients may be slow, many or hostile: `server` and `connections` bound what they can take, `access` and `gate` who
//! may ask at all.

mod access;
mod auth;
mod connections;
mod fingerprint;
mod gate;
mod listener;
mod negotiate;
mod routes;
mod server;
mod settings;

use std::sync::Arc;

use tokio::sync::watch;

use super::Phase;
use crate::diagnose::{HostDiagnosis, HostOutlook};
use crate::observe::Observer;

pub use access::{Access, LOOK_EVERY};
pub use connections::Connections;
pub use listener::Listener;
pub use routes::is_page;
pub use server::{Limits, Server};
pub use settings::{Settings, SettingsError};

/// Computes an answer for each request, which may take some milliseconds.
pub type Source<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What the routes answer from.
pub struct Endpoint {
    /// Read again for each request.
    pub observer: Arc<Observer>,
    /// What the last sample says of the queues, as text.
    pub diagnosis: Source<HostDiagnosis>,
    /// The same in figures.
    pub outlook: Source<HostOutlook>,
    /// Where the daemon's life stands.
    pub phase: watch::Receiver<Phase>,
    /// Path that the metrics are served on.
    pub telemetry_path: String,
    /// Scrapes that may be under way at once; `None` for any number.
    pub max_requests: Option<usize>,
}

/// Default path of the metrics.
pub const TELEMETRY_PATH: &str = "/metrics";

/// The routes of the endpoint.
pub fn router(endpoint: Arc<Endpoint>) -> axum::Router {
    gate::compress(routes::router(endpoint))
}

#[cfg(test)]
mod tests;
