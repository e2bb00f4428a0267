//! Destinations of forward sinks that record what arrived on each connection.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::stream::{Behaviour, HEADER_BYTES, Plan, first_difference, number_in};
use crate::harness::eventually;
use crate::harness::namespace::Namespace;
use crate::harness::steal::set;
use crate::harness::traffic::reset;

/// Bytes that arrived on one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    /// Bytes that the destination read, or that its kernel had acknowledged when it died.
    pub(super) bytes: u64,
    /// Whether a forward sink sent them. Bytes that the destination does not confirm in time count as lost and may still arrive.
    pub(super) forwarded: bool,
}

/// Progress of a reader, for the report of connections that do not end.
#[derive(Clone, Debug, Default)]
#[expect(dead_code, reason = "printed")]
struct Reading {
    stream: String,
    plan: Option<Plan>,
    bytes: u64,
}

/// The ledger of all destinations, by the connection's number.
#[derive(Default)]
pub(super) struct Ledger {
    arrived: Mutex<BTreeMap<u64, Arrived>>,
    /// The first wrong byte, or the first failure of a reader.
    wrong: Mutex<Option<String>>,
    /// Connections that are not read to their end, by the order of their arrival.
    open: Mutex<BTreeMap<u64, Reading>>,
    served: AtomicU64,
}

impl Ledger {
    /// Returns what arrived. Fails if a byte is wrong, or if a connection stays open: zcrxd has closed all of them.
    pub(super) fn take(&self) -> Result<BTreeMap<u64, Arrived>> {
        let over = eventually("every destination has read its end", Duration::from_mins(2), || {
            self.check()?;
            Ok(self.open().is_empty().then_some(()))
        });
        over.with_context(|| format!("open: {:#?}", self.open()))?;
        // A reader notes its failure before its end.
        self.check()?;
        Ok(self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn check(&self) -> Result<()> {
        match &*self.wrong.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(wrong) => bail!("{wrong}"),
            None => Ok(()),
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Reading>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: u64, arrived: Arrived) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(number, arrived);
    }

    fn failed(&self, error: &anyhow::Error) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("{error:#}"));
    }

    /// Records the progress of a reader.
    fn progress(&self, reader: u64, plan: Plan, bytes: u64) {
        if let Some(reading) = self.open().get_mut(&reader) {
            (reading.plan, reading.bytes) = (Some(plan), bytes);
        }
    }

    /// Starts a reader of each connection that a listener accepts.
    fn serve(
        self: &Arc<Self>,
        seed: u64,
        queues: u16,
        accept: impl Fn() -> io::Result<Stream> + Send + 'static,
    ) {
        let ledger = Arc::clone(self);
        thread::spawn(move || {
            loop {
                let started =
                    accept().context("cannot accept").and_then(|stream| ledger.read(seed, queues, stream));
                if let Err(error) = started {
                    return ledger.failed(&error);
                }
            }
        });
    }

    /// Starts a reader.
    fn read(self: &Arc<Self>, seed: u64, queues: u16, stream: Stream) -> Result<()> {
        let reader = self.served.fetch_add(1, Ordering::Relaxed);
        self.open().insert(reader, Reading { stream: format!("{stream:?}"), ..Reading::default() });
        let ledger = Arc::clone(self);
        let work = move || {
            if let Err(error) = read(seed, queues, stream, &ledger, reader) {
                ledger.failed(&error);
            }
            ledger.open().remove(&reader);
        };
        let started = thread::Builder::new().stack_size(128 << 10).spawn(work);
        if started.is_err() {
            self.open().remove(&reader);
        }
        started.map(drop).context("cannot start a reader")
    }
}

/// Accepts connections of zcrxd over TCP, on any address of the host. Returns the port.
pub(super) fn over_tcp(host: &Namespace, seed: u64, queues: u16, ledger: &Arc<Ledger>) -> Result<u16> {
    let listener = host.enter(|| TcpListener::bind("0.0.0.0:0").context("cannot bind a destination"))?;
    let port = listener.local_addr().context("no address")?.port();
    ledger.serve(seed, queues, move || Ok(Stream::Tcp(listener.accept()?.0)));
    Ok(port)
}

/// Accepts connections of zcrxd over a Unix socket.
pub(super) fn over_unix(path: &Path, seed: u64, queues: u16, ledger: &Arc<Ledger>) -> Result<()> {
    let listener = UnixListener::bind(path).context("cannot bind a destination")?;
    ledger.serve(seed, queues, move || Ok(Stream::Unix(listener.accept()?.0)));
    Ok(())
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    fn reply(&mut self) {
        // Fails if zcrxd is gone: the next read shows that.
        match self {
            Self::Tcp(stream) => stream.write_all(&[b'r'; 500]).ok(),
            Self::Unix(stream) => stream.write_all(&[b'r'; 500]).ok(),
        };
    }

    fn half_close(&self) {
        // As above.
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write).ok(),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write).ok(),
        };
    }

    /// Closes the socket as the kernel does for a killed program. Returns the acknowledged bytes that were not read.
    fn die(self) -> Result<u64> {
        let Self::Tcp(stream) = self else { return Ok(0) };
        refuse_packets(stream.as_raw_fd())?;
        // The kernel acknowledges within this time what it has accepted so far.
        thread::sleep(Duration::from_millis(300));
        let mut unread: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int to the address, and the descriptor is open.
        if unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut unread) } != 0 {
            bail!("cannot read what is unread: {}", io::Error::last_os_error());
        }
        reset(stream)?;
        Ok(unread as u64)
    }
}

/// Makes the kernel drop, and therefore not acknowledge, all further packets of a socket.
fn refuse_packets(socket: RawFd) -> Result<()> {
    let mut code = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut code };
    // SAFETY: the kernel copies the program, which lives longer than the call.
    let done = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context("cannot attach a filter") }
}

/// Reads a connection to its end in the way of its plan.
fn read(seed: u64, queues: u16, mut stream: Stream, ledger: &Ledger, reader: u64) -> Result<()> {
    if let Stream::Tcp(stream) = &stream {
        // As in senders: the reset of a killed zcrxd may be dropped.
        set(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[1])?;
    }
    let mut head = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    while head.len() < HEADER_BYTES as usize {
        let room = HEADER_BYTES as usize - head.len();
        match stream.read(&mut chunk[..room]) {
            // Too short to identify the connection.
            Ok(0) | Err(_) => return Ok(()),
            Ok(bytes) => head.extend_from_slice(&chunk[..bytes]),
        }
    }
    let number = number_in(&head).with_context(|| format!("no header: {head:?}"))?;
    let plan = Plan::of(seed, number, queues);
    let behaviour = plan.behaviour;
    let mut arrived = Arrived { bytes: HEADER_BYTES, forwarded: true };
    if behaviour == Behaviour::HalfCloses {
        stream.half_close();
    }
    loop {
        ledger.progress(reader, plan, arrived.bytes);
        let most = match behaviour {
            Behaviour::Dies(after) => {
                let left = after.saturating_sub(arrived.bytes);
                if left == 0 {
                    arrived.bytes += stream.die()?;
                    break;
                }
                left.min(chunk.len() as u64) as usize
            }
            _ => chunk.len(),
        };
        // An error is an end: zcrxd has reset the connection.
        let bytes = stream.read(&mut chunk[..most]).unwrap_or(0);
        if bytes == 0 {
            break;
        }
        if let Some(at) = first_difference(number, arrived.bytes, &chunk[..bytes]) {
            bail!("connection {number}: byte {at} is not what was sent");
        }
        arrived.bytes += bytes as u64;
        match behaviour {
            Behaviour::Slow => thread::sleep(Duration::from_millis(25)),
            Behaviour::Replies => stream.reply(),
            _ => {}
        }
    }
    ledger.note(number, arrived);
    Ok(())
}
