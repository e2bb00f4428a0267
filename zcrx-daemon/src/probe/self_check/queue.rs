//! A small queue without a device, whose figures are moved to values that differ from each other.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::net::sockopt;
use zcrx_receive::{Buffer, Completion, Options, Queue};
use zcrx_uapi::query;
use zcrx_uapi::zcrx::ZCRX_REG_NODEV;

/// Buffers of the area.
const BUFFERS: usize = 32;
/// Entries of the refill ring.
const REFILL_ENTRIES: u32 = 16;
/// Entries of the completion queue.
const CQ_ENTRIES: u32 = 64;
/// Pages that are received: at least one buffer each.
const PAGES: usize = 8;
/// Completions that are left unread.
const UNREAD: u64 = 3;
/// Bytes that are left in a socket: less than one takes.
const UNREAD_BYTES: usize = 15_005;
/// `user_data` of the receive, and of requests that do nothing.
const RECEIVE: u64 = 1;
const NOTHING: u64 = 2;
/// How long data may take through the loopback.
const LIMIT: Duration = Duration::from_secs(5);

type Ring = IoUring<squeue::Entry, cqueue::Entry32>;

/// What a snapshot must show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    pub(super) refill_entries: u64,
    pub(super) refill_head: u64,
    pub(super) refill_tail: u64,
    pub(super) buffers: u64,
    /// Buffers that user space holds or has returned without the kernel having looked.
    pub(super) user_buffers: u64,
    pub(super) buffer_bytes: u64,
    /// Payload received, all of it copied: there is no device.
    pub(super) received_bytes: u64,
    /// Buffers that the payload is in.
    pub(super) received_buffers: u64,
    pub(super) cq_entries: u64,
    pub(super) cq_unread: u64,
    pub(super) tid: u64,
    /// Receive buffers of the queue's four sockets together.
    pub(super) socket_limits: u64,
    /// A socket that is read by nobody: descriptor, local port, peer and what waits in it.
    pub(super) unread: UnreadSocket,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UnreadSocket {
    pub(super) fd: u32,
    pub(super) port: u64,
    pub(super) peer: SocketAddr,
    pub(super) bytes: u64,
}

/// The queue, with what keeps it alive.
pub(super) struct CheckQueue {
    // Declared first: the ring closes the queue before the queue's memory goes.
    ring: Ring,
    _queue: Queue,
    _held: Vec<Buffer>,
    _ends: [(TcpStream, TcpStream); 2],
    truth: Truth,
}

impl CheckQueue {
    /// Registers the queue, receives into it, returns some buffers and leaves some completions unread.
    pub(super) fn prepare() -> Result<Self, String> {
        // The query counts as no refused registration, as a trial would.
        if !query::zcrx().is_ok_and(|zcrx| zcrx.register_flags & u64::from(ZCRX_REG_NODEV) != 0) {
            return Err("this kernel has no queue without a device (Linux 7.1)".to_owned());
        }
        let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let mut builder = Ring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(CQ_ENTRIES);
        let mut ring = builder.build(8).map_err(step("no ring"))?;
        // SAFETY: the descriptor is the ring's, which outlives this borrow: the ring is moved into the value returned.
        let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        let page = zcrx_receive::memory::page_bytes();
        let options = Options {
            ifindex: 0,
            rx_queue: 0,
            area_bytes: BUFFERS * page,
            refill_entries: REFILL_ENTRIES,
            nodev: true,
        };
        let mut queue =
            Queue::register(fd, &options).map_err(step("no queue without a device can be registered"))?;
        let (mut sender, receiver) = connection().map_err(step("no connection through the loopback"))?;
        sender.write_all(&vec![0; PAGES * page]).map_err(step("no data through the loopback"))?;
        submit(&mut ring, &queue.receive(receiver.as_raw_fd()).user_data(RECEIVE))?;
        let mut held = receive(&mut ring, &queue, PAGES * page)?;
        let delivered = held.len() as u64;
        // One buffer goes all the way back, two are returned and the kernel has not looked.
        let mut give_back = |count: usize, queue: &mut Queue| {
            held.drain(..count).for_each(|buffer| queue.give_back(buffer));
            queue.publish()
        };
        give_back(1, &mut queue);
        queue.flush(fd).map_err(step("no flush"))?;
        give_back(2, &mut queue);
        for _ in 0..UNREAD {
            submit(&mut ring, &opcode::Nop::new().build().user_data(NOTHING))?;
        }
        let (mut speaker, deaf) = connection().map_err(step("no connection through the loopback"))?;
        let unread = leave_unread(&mut speaker, &deaf).map_err(step("no data through the loopback"))?;
        let ends = [(sender, receiver), (speaker, deaf)];
        let limits = ends.iter().flat_map(|(one, other)| [one, other]).map(sockopt::socket_recv_buffer_size);
        let limits =
            limits.sum::<Result<usize, _>>().map_err(|error| step("no size of a socket")(error.into()))?;
        let truth = Truth {
            refill_entries: REFILL_ENTRIES.into(),
            refill_head: 1,
            refill_tail: 3,
            buffers: BUFFERS as u64,
            user_buffers: delivered - 1,
            buffer_bytes: page as u64,
            received_bytes: (PAGES * page) as u64,
            received_buffers: delivered,
            cq_entries: CQ_ENTRIES.into(),
            cq_unread: UNREAD,
            tid: u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()),
            socket_limits: limits as u64,
            unread,
        };
        Ok(Self { ring, _queue: queue, _held: held, _ends: ends, truth })
    }

    /// Descriptor of the ring, by which a snapshot names it.
    pub(super) fn ring_fd(&self) -> u32 {
        self.ring.as_raw_fd().unsigned_abs()
    }

    /// What a snapshot must show.
    pub(super) const fn truth(&self) -> Truth {
        self.truth
    }
}

/// Both ends of a connection through the loopback.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = TcpStream::connect_timeout(&listener.local_addr()?, LIMIT)?;
    let (receiver, _) = listener.accept()?;
    Ok((sender, receiver))
}

/// Sends something that stays in the receiving socket. Returns when it is there.
fn leave_unread(speaker: &mut TcpStream, deaf: &TcpStream) -> io::Result<UnreadSocket> {
    speaker.write_all(&[0; UNREAD_BYTES])?;
    let deadline = Instant::now() + LIMIT;
    while rustix::io::ioctl_fionread(deaf)? < UNREAD_BYTES as u64 {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(UnreadSocket {
        fd: deaf.as_raw_fd().unsigned_abs(),
        port: deaf.local_addr()?.port().into(),
        peer: deaf.peer_addr()?,
        bytes: UNREAD_BYTES as u64,
    })
}

fn submit(ring: &mut Ring, entry: &squeue::Entry) -> Result<(), String> {
    // SAFETY: the request points to no memory but the queue's area, which outlives the ring.
    unsafe { ring.submission().push(entry) }.map_err(|error| format!("no room for a request: {error}"))?;
    ring.submit().map(drop).map_err(|error| format!("no request: {error}"))
}

/// Receives so many bytes. Returns the buffers that they are in.
fn receive(ring: &mut Ring, queue: &Queue, bytes: usize) -> Result<Vec<Buffer>, String> {
    let deadline = Instant::now() + LIMIT;
    let timeout = types::Timespec::from(Duration::from_millis(100));
    let arguments = types::SubmitArgs::new().timespec(&timeout);
    let mut held = Vec::new();
    let mut received = 0;
    while received < bytes {
        match ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {
                return Err(format!("no completion: {error}"));
            }
            _ => {}
        }
        for cqe in ring.completion() {
            match queue.completion(&cqe) {
                Completion::Payload(buffer) => {
                    received += buffer.len();
                    held.push(buffer);
                }
                Completion::End => return Err("the connection ended".to_owned()),
                Completion::Again(errno) | Completion::Failed(errno) => {
                    return Err(format!("a receive ended: {}", io::Error::from_raw_os_error(errno)));
                }
            }
        }
        if Instant::now() > deadline {
            return Err(format!("{received} of {bytes} bytes came through the loopback"));
        }
    }
    Ok(held)
}
