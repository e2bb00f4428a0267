//! The web endpoint.
//!
//! It answers on the daemon's one thread, so no request may wait for anything: each is answered from what can be
//! read at once. Clients may be slow, many or hostile: `server` bounds what they can take.

mod routes;
mod server;

use std::sync::Arc;

use tokio::sync::watch;

use super::Phase;
use crate::diagnose::HostDiagnosis;
use crate::observe::Observer;

pub use server::{Connections, Limits, Server};

/// What the routes answer from.
pub struct Endpoint {
    /// Asked anew for each request.
    pub observer: Arc<Observer>,
    /// What was last said of the queues.
    pub diagnosis: watch::Receiver<Arc<HostDiagnosis>>,
    /// Where the daemon's life stands.
    pub phase: watch::Receiver<Phase>,
}

/// The routes of the endpoint.
pub fn router(endpoint: Arc<Endpoint>) -> axum::Router {
    routes::router(endpoint)
}

#[cfg(test)]
mod tests;
