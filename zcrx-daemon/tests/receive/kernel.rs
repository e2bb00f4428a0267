//! The kernel's zcrx: `nodev` needs Linux 7.1 and root, `device` a NIC as well. In the lab these run with
//! `--ignored --test-threads 1` and the environment:
//!
//! - `ZCRX_TEST_INTERFACE`, `ZCRX_TEST_QUEUE`: the hardware queue, with all of the traffic steered to it;
//! - `ZCRX_TEST_LISTEN`: an address on that interface, as 192.0.2.1:0;
//! - `ZCRX_TEST_SENDER_NETNS`: a file of the network namespace at the other end of the wire.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use zcrx_daemon::model::{BackendKind, QueueState};
use zcrx_daemon::receive::pattern::{self, Verdict};
use zcrx_daemon::receive::{BackendChoice, Destination, QueueConfig, SinkConfig};

use crate::{ANY_PORT, Outcome, address, sample, start, stop, wait_for};

/// A queue of the kernel's, and where its traffic comes from.
fn config(kind: BackendKind, sink: SinkConfig) -> Result<QueueConfig, Box<dyn std::error::Error>> {
    let config = QueueConfig { backend: BackendChoice::Only(kind), sink, ..QueueConfig::new(vec![ANY_PORT]) };
    if kind != BackendKind::Device {
        return Ok(config);
    }
    Ok(QueueConfig {
        interface: Some(env::var("ZCRX_TEST_INTERFACE")?),
        queue: env::var("ZCRX_TEST_QUEUE")?.parse()?,
        listen: vec![env::var("ZCRX_TEST_LISTEN")?.parse()?],
        ..config
    })
}

/// Runs `send` where traffic for `kind` comes from.
fn as_sender<T: Send>(kind: BackendKind, send: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            if kind == BackendKind::Device {
                enter_sender_netns();
            }
            send()
        });
        sender.join().expect("the sender does not panic")
    })
}

fn enter_sender_netns() {
    let path = env::var("ZCRX_TEST_SENDER_NETNS").expect("ZCRX_TEST_SENDER_NETNS names a namespace");
    let netns = File::open(path).expect("the namespace exists");
    // SAFETY: the descriptor is open; only the calling thread, which ends soon, changes its namespace.
    let entered = unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&netns), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
}

fn verifies(kind: BackendKind) -> Outcome {
    let receiver = start(config(kind, SinkConfig::Verify)?)?;
    let address = address(&receiver)?;
    assert_eq!(sample(&receiver).selection.backend, Some(kind));
    assert_eq!(sample(&receiver).state, QueueState::Running);
    let bytes = 32 << 20;
    assert_eq!(as_sender(kind, || pattern::send(address, bytes, 42))?, Verdict::Ok { payload: bytes });
    assert_eq!(as_sender(kind, || pattern::send(address, 1, 43))?, Verdict::Ok { payload: 1 });
    let idle = wait_for(&receiver, "connections closed", |sample| sample.connections == 0)?;
    println!("{kind}: {idle:#?}");
    assert_eq!((idle.verified_bytes, idle.mismatched_bytes), (bytes + 1, 0));
    assert_eq!(idle.held(), idle.stashed);
    stop(receiver);
    Ok(())
}

/// A small area, a small refill ring and a small completion queue: all that can run out does.
fn survives_want(kind: BackendKind) -> Outcome {
    let small = QueueConfig {
        area_bytes: 1 << 20,
        refill_entries: 64,
        cq_entries: 256,
        ..config(kind, SinkConfig::Verify)?
    };
    let receiver = start(small)?;
    let address = address(&receiver)?;
    as_sender(kind, || {
        // Senders inherit this thread's network namespace.
        let senders: Vec<_> =
            (0..20_u64).map(|seed| thread::spawn(move || pattern::send(address, 1_000_000, seed))).collect();
        for sender in senders {
            let verdict = sender.join().expect("a sender does not panic").expect("a verdict");
            assert_eq!(verdict, Verdict::Ok { payload: 1_000_000 });
        }
    });
    let idle = wait_for(&receiver, "connections closed", |sample| sample.connections == 0)?;
    println!("{kind}: {idle:#?}");
    stop(receiver);
    Ok(())
}

fn recovers_from_a_slow_destination(kind: BackendKind) -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let to = Destination::Tcp(destination.local_addr()?.to_string());
    let small = QueueConfig {
        area_bytes: 2 << 20,
        hold_limit_bytes: Some(2 << 20),
        ..config(kind, SinkConfig::Forward(to))?
    };
    let receiver = start(small)?;
    let address = address(&receiver)?;
    let bytes = 32_usize << 20;
    let mut sent = vec![0; bytes];
    pattern::fill(3, 0, &mut sent);
    let received = thread::scope(|scope| -> Result<_, Box<dyn std::error::Error>> {
        let data = &sent;
        scope.spawn(move || {
            as_sender(kind, || {
                let mut stream = TcpStream::connect(address).expect("the receiver listens");
                stream.write_all(data).expect("the receiver takes everything in the end");
            });
        });
        let (mut slow, _) = destination.accept()?;
        let mut last = 0;
        wait_for(&receiver, "held buffers", |sample| sample.held() > sample.buffers / 4)?;
        // Until nothing moves any more.
        while last != sample(&receiver).dispensed {
            last = sample(&receiver).dispensed;
            thread::sleep(Duration::from_millis(300));
        }
        println!("{kind}, standing still: {:#?}", sample(&receiver));
        let mut received = Vec::new();
        slow.read_to_end(&mut received)?;
        Ok(received)
    })?;
    assert!(received == sent, "{} of {bytes} bytes arrived, or others", received.len());
    let recovered = wait_for(&receiver, "connections closed", |sample| sample.connections == 0)?;
    println!("{kind}, recovered: {recovered:#?}");
    assert_eq!(recovered.held(), recovered.stashed);
    stop(receiver);
    Ok(())
}

fn stops_under_load(kind: BackendKind) -> Outcome {
    let receiver = start(config(kind, SinkConfig::Discard)?)?;
    let address: SocketAddr = address(&receiver)?;
    thread::scope(|scope| -> Outcome {
        scope.spawn(move || {
            as_sender(kind, || {
                let mut stream = TcpStream::connect(address).expect("the receiver listens");
                stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
                while stream.write_all(&[7; 16384]).is_ok() {}
            });
        });
        wait_for(&receiver, "traffic", |sample| sample.bytes > 4 << 20)?;
        stop(receiver);
        Ok(())
    })
}

#[test]
#[ignore = "needs Linux 7.1 and root"]
fn nodev_verifies() -> Outcome {
    verifies(BackendKind::Nodev)
}

#[test]
#[ignore = "needs Linux 7.1 and root"]
fn nodev_survives_want() -> Outcome {
    survives_want(BackendKind::Nodev)
}

#[test]
#[ignore = "needs Linux 7.1 and root"]
fn nodev_recovers_from_a_slow_destination() -> Outcome {
    recovers_from_a_slow_destination(BackendKind::Nodev)
}

#[test]
#[ignore = "needs Linux 7.1 and root"]
fn nodev_stops_under_load() -> Outcome {
    stops_under_load(BackendKind::Nodev)
}

#[test]
#[ignore = "needs a NIC with zcrx and root"]
fn device_verifies() -> Outcome {
    verifies(BackendKind::Device)
}

#[test]
#[ignore = "needs a NIC with zcrx and root"]
fn device_survives_want() -> Outcome {
    survives_want(BackendKind::Device)
}

#[test]
#[ignore = "needs a NIC with zcrx and root"]
fn device_recovers_from_a_slow_destination() -> Outcome {
    recovers_from_a_slow_destination(BackendKind::Device)
}

#[test]
#[ignore = "needs a NIC with zcrx and root"]
fn device_stops_under_load() -> Outcome {
    stops_under_load(BackendKind::Device)
}
