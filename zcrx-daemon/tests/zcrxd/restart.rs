//! What outlives a restart of the service.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Daemon, Outcome, WAIT_LIMIT};
use crate::manager::ServiceManager;

/// A stream of the test pattern without payload, and the verdict on it.
const EMPTY_STREAM: &[u8] = b"zcrxpat1\0\0\0\0\0\0\0\0";
const ITS_VERDICT: &str = "ok 0\n";

/// A port that was free a moment ago.
fn port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn queue(port: u16) -> String {
    format!("[[queue]]\nlisten = [\"127.0.0.1:{port}\"]\nbackend = \"copy\"\nsink = \"verify\"\n")
}

fn connect(port: u16) -> Outcome<TcpStream> {
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

fn stop(daemon: Daemon) -> Outcome {
    let (status, said) = daemon.end(Signal::SIGINT)?;
    assert_eq!(status.code(), Some(0), "{said}");
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
