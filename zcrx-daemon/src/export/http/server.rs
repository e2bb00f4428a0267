//! Serves the routes, with bounds on what clients can take.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::connections::{Activity, Connections, Room};
use super::gate;
use super::listener::{Listener, Peeked, Stream};

/// What clients can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. For one more, an idle one is closed; without an idle one, the new one gets 503.
    pub connections: usize,
    /// Connections at once from one network (/24 of IPv4, /64 of IPv6), likewise.
    pub of_one_network: usize,
    /// Time for a TLS handshake, and for the head of the first request to arrive whole.
    pub head: Duration,
    /// Time for an idle connection to ask again: longer than the usual intervals between scrapes.
    pub idle: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time after which a connection gets no further request. Scrapers connect again.
    pub life: Duration,
    /// Time that answers under way get after that: a slower reader loses the rest.
    pub farewell: Duration,
    /// Time that answers under way get when the daemon ends.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            of_one_network: 128,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(130),
            head_bytes: 16 << 10,
            headers: 64,
            life: Duration::from_mins(30),
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
    /// Shared with the code that exports them.
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
        let mut accept_errors = AcceptErrors::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.end.changed() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    accept_errors.over();
                    self.serve(stream, peer);
                }
                // Without the pause this would spin until there are descriptors again.
                Err(error) => tokio::time::sleep(accept_errors.note(&error)).await,
            }
        }
    }

    fn serve(&self, stream: Box<dyn Stream>, peer: Option<IpAddr>) {
        let (routes, access, limits) = (self.routes.clone(), Arc::clone(&self.access), self.limits);
        let end = self.end.clone();
        let connections = Arc::clone(&self.connections);
        let room = Room { connections: limits.connections, of_one_network: limits.of_one_network };
        let mut stream = Some(stream);
        let entered = self.connections.enter(room, peer, |number, activity| {
            let stream = stream.take();
            let task = tokio::spawn(async move {
                if let Some(stream) = stream
                    && let Some(stream) = encrypted(stream, &access, limits).await
                {
                    converse(stream, routes, end, limits, activity).await;
                }
                connections.leave(number);
            });
            task.abort_handle()
        });
        if let (false, Some(stream)) = (entered, stream) {
            let encrypts = self.access.encrypts();
            tokio::spawn(async move {
                // In plain text it would be no answer to a client that expects TLS.
                if !encrypts {
                    refuse(stream, "503 Service Unavailable\r\nRetry-After: 1", "too many connections\n")
                        .await;
                }
            });
        }
    }
}

/// Connections that cannot be accepted, usually because of missing file descriptors: one line in the log each time that it
/// begins and once a minute while it lasts.
#[derive(Default)]
struct AcceptErrors {
    count: u32,
    logged: Option<Instant>,
}

impl AcceptErrors {
    /// Takes one error in; returns the pause before the next attempt.
    fn note(&mut self, error: &std::io::Error) -> Duration {
        self.count = self.count.saturating_add(1);
        if self.logged.is_none_or(|logged| logged.elapsed() > Duration::from_mins(1)) {
            self.logged = Some(Instant::now());
            let failed = self.count;
            tracing::warn!(
                %error, failed,
                "cannot accept web connections, metrics are not served; raise LimitNOFILE= if file descriptors ran out"
            );
        }
        Duration::from_millis(100 * u64::from(self.count.min(10)))
    }

    fn over(&mut self) {
        if self.count > 0 {
            tracing::info!(failed = self.count, "web connections are accepted again");
            *self = Self::default();
        }
    }
}

/// Writes a short answer to a connection that is not served, and closes it.
async fn refuse(mut stream: Box<dyn Stream>, status: &str, body: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answered = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What the client has sent is read: unread data would turn the end into a reset that can overtake the answer.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    tokio::time::timeout(Duration::from_secs(1), answered).await.ok();
}

/// Does the TLS handshake, if there has to be one. `None` if the client failed, was too slow or has no permission.
async fn encrypted(stream: Box<dyn Stream>, access: &Access, limits: Limits) -> Option<Box<dyn Stream>> {
    let Some(tls) = access.current().tls.clone() else { return Some(stream) };
    let stream = match tokio::time::timeout(limits.head, Peeked::new(stream)).await {
        Ok(Ok(peeked)) if peeked.is_plain_http() => {
            access.count_failed_handshake();
            refuse(Box::new(peeked), "400 Bad Request", "this endpoint speaks HTTPS: write https:// in the URL, scheme: https in the scrape configuration\n").await;
            return None;
        }
        Ok(Ok(peeked)) => peeked,
        _ => {
            access.count_failed_handshake();
            return None;
        }
    };
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
async fn converse(
    stream: Box<dyn Stream>,
    routes: Router,
    mut end: watch::Receiver<()>,
    limits: Limits,
    activity: Arc<Activity>,
) {
    let answers = TowerToHyperService::new(routes);
    let noted = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let (request_noted, answer) = (noted.begin(), answers.call(request));
        async move {
            let answer = answer.await;
            drop(request_noted);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let silent = async {
        tokio::time::sleep(limits.head).await;
        if activity.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // What a client did wrong is its own affair: it got an answer, or left.
        _ = &mut connection => return,
        () = silent => return,
        _ = end.changed() => {}
        () = tokio::time::sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(limits.farewell, connection).await.ok();
}
