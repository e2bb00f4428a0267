//! A ring that fails for real: its descriptor is taken from under it. By itself, because it looks at the whole process.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::RawFd;
use std::thread;
use std::time::{Duration, Instant};

use zcrx_daemon::model::{BackendKind, ReceiveSample};
use zcrx_daemon::receive::pattern::{self, Verdict};
use zcrx_daemon::receive::{BackendChoice, QueueConfig, Receiver, SinkConfig};

const PATIENCE: Duration = Duration::from_secs(30);
const BYTES: u64 = 2 << 20;
/// What a failed ring may still use is kept for ten seconds, and freed when the next one fails.
const KEPT: Duration = Duration::from_secs(11);

fn wait_for(
    receiver: &Receiver,
    what: &str,
    is_so: impl Fn(&ReceiveSample) -> bool,
) -> Result<ReceiveSample, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let sample = receiver.sample().into_iter().next().expect("one queue was started");
        if is_so(&sample) {
            return Ok(sample);
        }
        if Instant::now() > end {
            return Err(format!("not within {PATIENCE:?}: {what}; {sample:#?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// This process's rings.
fn rings() -> std::io::Result<Vec<RawFd>> {
    let mut rings = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_ring =
            fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().contains("[io_uring]"));
        rings.extend(entry.file_name().to_string_lossy().parse::<RawFd>().ok().filter(|_| is_ring));
    }
    Ok(rings)
}

/// Open files, threads and mappings.
fn used() -> std::io::Result<(usize, usize, usize)> {
    let mappings = fs::read_to_string("/proc/self/maps")?.lines().count();
    Ok((fs::read_dir("/proc/self/fd")?.count(), fs::read_dir("/proc/self/task")?.count(), mappings))
}

#[test]
fn failed_ring_is_replaced_while_its_listener_stays() -> Result<(), Box<dyn Error>> {
    const TURNS: u64 = 6;
    let config = QueueConfig {
        backend: BackendChoice::Only(BackendKind::Copy),
        sink: SinkConfig::Verify,
        ..QueueConfig::new(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
    };
    let receiver = Receiver::start(vec![config])?;
    let address: SocketAddr = receiver.sample()[0].listen[0].parse()?;
    let registrations = |sample: &ReceiveSample| sample.ring.map_or(0, |ring| ring.registrations);
    let mut first = None;
    for turn in 1..=TURNS {
        wait_for(&receiver, "a registration", |sample| registrations(sample) == turn)?;
        assert_eq!(pattern::send(address, BYTES, turn)?, Verdict::Ok { payload: BYTES });
        wait_for(&receiver, "its connection closed", |sample| sample.connections == 0)?;
        let now = used()?;
        let before = *first.get_or_insert(now);
        if turn == TURNS {
            // The last ring's area, refill region and connection are still kept, and no earlier one's.
            assert!(now.0 <= before.0 + 1, "files, threads, mappings: first {before:?}, now {now:?}");
            assert_eq!(now.1, before.1, "threads");
            assert!(now.2 <= before.2 + 2 + 3, "files, threads, mappings: first {before:?}, now {now:?}");
            break;
        }
        if turn == TURNS - 1 {
            thread::sleep(KEPT);
        }
        let [ring] = rings()?[..] else { return Err("there is one queue, and not one ring".into()) };
        let null = fs::File::open("/dev/null")?;
        // SAFETY: replaces a descriptor that stays open, as another file: its owner finds that it is no ring.
        let replaced = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), ring) };
        assert_eq!(replaced, ring);
        // The thread still waits in the ring that was there: something must wake it.
        drop(TcpStream::connect(address)?);
    }
    let last = receiver.stop().remove(0);
    assert_eq!(last.verified_bytes, TURNS * BYTES);
    assert_eq!((last.mismatched_bytes, last.held()), (0, last.stashed));
    Ok(())
}
