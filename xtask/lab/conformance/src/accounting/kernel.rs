//! A kernel's queue without a device, fed by a TCP connection over the loopback.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail, ensure};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use zcrx_uapi::zcrx::ZCRX_REG_NODEV;
use zcrx_uapi::{ZcrxRqe, register};

use super::ENTRIES;
use crate::memory::Memory;
use crate::request::Request;

/// Bytes of a message: one buffer's worth, and no more.
const MESSAGE: [u8; 64] = [0x5a; 64];

/// How long a completion may take.
const COMPLETION_LIMIT: Timespec = Timespec::new().sec(30);

pub(super) struct KernelQueue {
    // First: closing the ring ends what the rest of the fields are used for.
    ring: IoUring<squeue::Entry, cqueue::Entry32>,
    zcrx_id: u32,
    head: NonNull<AtomicU32>,
    tail: NonNull<AtomicU32>,
    entries: NonNull<ZcrxRqe>,
    sender: TcpStream,
    receiver: TcpStream,
    is_armed: bool,
    /// A message that found no buffer waits in the socket.
    is_message_waiting: bool,
}

impl KernelQueue {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry32>::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(256);
        let ring = builder.build(8).context("setting up the ring")?;

        let memory = Memory::new(4 * rustix::param::page_size())?;
        let mut request = Request::good(memory);
        request.reg.rq_entries = ENTRIES;
        request.reg.flags = ZCRX_REG_NODEV;
        let (reg, region, area) = (&mut request.reg, &mut request.region, &mut request.area);
        // SAFETY: the memory is never unmapped, and what is registered here is its only user.
        unsafe { register::zcrx_ifq(ring.as_fd(), reg, area, region, None) }.context("registering")?;
        let at = |offset: u32| {
            // SAFETY: the kernel placed it within the region.
            unsafe { memory.region().add(offset as usize) }
        };

        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening")?;
        let sender = TcpStream::connect(listener.local_addr()?).context("connecting")?;
        sender.set_nodelay(true)?;
        let (receiver, _) = listener.accept().context("accepting")?;
        Ok(Self {
            zcrx_id: request.reg.zcrx_id,
            head: at(request.reg.offsets.head).cast(),
            tail: at(request.reg.offsets.tail).cast(),
            entries: at(request.reg.offsets.rqes).cast(),
            ring,
            sender,
            receiver,
            is_armed: false,
            is_message_waiting: false,
        })
    }

    /// One message arrives: where it was put, if there was a buffer.
    pub(super) fn receive(&mut self) -> anyhow::Result<Option<u64>> {
        self.flush()?;
        if !self.is_message_waiting {
            self.sender.write_all(&MESSAGE).context("sending")?;
        }
        if !self.is_armed {
            let receive = opcode::RecvZc::new(Fd(self.receiver.as_raw_fd()), 0).ifq(self.zcrx_id).build();
            // SAFETY: the request refers to no memory; the socket lives as long as the ring.
            unsafe { self.ring.submission().push(&receive) }.context("the submission queue is full")?;
            self.is_armed = true;
        }
        self.ring
            .submitter()
            .submit_with_args(1, &SubmitArgs::new().timespec(&COMPLETION_LIMIT))
            .context("waiting for a completion")?;
        let completion = self.ring.completion().next().context("no completion came")?;
        self.is_armed = cqueue::more(completion.flags());
        match completion.result() {
            64 => {
                self.is_message_waiting = false;
                Ok(Some(completion.big_cqe()[0]))
            }
            result if result == -libc::ENOMEM => {
                ensure!(!self.is_armed, "a receive that ended with ENOMEM claims to go on");
                self.is_message_waiting = true;
                Ok(None)
            }
            result => bail!("a receive of {} bytes ended with {result}", MESSAGE.len()),
        }
    }

    pub(super) fn publish(&mut self, entry: ZcrxRqe) -> anyhow::Result<()> {
        let (head, tail) = self.positions();
        ensure!(tail.wrapping_sub(head) < ENTRIES, "the refill ring is full");
        // SAFETY: the index is below the ring's capacity, a power of two; the slot is ours, as head is past it.
        unsafe { self.entries.add((tail % ENTRIES) as usize).write(entry) };
        // SAFETY: points into the region, which is never unmapped. Release: the entry is written before the kernel
        // sees the tail.
        unsafe { self.tail.as_ref() }.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Has the kernel consume all entries. It stops at an entry that names no buffer, and has consumed that one.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        loop {
            let (before, tail) = self.positions();
            if before == tail {
                return Ok(());
            }
            register::zcrx_flush_rq(self.ring.as_fd(), self.zcrx_id).context("FLUSH_RQ")?;
            let (after, _) = self.positions();
            ensure!(after != before, "FLUSH_RQ consumes none of {} entries", tail.wrapping_sub(before));
        }
    }

    fn positions(&self) -> (u32, u32) {
        // SAFETY: both point into the region, which is never unmapped. Acquire: what the kernel consumed may be
        // written again.
        unsafe { (self.head.as_ref().load(Ordering::Acquire), self.tail.as_ref().load(Ordering::Relaxed)) }
    }
}
