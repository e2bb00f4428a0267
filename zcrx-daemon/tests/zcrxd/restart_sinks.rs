//! Payload on its way to a destination or a file outlives a restart of the service.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use zcrx_daemon::receive::pattern;

use crate::harness::{Daemon, Outcome, TestDirectory, WAIT_LIMIT};
use crate::manager::ServiceManager;
use crate::restart::{connect, port, stop};

/// Bytes that a client writes before, between and after two restarts: more than sockets take.
const PART: usize = 12 << 20;
const RESTARTS: usize = 2;

fn queue(port: u16, sink: &str) -> String {
    format!("[[queue]]\nlisten = [\"127.0.0.1:{port}\"]\nbackend = \"copy\"\nsink = \"{sink}\"\n")
}

/// The next connection to a destination, and all that it receives.
fn received(listener: &TcpListener) -> Outcome<(TcpStream, Vec<u8>)> {
    let (mut destination, _) = listener.accept()?;
    destination.set_read_timeout(Some(WAIT_LIMIT))?;
    let mut arrived = Vec::new();
    destination.read_to_end(&mut arrived)?;
    Ok((destination, arrived))
}

/// Writes part by part, with a restart after each but the last, and ends the stream. Returns what was written.
fn write_across_restarts(
    manager: &mut ServiceManager,
    daemon: Daemon,
    mut client: &TcpStream,
    seed: u64,
) -> Outcome<(Vec<u8>, Daemon)> {
    let mut whole = vec![0; (RESTARTS + 1) * PART];
    pattern::fill(seed, 0, &mut whole);
    let mut daemon = daemon;
    for (number, part) in whole.chunks(PART).enumerate() {
        client.write_all(part)?;
        if number == RESTARTS {
            break;
        }
        daemon.wait_metric("zcrxd_receiver_received_bytes_total{", |bytes| bytes > 0.0)?;
        let said = manager.end(daemon, "restart")?;
        assert!(said.contains("1 connections go on in the next zcrxd"), "{said}");
        daemon = manager.start()?;
    }
    client.shutdown(Shutdown::Write)?;
    Ok((whole, daemon))
}

/// Waits until zcrxd closes the connection, which it does when the sink has everything.
fn wait_for_end(mut client: TcpStream) -> Outcome {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest)?;
    assert_eq!(rest, Vec::<u8>::new());
    Ok(())
}

/// The destination reads nothing before the last restart: payload waits in zcrxd.
#[test]
fn payload_for_a_slow_destination_goes_on() -> Outcome {
    let port = port()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut manager = ServiceManager::new("restart-forward", &[])?;
    manager.configure(&queue(port, &format!("forward:{}", listener.local_addr()?)))?;
    let daemon = manager.start()?;
    let client = connect(port)?;
    let (written, daemon) = write_across_restarts(&mut manager, daemon, &client, 1)?;
    let memory = daemon.metric("zcrxd_receiver_copy_out_memory_bytes{")?;
    assert!(memory.is_some_and(|bytes| bytes >= PART as f64), "{memory:?} bytes wait in zcrxd");
    let (destination, arrived) = received(&listener)?;
    drop(destination);
    assert_eq!(arrived.len(), written.len());
    assert!(arrived == written, "other bytes arrived");
    wait_for_end(client)?;
    listener.set_nonblocking(true)?;
    assert!(listener.accept().is_err(), "zcrxd connected to the destination once more");
    stop(daemon)
}

/// The stream ends, and the destination has everything but keeps its end open while zcrxd restarts.
#[test]
fn half_closed_destination_is_waited_for_after_a_restart() -> Outcome {
    let port = port()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut manager = ServiceManager::new("restart-half-closed", &[])?;
    manager.configure(&queue(port, &format!("forward:{}", listener.local_addr()?)))?;
    let daemon = manager.start()?;
    let mut client = connect(port)?;
    client.write_all(b"all there is")?;
    client.shutdown(Shutdown::Write)?;
    let (destination, arrived) = received(&listener)?;
    assert_eq!(arrived, b"all there is");
    let said = manager.end(daemon, "restart")?;
    assert!(said.contains("1 connections go on in the next zcrxd"), "{said}");
    let next = manager.start()?;
    client.set_read_timeout(Some(Duration::from_millis(300)))?;
    assert!(client.read(&mut [0]).is_err(), "the connection ended before its destination's");
    client.set_read_timeout(Some(WAIT_LIMIT))?;
    drop(destination);
    wait_for_end(client)?;
    stop(next)
}

#[test]
fn file_goes_on_where_it_was() -> Outcome {
    let port = port()?;
    let place = TestDirectory::new("restart-file-sink")?;
    let mut manager = ServiceManager::new("restart-file", &[])?;
    manager.configure(&queue(port, &format!("file:{}", place.path().display())))?;
    let daemon = manager.start()?;
    let client = connect(port)?;
    let (written, daemon) = write_across_restarts(&mut manager, daemon, &client, 2)?;
    wait_for_end(client)?;
    let files = std::fs::read_dir(place.path())?.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(std::fs::read(files[0].path())? == written, "the file has other bytes");
    stop(daemon)
}

/// A connection that no loop has taken yet is forwarded by the next zcrxd.
#[test]
fn connection_of_the_last_moment_is_forwarded() -> Outcome {
    let port = port()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut manager = ServiceManager::new("restart-last-moment", &[])?;
    manager.configure(&queue(port, &format!("forward:{}", listener.local_addr()?)))?;
    let daemon = manager.start()?;
    let clients = thread::scope(|scope| -> Outcome<Vec<TcpStream>> {
        let clients = scope.spawn(|| {
            (0..64).map(|_| connect(port).map_err(|error| error.to_string())).collect::<Result<Vec<_>, _>>()
        });
        manager.end(daemon, "restart")?;
        Ok(clients.join().map_err(|_| "a client panicked")??)
    })?;
    let next = manager.start()?;
    for mut client in &clients {
        client.write_all(b"late")?;
        client.shutdown(Shutdown::Write)?;
    }
    for _ in &clients {
        let (_, arrived) = received(&listener)?;
        assert_eq!(arrived, b"late");
    }
    clients.into_iter().try_for_each(wait_for_end)?;
    stop(next)
}

/// The configuration has another sink after the restart: what waited for the earlier one is lost, and said to be.
#[test]
fn payload_without_its_sink_is_lost_aloud() -> Outcome {
    let port = port()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut manager = ServiceManager::new("restart-sink-gone", &[])?;
    manager.configure(&queue(port, &format!("forward:{}", listener.local_addr()?)))?;
    let daemon = manager.start()?;
    let mut client = connect(port)?;
    client.write_all(&vec![0; 2 * PART])?;
    daemon.wait_metric("zcrxd_receiver_copy_out_memory_bytes{", |bytes| bytes >= PART as f64)?;
    manager.end(daemon, "restart")?;
    manager.configure(&queue(port, "discard"))?;
    let next = manager.start()?;
    assert!(next.has_said("bytes that waited for its sink are lost"));
    stop(next)
}
