//! A stream of the test pattern through zcrxd: one end writes it, the other reads it back and can stop reading.
//!
//! Both ends are written from the pattern's description alone, not with zcrxd's code, so that a mistake there shows.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The stream begins with this and the seed, little endian.
const MAGIC: &[u8; 8] = b"zcrxpat1";

const SEED: u64 = 0x7a63_7278;

/// How long nothing may move before an end gives up.
const IO_LIMIT: Duration = Duration::from_secs(30);

/// One word of the stream; the first two are its header.
fn word(index: u64) -> [u8; 8] {
    match index {
        0 => *MAGIC,
        1 => SEED.to_le_bytes(),
        _ => splitmix64(SEED.wrapping_add(index - 2)).to_le_bytes(),
    }
}

fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The bytes of the stream from `offset` on.
fn fill(buffer: &mut [u8], offset: u64) {
    // Reads and writes end anywhere, words do not.
    let lead = (offset % 8) as usize;
    let (head, rest) = buffer.split_at_mut(buffer.len().min((8 - lead) % 8));
    head.copy_from_slice(&word(offset / 8)[lead..lead + head.len()]);
    for (chunk, index) in rest.chunks_mut(8).zip(offset.div_ceil(8)..) {
        chunk.copy_from_slice(&word(index)[..chunk.len()]);
    }
}

/// Writes a stream of so many bytes (header included) and ends it.
pub(super) fn send(to: SocketAddr, bytes: u64) -> JoinHandle<Result<()>> {
    thread::spawn(move || {
        let mut stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
        stream.set_write_timeout(Some(IO_LIMIT)).context("cannot set a timeout")?;
        let mut buffer = vec![0; 1 << 16];
        let mut offset = 0;
        while offset < bytes {
            let length = (bytes - offset).min(buffer.len() as u64) as usize;
            fill(&mut buffer[..length], offset);
            stream.write_all(&buffer[..length]).with_context(|| format!("cannot send to {to}"))?;
            offset += length as u64;
        }
        Ok(())
    })
}

/// The consumer behind zcrxd's sink `forward`, with a tap.
pub(super) struct Reader {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Shared {
    open: AtomicBool,
    ended: AtomicBool,
    bytes: AtomicU64,
}

impl Reader {
    /// Listens, and expects one stream; reads nothing until the tap is opened.
    pub(super) fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr().context("cannot read the address of a listener")?;
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.read(&listener)
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Begins or goes on to read.
    pub(super) fn open(&self) {
        self.shared.open.store(true, Ordering::Release);
    }

    /// How much of the stream was read and was as expected.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Acquire)
    }

    /// Returns the first error, if there was one; does not wait for the end of the stream.
    pub(super) fn end(mut self) -> Result<()> {
        self.shared.ended.store(true, Ordering::Release);
        let thread = self.thread.take().context("the reader was ended before")?;
        thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    }
}

impl Shared {
    fn read(&self, listener: &TcpListener) -> Result<()> {
        // Not blocking, so that a demo that ends early does not wait for a connection that never comes.
        listener.set_nonblocking(true).context("cannot change a listener")?;
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.ended.load(Ordering::Acquire) {
                        return Ok(());
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error).context("cannot accept a connection"),
            }
        };
        stream.set_nonblocking(false).context("cannot change a connection")?;
        stream.set_read_timeout(Some(Duration::from_millis(200))).context("cannot set a timeout")?;
        let mut received = vec![0; 1 << 16];
        let mut expected = received.clone();
        let mut offset = 0_u64;
        while !self.ended.load(Ordering::Acquire) {
            if !self.open.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            let count = match stream.read(&mut received) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => return Err(error).context("cannot read what zcrxd forwards"),
            };
            let (received, expected) = (&received[..count], &mut expected[..count]);
            fill(expected, offset);
            if let Some(at) =
                received.iter().zip(&*expected).position(|(received, expected)| received != expected)
            {
                bail!("byte {} of what zcrxd forwards is not what was sent", offset + at as u64);
            }
            offset += count as u64;
            self.bytes.store(offset, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_stream_is_the_same_wherever_it_is_cut() {
        let mut whole = [0; 64];
        fill(&mut whole, 0);
        assert_eq!(&whole[..8], MAGIC);
        for start in 0..whole.len() {
            for end in start..whole.len() {
                let mut part = vec![0; end - start];
                fill(&mut part, start as u64);
                assert_eq!(part, whole[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 0, as published with the algorithm; each step adds the constant to the seed.
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn a_reader_takes_the_stream_once_its_tap_is_open() -> Result<()> {
        let reader = Reader::listen()?;
        let sender = send(reader.address, 100_001);
        assert_eq!(reader.bytes(), 0);
        reader.open();
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let begin = Instant::now();
        while reader.bytes() < 100_001 && begin.elapsed() < IO_LIMIT {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(reader.bytes(), 100_001);
        reader.end()
    }

    #[test]
    fn a_wrong_byte_is_noticed() -> Result<()> {
        let reader = Reader::listen()?;
        reader.open();
        let mut stream = TcpStream::connect(reader.address)?;
        let mut bytes = [0; 24];
        fill(&mut bytes, 0);
        bytes[17] ^= 1;
        stream.write_all(&bytes)?;
        drop(stream);
        let Some(thread) = &reader.thread else { bail!("there is no thread") };
        while !thread.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let error = reader.end().err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("byte 17 of what zcrxd forwards is not what was sent"));
        Ok(())
    }
}
