//! The `copy` backend, which works everywhere: real TCP over 127.0.0.1.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use zcrx_daemon::model::{BackendKind, QueueState, ReceiveSample};
use zcrx_daemon::receive::pattern::{self, Verdict};
use zcrx_daemon::receive::{BackendChoice, Destination, QueueConfig, ReceiveError, Receiver, SinkConfig};

use crate::{ANY_PORT, Outcome, address, sample, start, stop, wait_for};

/// A small area.
const AREA: u64 = 1 << 20;

/// The user and group that own nothing.
const ORDINARY_USER: u32 = 65534;

fn config(sink: SinkConfig) -> QueueConfig {
    QueueConfig { backend: BackendChoice::Only(BackendKind::Copy), sink, ..QueueConfig::new(vec![ANY_PORT]) }
}

#[test]
fn every_byte_is_verified_and_every_buffer_returned() -> Outcome {
    let receiver = start(config(SinkConfig::Verify))?;
    let address = address(&receiver)?;
    let bytes = 32 << 20;
    assert_eq!(pattern::send(address, bytes, 42)?, Verdict::Ok { payload: bytes });
    assert_eq!(pattern::send(address, 0, 1)?, Verdict::Ok { payload: 0 });
    assert_eq!(pattern::send(address, 1, u64::MAX)?, Verdict::Ok { payload: 1 });

    let idle = wait_for(&receiver, "connections closed", |sample| sample.connections == 0)?;
    assert_eq!(idle.state, QueueState::Running);
    assert_eq!(idle.selection.backend, Some(BackendKind::Copy));
    assert_eq!((idle.accepted, idle.verified_bytes, idle.mismatched_bytes), (3, bytes + 1, 0));
    assert_eq!(idle.bytes, bytes + 1 + 3 * pattern::HEADER_BYTES as u64);
    assert_eq!(idle.buffers * idle.buffer_bytes, idle.area_bytes);
    assert_eq!(idle.held(), 0);
    let ring = idle.ring.ok_or("a live queue measures its ring")?;
    assert_eq!((ring.hold.count(), ring.oldest_held), (idle.returned, None));
    assert!(ring.cq_depth.count() > 0 && ring.published.count() > 0, "{ring:?}");
    assert!(idle.dispensed > idle.buffers, "32 MiB through 16 MiB: buffers were used again");

    let last = stop(&receiver);
    assert_eq!(last.errors.keys().next(), None, "{:?}", last.errors);
    Ok(())
}

#[test]
fn wrong_bytes_are_found() -> Outcome {
    let receiver = start(config(SinkConfig::Verify))?;
    let mut stream = TcpStream::connect(address(&receiver)?)?;
    let mut payload = vec![0; 100_000];
    pattern::fill(7, 0, &mut payload);
    payload[60_000] ^= 1;
    payload[60_001] ^= 1;
    stream.write_all(&pattern::header(7))?;
    stream.write_all(&payload)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert_eq!(answer, "bad 2 of 100000, first at 60000\n");
    assert_eq!(stop(&receiver).mismatched_bytes, 2);
    Ok(())
}

#[test]
fn many_connections_share_a_small_area() -> Outcome {
    let small = QueueConfig {
        area_bytes: 64 * 4096,
        refill_entries: 16,
        cq_entries: 16,
        ..config(SinkConfig::Verify)
    };
    let receiver = start(small)?;
    let address = address(&receiver)?;
    // More connections than buffers, and half of them never say anything: they must not hold any.
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    let senders: Vec<_> = (0..100_u64)
        .map(|seed| thread::spawn(move || pattern::send(address, 100_000 + seed, seed)))
        .collect();
    for (seed, sender) in senders.into_iter().enumerate() {
        let verdict = sender.join().map_err(|_| "a sender panicked")??;
        assert_eq!(verdict, Verdict::Ok { payload: 100_000 + seed as u64 });
    }
    wait_for(&receiver, "only idle connections are left", |sample| sample.connections == 100)?;
    drop(idle);
    wait_for(&receiver, "no connections are left", |sample| sample.connections == 0)?;
    assert_eq!(stop(&receiver).accepted, 200);
    Ok(())
}

#[test]
fn stop_closes_connections_and_loses_no_buffer() -> Outcome {
    let receiver = start(config(SinkConfig::Discard))?;
    let address = address(&receiver)?;
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(address)?;
            Ok(thread::spawn(move || while stream.write_all(&[7; 16384]).is_ok() {}))
        })
        .collect::<std::io::Result<_>>()?;
    wait_for(&receiver, "traffic", |sample| sample.bytes > 16 << 20)?;
    stop(&receiver);
    for sender in senders {
        sender.join().map_err(|_| "a sender panicked")?;
    }
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    Ok(())
}

/// The area holds 1 MiB, the destination's and the sender's sockets hold what they hold, and the rest must wait.
#[test]
fn slow_destination_starves_the_queue_until_it_reads() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let to = Destination::Tcp(destination.local_addr()?.to_string());
    let small =
        QueueConfig { area_bytes: AREA, hold_limit_bytes: Some(AREA), ..config(SinkConfig::Forward(to)) };
    let receiver = start(small)?;
    let address = address(&receiver)?;

    let bytes = 32_usize << 20;
    let mut sent = vec![0; bytes];
    pattern::fill(3, 0, &mut sent);
    let data = sent.clone();
    let sender = thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&data)
    });
    let (mut slow, _) = destination.accept()?;

    // A short starvation may come and go while the sockets in between still take something.
    let starved = |sample: &ReceiveSample| sample.starving == Some(true) && sample.held() == sample.buffers;
    wait_for(&receiver, "starvation", starved)?;
    thread::sleep(Duration::from_millis(300));
    let still = wait_for(&receiver, "starvation that lasts", starved)?;
    assert!(still.starvations >= Some(1), "{still:#?}");
    assert!(still.errors.contains_key(&libc::ENOBUFS), "{:?}", still.errors);
    thread::sleep(Duration::from_millis(200));
    let later = sample(&receiver);
    assert_eq!(
        (later.rearms, later.bytes),
        (still.rearms, still.bytes),
        "waiting is not trying all the time"
    );

    let mut received = Vec::new();
    slow.read_to_end(&mut received)?;
    sender.join().map_err(|_| "the sender panicked")??;
    assert!(received == sent, "{} of {bytes} bytes arrived, or others", received.len());
    drop(slow);
    let recovered = wait_for(&receiver, "recovery", |sample| sample.connections == 0)?;
    assert_eq!((recovered.starving, recovered.held()), (Some(false), 0));
    assert_eq!(stop(&receiver).bytes, bytes as u64);
    Ok(())
}

/// One destination reads nothing at all: another connection's data passes as if it were not there.
#[test]
fn stuck_connection_is_copied_out_then_paused_without_delaying_others() -> Outcome {
    const COPY_OUT: u64 = 256 << 10;
    let destination = TcpListener::bind(ANY_PORT)?;
    let to = Destination::Tcp(destination.local_addr()?.to_string());
    let limited =
        QueueConfig { area_bytes: AREA, copy_out_bytes: COPY_OUT, ..config(SinkConfig::Forward(to)) };
    let receiver = start(limited)?;
    let address = address(&receiver)?;
    let send = |seed: u64| {
        thread::spawn(move || -> std::io::Result<Vec<u8>> {
            let mut data = vec![0; 24 << 20];
            pattern::fill(seed, 0, &mut data);
            TcpStream::connect(address)?.write_all(&data)?;
            Ok(data)
        })
    };
    let stuck = send(1);
    let (mut stuck_end, _) = destination.accept()?;
    let backlog = |sample: &ReceiveSample| sample.ring.expect("a live queue measures its ring").backlog;
    let paused = wait_for(&receiver, "a pause", |sample| backlog(sample).paused == 1)?;
    assert!(backlog(&paused).copied_out_bytes > 0, "{paused:#?}");
    assert!(backlog(&paused).limit_reached >= 1, "{paused:#?}");

    let lively = send(2);
    let (mut lively_end, _) = destination.accept()?;
    let mut received = Vec::new();
    lively_end.read_to_end(&mut received)?;
    assert!(received == lively.join().map_err(|_| "the sender panicked")??, "other bytes arrived");
    drop(lively_end);
    let still = wait_for(&receiver, "one connection", |sample| sample.connections == 1)?;
    assert_eq!((backlog(&still).paused, still.starving), (1, Some(false)), "{still:#?}");
    assert!(backlog(&still).copy_out_bytes <= COPY_OUT, "{still:#?}");
    assert!(still.ring.and_then(|ring| ring.oldest_held) > Some(Duration::ZERO), "{still:#?}");

    received.clear();
    stuck_end.read_to_end(&mut received)?;
    assert!(received == stuck.join().map_err(|_| "the sender panicked")??, "other bytes arrived");
    drop(stuck_end);
    let over = wait_for(&receiver, "the end", |sample| sample.connections == 0)?;
    assert_eq!((backlog(&over).held, backlog(&over).copy_out_bytes, backlog(&over).paused), (0, 0, 0));
    let ring = stop(&receiver).ring.ok_or("no ring statistics")?;
    assert_eq!(ring.oldest_held, None);
    Ok(())
}

#[test]
fn stop_while_starved_returns_every_buffer() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let to = Destination::Tcp(destination.local_addr()?.to_string());
    let small =
        QueueConfig { area_bytes: AREA, hold_limit_bytes: Some(AREA), ..config(SinkConfig::Forward(to)) };
    let receiver = start(small)?;
    let address = address(&receiver)?;
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("the receiver listens");
        while stream.write_all(&[7; 16384]).is_ok() {}
    });
    let (_slow, _) = destination.accept()?;
    wait_for(&receiver, "starvation", |sample| sample.starving == Some(true))?;
    stop(&receiver);
    sender.join().map_err(|_| "the sender panicked")?;
    Ok(())
}

#[test]
fn late_unix_destination_receives_everything_in_order() -> Outcome {
    let path = std::env::temp_dir().join(format!("zcrxd-test-{}.sock", std::process::id()));
    let _none_there = std::fs::remove_file(&path);
    let receiver = start(config(SinkConfig::Forward(Destination::Unix(path.clone()))))?;
    let mut stream = TcpStream::connect(address(&receiver)?)?;
    stream.write_all(b"first ")?;
    let retried = |sample: &ReceiveSample| sample.ring.is_some_and(|ring| ring.connect_retries > 0);
    wait_for(&receiver, "a failed connect", retried)?;
    let destination = UnixListener::bind(&path)?;
    stream.write_all(b"second")?;
    stream.shutdown(Shutdown::Write)?;
    let (mut late, _) = destination.accept()?;
    let mut received = String::new();
    late.read_to_string(&mut received)?;
    assert_eq!(received, "first second");
    std::fs::remove_file(&path)?;
    stop(&receiver);
    Ok(())
}

/// Bytes in, bytes out, a file for each connection, and nothing that was there is touched.
#[test]
fn each_connection_has_its_own_file() -> Outcome {
    let directory = std::env::temp_dir().join(format!("zcrxd-test-files-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("older"), "untouched")?;
    let receiver = start(config(SinkConfig::File(directory.clone())))?;
    let address = address(&receiver)?;
    let sent = |seed: u64| {
        let mut data = vec![0; 3 << 20];
        pattern::fill(seed, 0, &mut data);
        data
    };
    let senders: Vec<_> = (1..=3)
        .map(|seed| thread::spawn(move || TcpStream::connect(address)?.write_all(&sent(seed))))
        .collect();
    for sender in senders {
        sender.join().map_err(|_| "a sender panicked")??;
    }
    let over = wait_for(&receiver, "three connections, closed", |sample| {
        (sample.accepted, sample.connections) == (3, 0)
    })?;
    assert_eq!(over.held(), 0);
    let mut left: Vec<_> = (1..=3).map(sent).collect();
    for entry in std::fs::read_dir(&directory)? {
        let content = std::fs::read(entry?.path())?;
        if content != b"untouched" {
            let at = left.iter().position(|sent| *sent == content).ok_or("a file of something else")?;
            left.swap_remove(at);
        }
    }
    assert!(left.is_empty(), "{} connections are in no file", left.len());
    assert_eq!(std::fs::read(directory.join("older"))?, b"untouched");
    std::fs::remove_dir_all(&directory)?;
    stop(&receiver);
    Ok(())
}

#[test]
fn lost_destination_ends_the_connection() -> Outcome {
    let destination = TcpListener::bind(ANY_PORT)?;
    let to = Destination::Tcp(destination.local_addr()?.to_string());
    let receiver = start(config(SinkConfig::Forward(to)))?;
    let mut stream = TcpStream::connect(address(&receiver)?)?;
    stream.write_all(&[1; 1000])?;
    let (lost, _) = destination.accept()?;
    drop(lost);
    while stream.write_all(&[1; 1000]).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let sample = wait_for(&receiver, "the connection ended", |sample| sample.connections == 0)?;
    assert_eq!(sample.held(), 0);
    let errors = sample.sink_errors;
    assert!(errors.contains_key(&libc::EPIPE) || errors.contains_key(&libc::ECONNRESET), "{errors:?}");
    stop(&receiver);
    Ok(())
}

#[test]
fn auto_uses_the_best_backend_and_reports_why_others_are_refused() -> Outcome {
    let receiver = start(QueueConfig::new(vec![ANY_PORT]))?;
    let sample = sample(&receiver);
    let best = sample.selection.backend.ok_or("a running queue has a backend")?;
    let refused: Vec<_> = sample.selection.refused.iter().map(|refusal| refusal.backend).collect();
    match best {
        BackendKind::Copy => assert_eq!(refused, [BackendKind::Device, BackendKind::Nodev]),
        BackendKind::Nodev => assert_eq!(refused, [BackendKind::Device]),
        BackendKind::Device => panic!("no interface was named"),
    }
    assert_eq!(sample.state, QueueState::Degraded);
    for refusal in &sample.selection.refused {
        assert!(!refusal.reason.is_empty() && !refusal.remedy.is_empty(), "{refusal:?}");
        assert!(sample.state_reason.contains(&refusal.reason), "{}", sample.state_reason);
    }
    assert_eq!(receiver.stop().len(), 1);
    Ok(())
}

/// Each refusal is one line that says what and how to remedy it.
#[test]
fn invalid_setting_is_refused_with_one_line() -> Outcome {
    let taken = TcpListener::bind(ANY_PORT)?;
    let good = config(SinkConfig::Discard);
    let cases = [
        (QueueConfig { listen: vec![taken.local_addr()?], ..good.clone() }, "use another port"),
        (QueueConfig { interface: Some("no-such-if".to_owned()), ..good.clone() }, "no \"no-such-if\""),
        (QueueConfig { interface: Some("lo".to_owned()), queue: 99, ..good.clone() }, "no queue 99"),
        (QueueConfig { refill_entries: 0, ..good.clone() }, "refill_entries"),
        (
            QueueConfig {
                interface: Some("lo".to_owned()),
                backend: BackendChoice::Only(BackendKind::Device),
                ..good.clone()
            },
            "device cannot register interface queue lo:0",
        ),
    ];
    for (config, hint) in cases {
        let error = match Receiver::start(vec![good.clone(), config]) {
            Err(error) => error.to_string(),
            Ok(_) => return Err(format!("accepted, but should say {hint:?}").into()),
        };
        assert!(error.contains(hint) && !error.contains('\n'), "{error}");
    }
    Ok(())
}

#[test]
fn port_in_use_differs_from_other_errors() -> Outcome {
    let taken = TcpListener::bind(ANY_PORT)?;
    let address = taken.local_addr()?;
    let twice = QueueConfig { listen: vec![address], ..config(SinkConfig::Discard) };
    match start(twice) {
        Err(ReceiveError::Listen { address: named, .. }) => assert_eq!(named, address),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// As root, the backend's tests run again as an ordinary user; another user is an ordinary user already.
#[test]
fn ordinary_user_needs_no_privilege() -> Outcome {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(());
    }
    // That user may lack access to the build directory.
    let program = std::env::temp_dir().join(format!("zcrxd-test-receive-{}", std::process::id()));
    std::fs::copy(std::env::current_exe()?, &program)?;
    let output = Command::new(&program)
        .args(["copy::every_byte", "copy::slow_destination", "copy::auto"])
        .current_dir("/")
        .gid(ORDINARY_USER)
        .uid(ORDINARY_USER)
        .output()?;
    std::fs::remove_file(&program)?;
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("3 passed"), "{report}");
    Ok(())
}
