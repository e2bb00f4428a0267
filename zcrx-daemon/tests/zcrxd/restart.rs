//! What outlives a restart of the service.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use zcrx_daemon::receive::pattern;

use crate::harness::{Daemon, Outcome, WAIT_LIMIT, zcrxd};
use crate::manager::ServiceManager;

/// A stream of the test pattern without payload, and the verdict on it.
const EMPTY_STREAM: &[u8] = b"zcrxpat1\0\0\0\0\0\0\0\0";
const ITS_VERDICT: &str = "ok 0\n";

/// A port that was free a moment ago.
pub(crate) fn port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn queue(port: u16) -> String {
    format!("[[queue]]\nlisten = [\"127.0.0.1:{port}\"]\nbackend = \"copy\"\nsink = \"verify\"\n")
}

pub(crate) fn connect(port: u16) -> Outcome<TcpStream> {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), WAIT_LIMIT)?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    Ok(stream)
}

/// Sends a stream and its end.
fn send(mut stream: &TcpStream) -> Outcome {
    stream.write_all(EMPTY_STREAM)?;
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn verdict(mut stream: TcpStream) -> Outcome<String> {
    let mut verdict = String::new();
    stream.read_to_string(&mut verdict)?;
    Ok(verdict)
}

pub(crate) fn stop(daemon: Daemon) -> Outcome {
    let (status, said) = daemon.end(Signal::SIGINT)?;
    assert_eq!(status.code(), Some(0), "{said}");
    Ok(())
}

/// Connections of the tests under traffic.
const CONNECTIONS: u32 = 200;

/// A connection whose stream is written in parts.
struct Client {
    stream: TcpStream,
    seed: u64,
    /// Header and payload.
    written: usize,
}

impl Client {
    /// Length of each part. The first one ends within the header, and the others within words of the pattern.
    const FIRST_PART: usize = 13;
    const PART: usize = 20_011;

    fn new(port: u16, seed: u64) -> Outcome<Self> {
        Ok(Self { stream: connect(port)?, seed, written: 0 })
    }

    fn write_part(&mut self) -> Outcome {
        let end = if self.written == 0 { Self::FIRST_PART } else { self.written + Self::PART };
        let mut whole = pattern::header(self.seed).to_vec();
        whole.resize(end.max(pattern::HEADER_BYTES), 0);
        pattern::fill(self.seed, 0, &mut whole[pattern::HEADER_BYTES..]);
        self.stream.write_all(&whole[self.written..end])?;
        self.written = end;
        Ok(())
    }

    fn finish(self) -> Outcome {
        let payload = self.written - pattern::HEADER_BYTES;
        // Fails if the stream has ended already, and its verdict has arrived.
        self.stream.shutdown(Shutdown::Write).ok();
        assert_eq!(verdict(self.stream)?, format!("ok {payload}\n"));
        Ok(())
    }
}

/// Each connection writes before, between and after two restarts. A seventh of them ends while no zcrxd runs.
#[test]
fn verified_connections_go_on_after_a_restart() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-go-on", &[])?;
    manager.configure(&queue(port))?;
    let mut daemon = manager.start()?;
    let mut clients =
        (0..CONNECTIONS).map(|seed| Client::new(port, u64::from(seed))).collect::<Outcome<Vec<_>>>()?;
    clients.iter_mut().try_for_each(Client::write_part)?;
    daemon.wait_metric("zcrxd_receiver_connections{", |open| open >= f64::from(CONNECTIONS))?;
    for restart in 0..2 {
        let left = clients.len();
        clients.iter_mut().try_for_each(Client::write_part)?;
        let said = manager.end(daemon, "restart")?;
        assert!(said.contains(&format!("{left} connections go on in the next zcrxd")), "{said}");
        clients.iter_mut().try_for_each(Client::write_part)?;
        let (ending, rest): (Vec<_>, Vec<_>) =
            clients.into_iter().partition(|client| client.seed % 7 == restart);
        for client in &ending {
            client.stream.shutdown(Shutdown::Write)?;
        }
        daemon = manager.start()?;
        assert!(daemon.has_said(&format!("{left} connections of the zcrxd before wait in systemd's store")));
        assert!(!manager.names().contains(&"zcrxd-connections"), "the store has given them away");
        ending.into_iter().try_for_each(Client::finish)?;
        clients = rest;
        clients.iter_mut().try_for_each(Client::write_part)?;
    }
    clients.into_iter().try_for_each(Client::finish)?;
    daemon.wait_metric("zcrxd_receiver_connections{", |open| open == 0.0)?;
    let said = manager.end(daemon, "stop")?;
    assert!(!said.contains("bytes lost"), "{said}");
    Ok(())
}

#[test]
fn sender_notices_no_restart() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-sender", &[])?;
    manager.configure(&queue(port))?;
    let mut daemon = manager.start()?;
    let (to, connections) = (format!("127.0.0.1:{port}"), CONNECTIONS.to_string());
    let sender = zcrxd(&["send", "--to", &to, "--bytes", "2MiB", "--connections", &connections])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    for _ in 0..2 {
        daemon.wait_metric("zcrxd_receiver_received_bytes_total{", |bytes| bytes > 1e6)?;
        let said = manager.end(daemon, "restart")?;
        assert!(said.contains("connections go on in the next zcrxd"), "{said}");
        daemon = manager.start()?;
    }
    let output = sender.wait_with_output()?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    assert!(output.status.success() && said.contains(&format!("{CONNECTIONS} verified")), "{said}");
    stop(daemon)
}

/// The configuration has another sink after the restart.
#[test]
fn connections_without_their_queue_end() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-other-sink", &[])?;
    manager.configure(&queue(port))?;
    let daemon = manager.start()?;
    let mut client = Client::new(port, 1)?;
    client.write_part()?;
    daemon.wait_metric("zcrxd_receiver_connections{", |open| open >= 1.0)?;
    manager.end(daemon, "restart")?;
    client.write_part()?;
    manager.configure(&queue(port).replace("verify", "discard"))?;
    let next = manager.start()?;
    let lost = format!("TCP acknowledged {} bytes that zcrxd did not receive", Client::PART);
    assert!(next.has_said("1 connections of the zcrxd before end: no queue has"));
    assert!(next.has_said(&lost));
    let mut rest = Vec::new();
    assert!(client.stream.read_to_end(&mut rest).is_err() || rest.is_empty());
    stop(next)
}

/// zcrxd would not start again with this configuration, so no process would continue the connections.
#[test]
fn invalid_configuration_makes_a_restart_a_stop() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-invalid", &[])?;
    manager.configure(&queue(port))?;
    let daemon = manager.start()?;
    let client = connect(port)?;
    send(&client)?;
    manager.configure("[[queue]]\nlisten = 3\n")?;
    let said = manager.end(daemon, "restart")?;
    assert!(said.contains("ending connections as for a stop"), "{said}");
    assert_eq!(verdict(client)?, ITS_VERDICT);
    Ok(())
}

#[test]
fn connections_wait_while_the_service_restarts() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-waits", &[])?;
    manager.configure(&queue(port))?;
    for _ in 0..2 {
        let daemon = manager.start()?;
        assert_eq!(manager.names(), [format!("zcrxd-listen-127.0.0.1-{port}")]);
        let said = manager.end(daemon, "restart")?;
        assert!(said.contains("new connections wait for the next zcrxd"), "{said}");
        let client = connect(port)?;
        send(&client)?;
        let next = manager.start()?;
        assert_eq!(verdict(client)?, ITS_VERDICT);
        stop(next)?;
    }
    Ok(())
}

#[test]
fn connections_wait_while_a_killed_service_starts_again() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-killed", &[])?;
    manager.configure(&queue(port))?;
    manager.start()?.end(Signal::SIGKILL)?;
    let client = connect(port)?;
    send(&client)?;
    let next = manager.start()?;
    assert_eq!(verdict(client)?, ITS_VERDICT);
    stop(next)
}

/// A stop refuses new connections, and ends those that it has. The next start listens again, also on the same socket.
#[test]
fn stop_is_no_restart() -> Outcome {
    let port = port()?;
    let mut manager = ServiceManager::new("restart-stop", &[])?;
    manager.configure(&queue(port))?;
    let daemon = manager.start()?;
    let said = manager.end(daemon, "stop")?;
    assert!(!said.contains("new connections wait"), "{said}");
    let address = ([127, 0, 0, 1], port).into();
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err());
    let next = manager.start()?;
    let client = connect(port)?;
    send(&client)?;
    assert_eq!(verdict(client)?, ITS_VERDICT);
    stop(next)
}

#[test]
fn socket_of_a_removed_queue_is_closed() -> Outcome {
    let (one, two, three) = (port()?, port()?, port()?);
    let mut manager = ServiceManager::new("restart-removed", &[])?;
    let all: String = [one, two, three].map(queue).concat();
    manager.configure(&all)?;
    let mut daemon = manager.start()?;
    assert_eq!(manager.names().len(), 3);
    // Removed by a reload.
    manager.configure(&[one, two].map(queue).concat())?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for("2 queues unchanged, 0 started, 1 stopped")?;
    manager.wait_for("FDSTOREREMOVE=1")?;
    assert!(TcpStream::connect(("127.0.0.1", three)).is_err());
    // Removed before a restart.
    manager.configure(&queue(one))?;
    manager.end(daemon, "restart")?;
    let next = manager.start()?;
    assert_eq!(manager.names(), [format!("zcrxd-listen-127.0.0.1-{one}")]);
    assert!(TcpStream::connect(("127.0.0.1", two)).is_err());
    stop(next)
}
