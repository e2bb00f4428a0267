//! Many senders with ends of their own, and a sink that checks what each of them sent.
//!
//! Both are made of the same plan, which follows from a connection's number: how much it sends, whether it breaks off and
//! where. That plan, and not zcrxd, says what must arrive.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::harness::namespace::Namespace;
use crate::harness::nic;
use crate::harness::traffic::reset;

/// Hard stop of a read or write.
const LIMIT: Duration = Duration::from_secs(200);
/// Of connections that have to wait for their sink.
const LAGGARD_BYTES: u64 = 3 << 20;
/// The number of a connection that only ends the sink.
const LAST: u64 = u64::MAX;

/// What a connection does.
#[derive(Clone, Copy)]
struct Plan {
    bytes: u64,
    /// Resets the connection once so much is sent.
    breaks_off: Option<u64>,
}

impl Plan {
    fn of(number: u64, laggard: bool) -> Self {
        if laggard {
            return Self { bytes: LAGGARD_BYTES, breaks_off: None };
        }
        let bytes = mix(number) % (512 << 10);
        let breaks_off = number.is_multiple_of(4).then(|| mix(number ^ 0xdead) % (bytes + 1));
        Self { bytes, breaks_off }
    }
}

/// Senders at work.
pub(crate) struct Crowd {
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    /// Starts one for each number, spread over the queues.
    pub(crate) fn start(from: &Namespace, queues: u16, numbers: Range<u64>, laggards: bool) -> Result<Self> {
        // A thread that is started in a namespace stays in it.
        from.enter(|| {
            let start = |number: u64| {
                let queue = 1 + (number % u64::from(queues)) as u16;
                let to = format!("{}:{}", nic::RX_ADDRESS, 9000 + queue).parse()?;
                let send = move || send(to, number, laggards).with_context(|| format!("connection {number}"));
                thread::Builder::new().stack_size(128 << 10).spawn(send).context("cannot start a sender")
            };
            Ok(Self { threads: numbers.map(start).collect::<Result<_>>()? })
        })
    }

    /// Waits until each has come to its end.
    pub(crate) fn finish(self) -> Result<()> {
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        Ok(())
    }
}

fn send(to: SocketAddr, number: u64, laggard: bool) -> Result<()> {
    let plan = Plan::of(number, laggard);
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_write_timeout(Some(LIMIT)).context("cannot limit a write")?;
    stream.set_read_timeout(Some(LIMIT)).context("cannot limit a read")?;
    let mut head = number.to_le_bytes().to_vec();
    head.push(u8::from(laggard));
    stream.write_all(&head).context("cannot send")?;
    let end = plan.breaks_off.unwrap_or(plan.bytes);
    let mut at = 0;
    let mut chunk = vec![0; 16 << 10];
    while at < end {
        let now = (end - at).min(chunk.len() as u64) as usize;
        for (offset, byte) in (at..).zip(&mut chunk[..now]) {
            *byte = expected(number, offset);
        }
        stream.write_all(&chunk[..now]).with_context(|| format!("cannot send byte {at}"))?;
        at += now as u64;
    }
    if plan.breaks_off.is_some() {
        return reset(stream);
    }
    stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
    // zcrxd closes when its sink has taken everything.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).context("zcrxd does not close")?;
    ensure!(rest.is_empty(), "zcrxd said something");
    Ok(())
}

/// What the readers of a sink share.
#[derive(Default)]
struct Shared {
    /// Bytes that arrived, by connection; or the first error in them.
    arrived: Mutex<BTreeMap<u64, Result<u64, String>>>,
    released: Mutex<bool>,
    release: Condvar,
}

/// The other end of zcrxd's forward sinks.
pub(crate) struct Sink {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: JoinHandle<Result<()>>,
}

impl Sink {
    /// Accepts what zcrxd forwards there.
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path).context("cannot bind the sink")?;
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { path: path.to_owned(), shared, acceptor })
    }

    /// Lets the laggards go on.
    pub(crate) fn release(&self) {
        *self.shared.released.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.release.notify_all();
    }

    /// Waits for every reader and holds what arrived against the plans of so many connections.
    pub(crate) fn finish(self, connections: u64) -> Result<()> {
        UnixStream::connect(&self.path)
            .and_then(|mut last| last.write_all(&LAST.to_le_bytes()))
            .context("cannot end the sink")?;
        self.acceptor.join().map_err(|_| anyhow!("the sink panicked"))??;
        let arrived = self.shared.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..connections {
            let plan = Plan::of(number, number < 20);
            match (arrived.get(&number), plan.breaks_off) {
                (Some(Ok(bytes)), None) if *bytes == plan.bytes => {}
                // What a reset overtakes may be lost; what arrives is right as far as it goes.
                (Some(Ok(bytes)), Some(sent)) if *bytes <= sent => {}
                (None, Some(_)) => {}
                (got, sent) => bail!(
                    "connection {number}: {} bytes planned, broken off at {sent:?}, arrived: {got:?}",
                    plan.bytes
                ),
            }
        }
        Ok(())
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) -> Result<()> {
    let mut readers = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().context("cannot accept")?;
        stream.set_read_timeout(Some(LIMIT)).context("cannot limit a read")?;
        let mut number = [0; 8];
        // One that breaks off at once may say nothing at all.
        if stream.read_exact(&mut number).is_err() {
            continue;
        }
        let number = u64::from_le_bytes(number);
        if number == LAST {
            break;
        }
        let shared = Arc::clone(shared);
        let read = move || {
            let result = read(&mut stream, number, &shared).map_err(|error| format!("{error:#}"));
            shared.arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(number, result);
        };
        readers.push(thread::Builder::new().stack_size(128 << 10).spawn(read).context("cannot read")?);
    }
    for reader in readers {
        reader.join().map_err(|_| anyhow!("a reader panicked"))?;
    }
    Ok(())
}

fn read(stream: &mut UnixStream, number: u64, shared: &Shared) -> Result<u64> {
    let mut laggard = [0];
    if stream.read(&mut laggard)? == 0 {
        return Ok(0);
    }
    if laggard == [1] {
        let mut released = shared.released.lock().unwrap_or_else(PoisonError::into_inner);
        while !*released {
            released = shared.release.wait(released).unwrap_or_else(PoisonError::into_inner);
        }
    }
    let mut at = 0;
    let mut chunk = vec![0; 16 << 10];
    loop {
        let now = stream.read(&mut chunk)?;
        if now == 0 {
            return Ok(at);
        }
        for byte in &chunk[..now] {
            ensure!(*byte == expected(number, at), "byte {at} is not what was sent");
            at += 1;
        }
    }
}

/// The byte at an offset of a connection's stream.
fn expected(number: u64, offset: u64) -> u8 {
    (mix(number << 32 | offset >> 3) >> (8 * (offset & 7))) as u8
}

/// Spreads numbers evenly; the finalizer of `SplitMix64`.
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
