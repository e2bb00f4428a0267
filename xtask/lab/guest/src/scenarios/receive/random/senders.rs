//! Senders that record what they wrote and what the receiver's kernel acknowledged.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::stream::{End, HEADER_BYTES, Plan, fill};
use crate::harness::namespace::Namespace;
use crate::harness::steal::set;
use crate::harness::traffic::reset;
use crate::harness::{eventually, nic};

/// The longest time without progress. The slowest destination takes seconds, and TCP waits up to a minute before it sends again to a
/// NIC that was gone; an emulated machine on a busy host takes more.
const STALL: Duration = Duration::from_mins(4);
/// Attempts to connect that all senders together make in a second while zcrxd does not listen.
const ATTEMPTS: u32 = 250;
/// Port of the first queue.
pub(super) const FIRST_PORT: u16 = 9001;

/// A sender's record of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) plan: Plan,
    /// The sender's port, by which zcrxd's log names the connection.
    pub(super) port: u16,
    pub(super) written: u64,
    pub(super) acknowledged: u64,
    /// Bytes that zcrxd's sink `verify` reports to have compared, and the header.
    pub(super) verified: Option<u64>,
    /// Just before the attempt to connect.
    pub(super) began: Instant,
}

/// Senders at work, one connection each at a time.
pub(super) struct Senders {
    threads: Vec<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    gate: Arc<Gate>,
}

/// Holds each sender in the middle of its connection while it is closed.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(closed, |closed| *closed).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Senders {
    pub(super) fn start(from: &Namespace, seed: u64, queues: u16, senders: u32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (next, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let gate = Arc::new(Gate::default());
        // A thread that is started in a namespace stays in it.
        from.enter(|| {
            let start = |_| {
                let (stop, next, sent) = (Arc::clone(&stop), Arc::clone(&next), Arc::clone(&sent));
                let gate = Arc::clone(&gate);
                let work = move || {
                    while !stop.load(Ordering::Relaxed) {
                        let plan = Plan::of(seed, next.fetch_add(1, Ordering::Relaxed), queues);
                        let connection = || format!("sender of {plan:?}");
                        match send(plan, &gate).with_context(connection)? {
                            Some(one) => {
                                sent.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                            }
                            None => thread::sleep(Duration::from_secs(1) * senders / ATTEMPTS),
                        }
                    }
                    Ok(())
                };
                thread::Builder::new().stack_size(128 << 10).spawn(work).context("cannot start a sender")
            };
            let threads = (0..senders).map(start).collect::<Result<_>>()?;
            Ok(Self { threads, stop: Arc::clone(&stop), sent: Arc::clone(&sent), gate: Arc::clone(&gate) })
        })
    }

    /// Lets each sender that comes to the middle of its connection wait there, so that all are open together.
    pub(super) fn hold(&self) {
        self.gate.set(true);
    }

    /// Ends [`Self::hold`].
    pub(super) fn go_on(&self) {
        self.gate.set(false);
    }

    /// Lets each sender finish its connection. Returns all ledgers.
    pub(super) fn finish(self) -> Result<Vec<Sent>> {
        self.stop.store(true, Ordering::Relaxed);
        self.go_on();
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        Ok(std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Sends one connection. Returns nothing if zcrxd did not listen, as between two registrations of a queue.
fn send(plan: Plan, gate: &Gate) -> Result<Option<Sent>> {
    let to: SocketAddr = format!("{}:{}", nic::RX_ADDRESS, FIRST_PORT + plan.queue).parse()?;
    let began = Instant::now();
    let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(5)) else {
        return Ok(None);
    };
    stream.set_write_timeout(Some(STALL)).context("cannot limit a write")?;
    stream.set_read_timeout(Some(STALL)).context("cannot limit a read")?;
    // A reset is sent once. If it is dropped, because the NIC's ring is full or its driver is being reloaded, only the answer to a
    // probe says that the connection is gone.
    set(&stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[1])?;
    let port = stream.local_addr().context("no address")?.port();
    let mut sent = Sent { plan, port, written: 0, acknowledged: 0, verified: None, began };
    let whole = write(&mut stream, &mut sent, gate)?;
    if whole && plan.end == End::Close {
        let half_closed = stream.shutdown(Shutdown::Write).is_ok();
        read_end(&mut stream, &mut sent)?;
        sent.acknowledged = acknowledged(&stream, sent.written, half_closed)?;
        return Ok(Some(sent));
    }
    if whole && plan.end == End::ResetAcknowledged {
        // The connection may be reset meanwhile: then this number does not change any more.
        let mut before = u64::MAX;
        eventually("everything is acknowledged, or nothing more is", STALL, || {
            let now = acknowledged(&stream, sent.written, false)?;
            let over = now == sent.written
                || (now == before && stream.take_error().is_ok_and(|error| error.is_some()));
            before = now;
            Ok(over.then_some(()))
        })?;
    }
    sent.acknowledged = acknowledged(&stream, sent.written, false)?;
    reset(stream)?;
    Ok(Some(sent))
}

/// Writes the stream. Returns whether zcrxd took all of it.
fn write(stream: &mut TcpStream, sent: &mut Sent, gate: &Gate) -> Result<bool> {
    let plan = sent.plan;
    let mut chunk = vec![0; 16 << 10];
    let middle = plan.bytes / 2;
    while sent.written < plan.bytes {
        if sent.written == middle {
            gate.pass();
        }
        let end = if sent.written < middle { middle } else { plan.bytes };
        let mut now = (end - sent.written).min(chunk.len() as u64);
        match plan.pause_at {
            Some(pause) if pause == sent.written => thread::sleep(Duration::from_millis(100)),
            Some(pause) if pause > sent.written => now = now.min(pause - sent.written),
            _ => {}
        }
        fill(plan.number, sent.written, &mut chunk[..now as usize]);
        match stream.write(&chunk[..now as usize]) {
            Ok(bytes) => sent.written += bytes as u64,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                bail!("no progress for {STALL:?} after {} bytes", sent.written)
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Reads zcrxd's end of the stream, and the verdict if its sink verifies.
fn read_end(stream: &mut TcpStream, sent: &mut Sent) -> Result<()> {
    let mut answer = String::new();
    // Another error is a reset: zcrxd lost the destination, or stopped.
    if let Err(error) = stream.read_to_string(&mut answer)
        && error.kind() == std::io::ErrorKind::WouldBlock
    {
        bail!("zcrxd does not close for {STALL:?} after {} bytes", sent.written)
    }
    if let Some(line) = answer.lines().next() {
        let payload = line.strip_prefix("ok ").and_then(|bytes| bytes.parse::<u64>().ok());
        sent.verified = Some(payload.with_context(|| format!("zcrxd says {line}"))? + HEADER_BYTES);
    }
    ensure!(answer.lines().count() < 2, "zcrxd says {answer:?}");
    Ok(())
}

/// Bytes that the other end's kernel has acknowledged. The half-close counts as a byte.
fn acknowledged(stream: &TcpStream, written: u64, half_closed: bool) -> Result<u64> {
    let mut waiting: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int to the address, and the descriptor is open.
    if unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) } != 0 {
        bail!("cannot read what is not acknowledged: {}", std::io::Error::last_os_error());
    }
    let all = written + u64::from(half_closed);
    Ok(all.saturating_sub(waiting as u64).min(written))
}
