//! Serves the routes, with bounds on what clients can take.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::connections::Connections;
use super::gate;
use super::listener::{Listener, Stream};

/// What clients can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. One more, and the oldest of the client with the most is closed.
    pub connections: usize,
    /// Time for a TLS handshake, for the head of a request to arrive whole, and for an idle connection to ask again.
    pub head: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time after which a connection gets no further request. Scrapers connect anew.
    pub life: Duration,
    /// Time that answers under way get after that: who reads slower loses the rest.
    pub farewell: Duration,
    /// Time that answers under way get when the daemon ends.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            head_bytes: 16 << 10,
            headers: 64,
            life: Duration::from_mins(5),
            farewell: Duration::from_secs(30),
            goodbye: Duration::from_millis(200),
        }
    }
}

/// Listening sockets and what is served on them.
pub struct Server {
    /// Bound and listening.
    pub listeners: Vec<Listener>,
    /// The routes.
    pub routes: Router,
    /// Who may ask.
    pub access: Arc<Access>,
    /// Shared with whoever reports them.
    pub connections: Arc<Connections>,
    /// What clients can take.
    pub limits: Limits,
}

impl Server {
    /// Serves until `stop` changes or its sender is gone; then ends what is under way.
    pub async fn run(self, mut stop: watch::Receiver<()>) {
        let Self { listeners, routes, access, connections, limits } = self;
        let routes = gate::guard(routes, Arc::clone(&access));
        let (end, ended) = watch::channel(());
        for listener in listeners {
            let doorman = Doorman {
                routes: routes.clone(),
                access: Arc::clone(&access),
                connections: Arc::clone(&connections),
                end: ended.clone(),
                limits,
            };
            tokio::spawn(doorman.accept(listener));
        }
        drop(ended);
        stop.changed().await.ok();
        end.send_replace(());
        // Every doorman and every connection has a receiver. Who has not read its answer by then loses it.
        tokio::time::timeout(limits.goodbye, end.closed()).await.ok();
        connections.close();
    }
}

struct Doorman {
    routes: Router,
    access: Arc<Access>,
    connections: Arc<Connections>,
    end: watch::Receiver<()>,
    limits: Limits,
}

impl Doorman {
    async fn accept(mut self, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.end.changed() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) => {
                    // Out of descriptors, most likely: without the pause this would spin until there are some.
                    tracing::warn!(%error, "cannot accept a web connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn serve(&self, stream: Box<dyn Stream>, peer: Option<IpAddr>) {
        let (routes, access, limits) = (self.routes.clone(), Arc::clone(&self.access), self.limits);
        let end = self.end.clone();
        let connections = Arc::clone(&self.connections);
        self.connections.enter(limits.connections, peer, |number| {
            let task = tokio::spawn(async move {
                if let Some(stream) = encrypted(stream, &access, limits).await {
                    converse(stream, routes, end, limits).await;
                }
                connections.leave(number);
            });
            task.abort_handle()
        });
    }
}

/// Does the TLS handshake, if there has to be one. `None` if the client did not manage it, in time, as somebody who may.
async fn encrypted(stream: Box<dyn Stream>, access: &Access, limits: Limits) -> Option<Box<dyn Stream>> {
    let Some(tls) = access.current().tls.clone() else { return Some(stream) };
    let handshake = TlsAcceptor::from(tls.config).accept(stream);
    let stream = match tokio::time::timeout(limits.head, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            access.count_failed_handshake();
            return None;
        }
        Err(_) => {
            access.count_failed_handshake();
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    if tls.names.is_some_and(|names| !certificate.is_some_and(|certificate| names.allow(certificate))) {
        access.count_failed_handshake();
        return None;
    }
    Some(Box::new(stream))
}

/// Answers requests until the client leaves, its time is over, or the daemon ends.
async fn converse(stream: Box<dyn Stream>, routes: Router, mut end: watch::Receiver<()>, limits: Limits) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    tokio::select! {
        // What a client did wrong is its own affair: it got an answer, or left.
        _ = &mut connection => return,
        _ = end.changed() => {}
        () = tokio::time::sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(limits.farewell, connection).await.ok();
}
