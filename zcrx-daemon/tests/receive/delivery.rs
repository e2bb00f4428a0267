//! Data that TCP acknowledged to the sender reaches its sink, or zcrxd counts it as lost. On the `copy` backend, over 127.0.0.1.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use zcrx_daemon::model::BackendKind;
use zcrx_daemon::receive::pattern;
use zcrx_daemon::receive::{BackendChoice, Destination, QueueConfig, SinkConfig};

use crate::{ANY_PORT, Outcome, address, start, stop, wait_for};

const MIB: usize = 1 << 20;

fn forward(to: &TcpListener) -> Result<QueueConfig, std::io::Error> {
    let to = Destination::Tcp(to.local_addr()?.to_string());
    Ok(QueueConfig {
        backend: BackendChoice::Only(BackendKind::Copy),
        sink: SinkConfig::Forward(to),
        ..QueueConfig::new(vec![ANY_PORT])
    })
}

fn payload(seed: u64, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    pattern::fill(seed, 0, &mut data);
    data
}

/// Bytes that this end sent and that the other end's kernel has acknowledged.
fn acknowledged(stream: &TcpStream, sent: usize) -> usize {
    let mut waiting: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives long enough.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
    assert_eq!(result, 0);
    sent - waiting as usize
}

/// A socket that is closed with unread data resets its connection, and the other end loses what it has not read yet.
#[test]
fn replying_destination_gets_every_byte() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let receiver = start(forward(&destination)?)?;
    let sent = payload(1, 2 * MIB);
    let mut sender = TcpStream::connect(address(&receiver)?)?;
    let data = sent.clone();
    let sender = thread::spawn(move || sender.write_all(&data));
    let (mut slow, _) = destination.accept()?;
    slow.write_all(b"x")?;
    let mut received = Vec::new();
    let mut piece = vec![0; 65536];
    loop {
        thread::sleep(Duration::from_millis(5));
        match slow.read(&mut piece)? {
            0 => break,
            bytes => received.extend_from_slice(&piece[..bytes]),
        }
        if received.len() < MIB {
            slow.write_all(b"a reply")?;
        }
    }
    assert!(received == sent, "{} of {} bytes arrived, or others", received.len(), sent.len());
    drop(slow);
    sender.join().map_err(|_| "the sender panicked")??;
    wait_for(&receiver, "the connection closed", |sample| sample.connections == 0)?;
    let last = stop(&receiver);
    assert_eq!(last.ring.ok_or("no ring statistics")?.lost_bytes, 0);
    Ok(())
}

#[test]
fn half_closing_destination_gets_every_byte() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let receiver = start(forward(&destination)?)?;
    let sent = payload(2, 2 * MIB);
    let mut sender = TcpStream::connect(address(&receiver)?)?;
    let data = sent.clone();
    let sender = thread::spawn(move || sender.write_all(&data));
    let (mut reader, _) = destination.accept()?;
    reader.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    reader.read_to_end(&mut received)?;
    assert!(received == sent, "{} of {} bytes arrived, or others", received.len(), sent.len());
    sender.join().map_err(|_| "the sender panicked")??;
    wait_for(&receiver, "the connection closed", |sample| sample.connections == 0)?;
    assert_eq!(stop(&receiver).ring.ok_or("no ring statistics")?.lost_bytes, 0);
    Ok(())
}

#[test]
fn dead_destination_is_noticed_while_the_source_is_idle() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let receiver = start(forward(&destination)?)?;
    let mut sender = TcpStream::connect(address(&receiver)?)?;
    sender.write_all(b"hello")?;
    let (dead, _) = destination.accept()?;
    wait_for(&receiver, "payload", |sample| sample.bytes == 5)?;
    SockRef::from(&dead).set_linger(Some(Duration::ZERO))?;
    drop(dead);
    // The source sends nothing more, and learns of it all the same.
    sender.set_read_timeout(Some(Duration::from_secs(20)))?;
    let end = sender.read(&mut [0; 1]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET)));
    let sample = wait_for(&receiver, "the connection ended", |sample| sample.connections == 0)?;
    assert!(sample.sink_errors.contains_key(&libc::ECONNRESET), "{:?}", sample.sink_errors);
    stop(&receiver);
    Ok(())
}

/// The kernel drops what the reader of a Unix socket left unread, and then reports that nothing waits.
#[test]
fn payload_that_a_dead_unix_destination_left_unread_counts_as_lost() -> Outcome {
    const SENT: usize = 100 << 10;
    const READ: usize = 1000;
    let path = std::env::temp_dir().join(format!("zcrxd-dead-destination-{}", std::process::id()));
    let destination = UnixListener::bind(&path)?;
    let receiver = start(QueueConfig {
        backend: BackendChoice::Only(BackendKind::Copy),
        sink: SinkConfig::Forward(Destination::Unix(path.clone())),
        ..QueueConfig::new(vec![ANY_PORT])
    })?;
    let mut sender = TcpStream::connect(address(&receiver)?)?;
    sender.write_all(&payload(9, SENT))?;
    let (mut dead, _) = destination.accept()?;
    dead.read_exact(&mut [0; READ])?;
    wait_for(&receiver, "payload", |sample| sample.bytes == SENT as u64)?;
    drop(dead);
    wait_for(&receiver, "the connection ended", |sample| sample.connections == 0)?;
    std::fs::remove_file(&path)?;
    let lost = stop(&receiver).ring.ok_or("no ring statistics")?.lost_bytes;
    assert!((SENT - READ..=SENT).contains(&(lost as usize)), "{lost} bytes are counted of {SENT} - {READ}");
    Ok(())
}

#[test]
fn reset_of_the_sender_loses_nothing_that_was_acknowledged() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let receiver = start(forward(&destination)?)?;
    let sent = payload(3, MIB);
    let mut sender = TcpStream::connect(address(&receiver)?)?;
    sender.write_all(&sent)?;
    wait_for(&receiver, "all payload", |sample| sample.bytes == sent.len() as u64)?;
    SockRef::from(&sender).set_linger(Some(Duration::ZERO))?;
    drop(sender);
    let (mut late, _) = destination.accept()?;
    let mut received = Vec::new();
    late.read_to_end(&mut received)?;
    assert!(received == sent, "{} of {} bytes arrived, or others", received.len(), sent.len());
    stop(&receiver);
    Ok(())
}

/// Stops in the middle of traffic: what was acknowledged to the senders is what destinations read, plus what is counted.
fn stop_in_the_middle(
    pause: Duration,
    drain_timeout: Duration,
) -> Result<(usize, usize, u64), Box<dyn std::error::Error>> {
    let destination = TcpListener::bind(ANY_PORT)?;
    let receiver = start(QueueConfig { drain_timeout, ..forward(&destination)? })?;
    let address = address(&receiver)?;
    let senders: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || -> std::io::Result<usize> {
                let mut stream = TcpStream::connect(address)?;
                let mut sent = 0;
                while let Ok(bytes) = stream.write(&[7; 16384]) {
                    sent += bytes;
                }
                Ok(acknowledged(&stream, sent))
            })
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|_| -> std::io::Result<_> {
            let (mut stream, _) = destination.accept()?;
            Ok(thread::spawn(move || {
                let (mut read, mut piece) = (0, vec![0; 65536]);
                loop {
                    match stream.read(&mut piece) {
                        Ok(0) | Err(_) => break read,
                        Ok(bytes) => read += bytes,
                    }
                    thread::sleep(pause);
                }
            }))
        })
        .collect::<Result<_, _>>()?;
    wait_for(&receiver, "traffic", |sample| sample.bytes > 4 * MIB as u64)?;
    let last = stop(&receiver);
    let mut acknowledged = 0;
    for sender in senders {
        acknowledged += sender.join().map_err(|_| "a sender panicked")??;
    }
    let mut read = 0;
    for reader in readers {
        read += reader.join().map_err(|_| "a reader panicked")?;
    }
    Ok((acknowledged, read, last.ring.ok_or("no ring statistics")?.lost_bytes))
}

#[test]
fn stopping_delivers_what_was_acknowledged() -> Outcome {
    let (acknowledged, read, lost) = stop_in_the_middle(Duration::from_micros(100), Duration::from_secs(20))?;
    assert_eq!((read, lost), (acknowledged, 0));
    Ok(())
}

#[test]
fn stopping_counts_what_slow_sinks_do_not_confirm_in_time() -> Outcome {
    let begin = Instant::now();
    let (acknowledged, read, lost) =
        stop_in_the_middle(Duration::from_millis(300), Duration::from_millis(200))?;
    assert!(lost > 0 && read < acknowledged + 1, "{read} of {acknowledged}, lost {lost}");
    // What the destination's kernel takes after the end was not confirmed, and may arrive all the same.
    assert!(read as u64 + lost >= acknowledged as u64, "{read} + {lost} < {acknowledged}");
    assert!(begin.elapsed() < Duration::from_mins(2));
    Ok(())
}

/// No program listens on the first address of the name.
#[test]
fn each_address_of_a_destination_is_tried() -> Outcome {
    let Ok(v6) = Socket::new(Domain::IPV6, Type::STREAM, None) else { return Ok(()) };
    let address_v6: std::net::SocketAddr = "[::1]:0".parse()?;
    if v6.bind(&address_v6.into()).is_err() {
        return Ok(());
    }
    let port = v6.local_addr()?.as_socket().ok_or("no port")?.port();
    let destination = TcpListener::bind(("127.0.0.1", port))?;
    // Bound and not listening: connecting to it is refused.
    let config = QueueConfig {
        backend: BackendChoice::Only(BackendKind::Copy),
        sink: SinkConfig::Forward(Destination::Tcp(format!("localhost:{port}"))),
        ..QueueConfig::new(vec![ANY_PORT])
    };
    let receiver = start(config)?;
    let mut sender = TcpStream::connect(address(&receiver)?)?;
    sender.write_all(b"all")?;
    sender.shutdown(Shutdown::Write)?;
    let (mut stream, _) = destination.accept()?;
    let mut received = String::new();
    stream.read_to_string(&mut received)?;
    assert_eq!(received, "all");
    drop(stream);
    stop(&receiver);
    Ok(())
}
