//! A bounded queue in front of the log's destination.
//!
//! A pipe that is never read, a stopped terminal and a full journal socket block a writing thread. Therefore only the thread
//! `zcrxd-log` writes there. All other threads queue their lines, or drop and count them while the queue is full.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use caps::CapSet;
use rustix::event::{PollFd, PollFlags, poll};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the destination. A line more is dropped.
const CAPACITY: usize = 1024;
/// A longer line is cut, bytes: the queue's memory has a limit too.
const LINE_MAX: usize = 16 << 10;
/// Interval at which [`LineQueue::flush`] checks what is still queued.
const FLUSH_STEP: Duration = Duration::from_millis(5);

/// Where lines end up.
pub(super) enum Destination {
    Stderr,
    /// A socket that is connected to systemd's journal.
    Journal(UnixDatagram),
}

/// Counts of the queue's lines since the start.
#[derive(Debug, Default)]
struct Counts {
    queued: AtomicU64,
    /// Written, or refused by the destination.
    done: AtomicU64,
    dropped: AtomicU64,
}

/// The queue's writing end. A clone feeds the same queue.
#[derive(Clone)]
pub(super) struct LineQueue {
    lines: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

impl LineQueue {
    /// Starts the thread that writes to `destination`.
    pub(super) fn start(destination: Destination) -> io::Result<Self> {
        let (lines, queued) = sync_channel(CAPACITY);
        let counts = Arc::new(Counts::default());
        let queue = Self { lines, counts: Arc::clone(&counts) };
        thread::Builder::new()
            .name("zcrxd-log".to_owned())
            .spawn(move || write_lines(&destination, &queued, &counts))?;
        Ok(queue)
    }

    /// Queues a line, or drops and counts it if the queue is full. Never blocks.
    pub(super) fn push(&self, mut line: Vec<u8>) {
        line.truncate(LINE_MAX);
        match self.lines.try_send(line) {
            Ok(()) => self.counts.queued.fetch_add(1, Ordering::Relaxed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all queued lines are written, at most `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let queued = self.counts.queued.load(Ordering::Relaxed);
        while self.counts.done.load(Ordering::Relaxed) < queued && Instant::now() < end {
            thread::sleep(FLUSH_STEP);
        }
    }
}

/// The writer thread: the one place where zcrxd may block on its log.
fn write_lines(destination: &Destination, queued: &Receiver<Vec<u8>>, counts: &Counts) {
    give_up_capabilities();
    for line in queued {
        let written = match destination {
            Destination::Stderr => write_all(&io::stderr(), &line),
            Destination::Journal(socket) => socket.send(&line).map(drop),
        };
        if written.is_err() {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        counts.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes all capabilities from the calling thread, which was started before the others gave up theirs: it needs none.
fn give_up_capabilities() {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        // A thread that has none is refused nothing.
        caps::clear(None, set).ok();
    }
}

/// Writes to a descriptor without the lock of [`io::stderr`]: a thread that panics would wait for that lock.
fn write_all(to: &impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Another process that shares the description may have made it non-blocking.
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// One line on its way into the queue. `tracing-subscriber` writes each event in one call.
pub(super) struct Line<'a>(&'a LineQueue);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for a few lines in the socket, and no reader.
    #[test]
    fn unread_destination_drops_lines_and_blocks_nobody() -> io::Result<()> {
        let (socket, reader) = UnixDatagram::pair()?;
        let queue = LineQueue::start(Destination::Journal(socket))?;
        let lines = 5 * CAPACITY as u64;
        let begin = Instant::now();
        for number in 0..lines {
            queue.push(format!("line {number}").into_bytes());
        }
        queue.flush(Duration::from_millis(50));
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        let dropped = queue.dropped();
        assert!(dropped > 0 && dropped < lines, "{dropped} of {lines}");

        // Once the socket is read, what was queued arrives, in order and complete.
        reader.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut last = None;
        for _ in 0..lines - dropped {
            let mut line = [0; 64];
            let length = reader.recv(&mut line)?;
            let text = String::from_utf8_lossy(&line[..length]).into_owned();
            let number: u64 = text["line ".len()..].parse().map_err(io::Error::other)?;
            assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
            last = Some(number);
        }
        assert_eq!(queue.dropped(), dropped);
        Ok(())
    }

    #[test]
    fn destination_that_is_gone_is_counted() -> io::Result<()> {
        let (socket, reader) = UnixDatagram::pair()?;
        drop(reader);
        let queue = LineQueue::start(Destination::Journal(socket))?;
        queue.push(b"lost".to_vec());
        queue.flush(Duration::from_secs(10));
        assert_eq!(queue.dropped(), 1);
        Ok(())
    }
}
