use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Connections, Endpoint, Limits, Server, TELEMETRY_PATH, router};
use crate::diagnose::{outlook, troubled};
use crate::export::Phase;
use crate::model::{ProbeSample, QueueState, ReceiveSample};
use crate::observe::fixture::queue;
use crate::observe::{Memory, Observer};

type Outcome = Result<(), Box<dyn Error>>;

/// An endpoint on a port of its own.
struct Fixture {
    address: SocketAddr,
    connections: Arc<Connections>,
    phase: watch::Sender<Phase>,
    stop: watch::Sender<()>,
    server: JoinHandle<()>,
}

impl Fixture {
    async fn start(queues: Vec<ReceiveSample>, limits: Limits) -> Result<Self, Box<dyn Error>> {
        Self::start_with(move || queues.clone(), limits, None).await
    }

    async fn start_with(
        receive: impl Fn() -> Vec<ReceiveSample> + Send + Sync + 'static,
        limits: Limits,
        max_requests: Option<usize>,
    ) -> Result<Self, Box<dyn Error>> {
        let (phase, phase_seen) = watch::channel(Phase::Running);
        let (stop, stopped) = watch::channel(());
        let observer = Observer {
            kernel: "6.18.0".to_owned(),
            receive: Box::new(receive),
            probe: Box::new(|_| ProbeSample::default()),
            web: Box::new(Default::default),
            service: Box::new(Default::default),
            memory: Memory::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Connections::default());
        let server = Server {
            listeners: vec![listener.into()],
            access: Arc::default(),
            routes: router(Arc::new(Endpoint {
                observer: Arc::new(observer),
                diagnosis: Box::new(troubled),
                outlook: Box::new(outlook),
                phase: phase_seen,
                telemetry_path: TELEMETRY_PATH.to_owned(),
                max_requests,
            })),
            connections: Arc::clone(&connections),
            limits,
        };
        Ok(Self { address, connections, phase, stop, server: tokio::spawn(server.run(stopped)) })
    }

    async fn get(&self, path: &str) -> Result<String, Box<dyn Error>> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: zcrxd\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// Whether the other side has closed, which is waited for.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is an end too.
    stream.read_to_end(&mut rest).await.map_or(true, |_| true)
}

#[tokio::test]
async fn readiness_follows_the_phase() -> Outcome {
    let endpoint = Fixture::start(vec![queue()], Limits::default()).await?;
    assert!(endpoint.get("/readyz").await?.starts_with("HTTP/1.1 200 "), "a degraded queue receives");
    for (phase, word) in [(Phase::Starting, "starting"), (Phase::Stopping, "stopping")] {
        endpoint.phase.send_replace(phase);
        let answer = endpoint.get("/readyz").await?;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(word), "{answer}");
        assert!(endpoint.get("/healthz").await?.starts_with("HTTP/1.1 200 "), "{phase:?} is alive");
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_queue_is_a_reason_everywhere() -> Outcome {
    let failed = ReceiveSample {
        state: QueueState::Failed,
        state_reason: "the interface is gone".to_owned(),
        ..queue()
    };
    let endpoint = Fixture::start(vec![failed], Limits::default()).await?;
    let answer = endpoint.get("/readyz").await?;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("queue eth0:3 failed: the interface is gone"), "{answer}");
    assert!(endpoint.get("/").await?.contains("queue eth0:3 failed: the interface is gone"));
    let metrics = endpoint.get("/metrics").await?;
    assert!(
        metrics.contains("zcrxd_receiver_state{interface=\"eth0\",queue=\"3\",state=\"failed\"} 1"),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test]
async fn one_connection_too_many_closes_the_oldest() -> Outcome {
    let limits = Limits { connections: 2, ..Limits::default() };
    let endpoint = Fixture::start(Vec::new(), limits).await?;
    let mut oldest = TcpStream::connect(endpoint.address).await?;
    let mut second = TcpStream::connect(endpoint.address).await?;
    let mut third = TcpStream::connect(endpoint.address).await?;
    assert!(closed(&mut oldest).await);
    let sample = endpoint.connections.sample();
    assert_eq!((sample.connections, sample.accepted, sample.evicted), (2, 3, 1));
    for stream in [&mut second, &mut third] {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: zcrxd\r\n\r\n").await?;
        let mut status = [0; 15];
        stream.read_exact(&mut status).await?;
        assert_eq!(&status, b"HTTP/1.1 200 OK");
    }
    Ok(())
}

#[tokio::test]
async fn who_does_not_finish_a_request_is_closed() -> Outcome {
    let brief = Duration::from_millis(20);
    let limits = Limits { head: brief, idle: brief, ..Limits::default() };
    let endpoint = Fixture::start(Vec::new(), limits).await?;
    for begin in [&b""[..], b"GET / HT"] {
        let mut slow = TcpStream::connect(endpoint.address).await?;
        slow.write_all(begin).await?;
        assert!(closed(&mut slow).await);
    }
    let mut idle = TcpStream::connect(endpoint.address).await?;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: zcrxd\r\n\r\n").await?;
    assert!(closed(&mut idle).await, "answered, and idle since");
    Ok(())
}

#[tokio::test]
async fn the_end_does_not_wait_for_those_who_hold_connections() -> Outcome {
    let endpoint = Fixture::start(Vec::new(), Limits::default()).await?;
    let mut idle = TcpStream::connect(endpoint.address).await?;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: zcrxd\r\n\r\n").await?;
    let mut begun = TcpStream::connect(endpoint.address).await?;
    begun.write_all(b"GET / HT").await?;
    assert!(endpoint.get("/healthz").await?.contains("alive"));
    drop(endpoint.stop);
    endpoint.server.await?;
    assert!(closed(&mut idle).await);
    assert!(closed(&mut begun).await);
    assert_eq!(endpoint.connections.sample().connections, 0);
    Ok(())
}

#[tokio::test]
async fn runbook_is_served_by_every_host() -> Outcome {
    let endpoint = Fixture::start(Vec::new(), Limits::default()).await?;
    assert!(endpoint.get("/runbook").await?.contains("ZcrxQueueStarving"));
    for path in ["/runbook/ZcrxQueueStarving", "/runbook/ZcrxQueueStarving.md", "/runbook/slow_consumer"] {
        let answer = endpoint.get(path).await?;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("## What"), "{path}: {answer}");
    }
    for path in ["/runbook/no-such-alert", "/runbook/..%2fmetrics"] {
        assert!(endpoint.get(path).await?.starts_with("HTTP/1.1 404 "), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn crowded_endpoint_answers_503() -> Outcome {
    let limits = Limits { connections: 0, ..Limits::default() };
    let endpoint = Fixture::start(Vec::new(), limits).await?;
    let answer = endpoint.get("/healthz").await?;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too many connections"), "{answer}");
    Ok(())
}

/// As many scrapes at once as one network may have connections: all are answered, one after the other.
#[tokio::test]
async fn hundred_scrapes_at_once_are_answered() -> Outcome {
    let endpoint = Arc::new(Fixture::start(vec![queue()], Limits::default()).await?);
    let scrapes: Vec<_> = (0..100)
        .map(|_| {
            let endpoint = Arc::clone(&endpoint);
            tokio::spawn(async move { endpoint.get("/metrics").await.map_err(|error| error.to_string()) })
        })
        .collect();
    for scrape in scrapes {
        let answer = scrape.await??;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    Ok(())
}

/// The source of samples is held until the second scrape has its answer.
#[tokio::test]
async fn scrape_above_the_limit_gets_503_at_once() -> Outcome {
    let (begun, mut scraping) = tokio::sync::mpsc::unbounded_channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let finished = std::sync::Mutex::new(finished);
    let receive = move || {
        begun.send(()).ok();
        finished.lock().map(|finished| finished.recv().ok()).ok();
        Vec::new()
    };
    let endpoint = Arc::new(Fixture::start_with(receive, Limits::default(), Some(1)).await?);
    let first = {
        let endpoint = Arc::clone(&endpoint);
        tokio::spawn(async move { endpoint.get("/metrics").await.map_err(|error| error.to_string()) })
    };
    scraping.recv().await.ok_or("no scrape begins")?;
    let second = endpoint.get("/metrics").await?;
    assert!(second.starts_with("HTTP/1.1 503 ") && second.contains("max_requests under [web]"), "{second}");
    drop(finish);
    assert!(first.await??.starts_with("HTTP/1.1 200 "));
    assert!(endpoint.get("/metrics").await?.starts_with("HTTP/1.1 200 "), "the first has left");
    Ok(())
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_a_word() -> Outcome {
    let (client, server) = tokio::io::duplex(1024);
    let mut client = client;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    let peeked = super::listener::Peeked::new(Box::new(server)).await?;
    assert!(peeked.is_plain_http());
    let (mut client, server) = tokio::io::duplex(1024);
    client.write_all(&[0x16, 3, 1]).await?;
    let mut peeked = super::listener::Peeked::new(Box::new(server)).await?;
    assert!(!peeked.is_plain_http());
    let mut begin = [0; 3];
    peeked.read_exact(&mut begin).await?;
    assert_eq!(begin, [0x16, 3, 1], "the first byte is read again");
    Ok(())
}
