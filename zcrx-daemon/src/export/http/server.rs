//! Serves the routes, with bounds on what clients can take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::observe::WebSample;

/// What clients can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. One more, and the oldest is closed: a scraper that comes while a hostile client
    /// holds all connections is served, and loses no more than a connection to reuse when it is the oldest.
    pub connections: usize,
    /// Time for the head of a request to arrive whole, and for an idle connection to ask again.
    pub head: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
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
            goodbye: Duration::from_millis(200),
        }
    }
}

/// The connections that are open, and what became of the others.
#[derive(Default)]
pub struct Connections(Mutex<Book>);

#[derive(Default)]
struct Book {
    open: BTreeMap<u64, AbortHandle>,
    accepted: u64,
    evicted: u64,
}

impl Connections {
    /// What the endpoint counts about itself.
    pub fn sample(&self) -> WebSample {
        self.with(|book| WebSample {
            connections: book.open.len() as u64,
            accepted: book.accepted,
            evicted: book.evicted,
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        // The book holds plain numbers: a panic elsewhere cannot have left it half written.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters a connection, which `spawn` starts under its number, and closes the oldest if there are too many.
    fn enter(&self, most: usize, spawn: impl FnOnce(u64) -> AbortHandle) {
        // Spawned under the lock: however short the connection, it is entered before it leaves.
        self.with(|book| {
            let number = book.accepted;
            book.accepted += 1;
            book.open.insert(number, spawn(number));
            if book.open.len() > most
                && let Some((_, oldest)) = book.open.pop_first()
            {
                oldest.abort();
                book.evicted += 1;
            }
        });
    }

    /// Closes all that is still open.
    fn close(&self) {
        for connection in self.with(|book| std::mem::take(&mut book.open)).into_values() {
            connection.abort();
        }
    }

    fn leave(&self, number: u64) {
        self.with(|book| book.open.remove(&number));
    }
}

/// Listening sockets and what is served on them.
pub struct Server {
    /// Bound and listening.
    pub listeners: Vec<TcpListener>,
    /// The routes.
    pub routes: Router,
    /// Shared with whoever reports them.
    pub connections: Arc<Connections>,
    /// What clients can take.
    pub limits: Limits,
}

impl Server {
    /// Serves until `stop` changes or its sender is gone; then ends what is under way.
    pub async fn run(self, stop: watch::Receiver<()>) {
        let Self { listeners, routes, connections, limits } = self;
        let graceful = Arc::new(GracefulShutdown::new());
        let accepting = listeners.into_iter().map(|listener| {
            let doorman = Doorman {
                routes: routes.clone(),
                connections: Arc::clone(&connections),
                graceful: Arc::clone(&graceful),
                limits,
            };
            tokio::spawn(doorman.accept(listener, stop.clone()))
        });
        for task in accepting.collect::<Vec<_>>() {
            // A doorman ends when told to; if it panicked, the others still serve.
            task.await.ok();
        }
        if let Ok(graceful) = Arc::try_unwrap(graceful) {
            // Who has not read its answer by then loses it.
            tokio::time::timeout(limits.goodbye, graceful.shutdown()).await.ok();
        }
        connections.close();
    }
}

struct Doorman {
    routes: Router,
    connections: Arc<Connections>,
    graceful: Arc<GracefulShutdown>,
    limits: Limits,
}

impl Doorman {
    async fn accept(self, listener: TcpListener, mut stop: watch::Receiver<()>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => return,
            };
            match accepted {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    // Out of descriptors, most likely: without the pause this would spin until there are some.
                    tracing::warn!(%error, "cannot accept a web connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        let service = TowerToHyperService::new(self.routes.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_headers(self.limits.headers)
            .max_buf_size(self.limits.head_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        let connections = Arc::clone(&self.connections);
        self.connections.enter(self.limits.connections, |number| {
            let task = tokio::spawn(async move {
                // What a client did wrong is its own affair: it got an answer, or left.
                connection.await.ok();
                connections.leave(number);
            });
            task.abort_handle()
        });
    }
}
