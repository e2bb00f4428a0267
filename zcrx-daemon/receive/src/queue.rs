//! A registered interface queue.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::fd::RawFd;
use std::sync::Arc;

use io_uring::{cqueue, opcode, squeue, types};
use zcrx_uapi::zcrx::{
    IO_RQ_MAX_ENTRIES, IORING_MEM_REGION_TYPE_USER, IORING_ZCRX_AREA_MASK, ZCRX_REG_NODEV,
};
use zcrx_uapi::{RegionDesc, ZcrxAreaReg, ZcrxIfqReg, ZcrxRqe, register};

use crate::memory::{Mapping, page_bytes, whole_pages};
use crate::refill::{MappedRing, Producer};

/// Parameters of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Index of the network interface, as `if_nametoindex(3)` returns it.
    pub ifindex: u32,
    /// Index of its hardware receive queue.
    pub rx_queue: u32,
    /// Size of the area that receives the payload, bytes, rounded up to whole pages.
    pub area_bytes: usize,
    /// Entries of the refill ring, rounded up to a power of two; at most 32768.
    pub refill_entries: u32,
    /// Registers a queue without a device: the kernel copies all payload (Linux 7.1). For tests.
    pub nodev: bool,
}

/// Payload of one completion: a buffer, or part of one, that this program holds.
///
/// Neither `Copy` nor `Clone`: the program returns a buffer once, by [`Queue::give_back`]. A buffer that the program drops
/// instead stays lost until the queue is torn down.
#[derive(Debug)]
#[must_use = "a buffer that is not returned is lost"]
pub struct Buffer {
    off: u64,
    len: u32,
}

impl Buffer {
    /// Length of the payload, bytes.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no payload. The kernel sends no such completion.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Meaning of a receive's completion. The receive continues if, and only if, `IORING_CQE_F_MORE` is set.
#[derive(Debug)]
pub enum Completion {
    /// Payload.
    Payload(Buffer),
    /// The sender has ended the stream.
    End,
    /// The receive ended and should be armed again: at once for ENOSPC, once the completion queue is empty; after a pause for
    /// ENOMEM, when payload had to be copied and no buffer was free. The positive errno.
    Again(i32),
    /// The program cannot receive from the connection. The positive errno.
    Failed(i32),
}

/// A hardware receive queue that delivers into this program's memory.
///
/// Must be dropped after the ring, which closes the queue: the kernel writes to the area as long as the ring is open.
#[derive(Debug)]
pub struct Queue {
    id: u32,
    area: Mapping,
    token: u64,
    refill: Producer<MappedRing>,
}

impl Queue {
    /// Registers a queue on a ring of the calling thread.
    ///
    /// Errors: EPERM without CAP_NET_ADMIN in the initial user namespace; EINVAL where header split is off or the kernel has
    /// no zcrx; EEXIST where the queue has a provider already; ENOMEM above RLIMIT_MEMLOCK; and the others that
    /// `zcrx_uapi::registration::explain` knows.
    pub fn register(ring: BorrowedFd<'_>, options: &Options) -> io::Result<Self> {
        let area = Mapping::new(options.area_bytes)?;
        // The registration reports the size of the ring's header; one page is large enough for any header.
        let entries = options.refill_entries.clamp(1, IO_RQ_MAX_ENTRIES).next_power_of_two();
        let region_bytes = whole_pages(page_bytes() + entries as usize * size_of::<ZcrxRqe>());
        let region = Arc::new(Mapping::new(region_bytes.ok_or(io::ErrorKind::InvalidInput)?)?);
        let mut area_reg =
            ZcrxAreaReg { addr: area.address(), len: area.bytes() as u64, ..ZcrxAreaReg::default() };
        let mut region_desc = RegionDesc {
            user_addr: region.address(),
            size: region.bytes() as u64,
            flags: IORING_MEM_REGION_TYPE_USER,
            ..RegionDesc::default()
        };
        let mut reg = ZcrxIfqReg { rq_entries: entries, ..ZcrxIfqReg::default() };
        if options.nodev {
            reg.flags = ZCRX_REG_NODEV;
        } else {
            (reg.if_idx, reg.if_rxq) = (options.ifindex, options.rx_queue);
        }
        // SAFETY: area and region belong to the queue, whose owner drops it after the ring; the kernel pins their pages on
        // as well. No other code uses them.
        unsafe { register::zcrx_ifq(ring, &mut reg, &mut area_reg, &mut region_desc, None) }?;
        let refill = MappedRing::new(region, &reg.offsets, reg.rq_entries).map_err(io::Error::other)?;
        let token = area_reg.rq_area_token;
        Ok(Self { id: reg.zcrx_id, area, token, refill: Producer::new(refill) })
    }

    /// The request that receives from a connected TCP socket until its completion has no `IORING_CQE_F_MORE`. Set its user
    /// data before submitting it.
    pub fn receive(&self, socket: RawFd) -> squeue::Entry {
        opcode::RecvZc::new(types::Fd(socket), 0).ifq(self.id).build()
    }

    /// Reads a completion of [`Self::receive`].
    pub fn completion(&self, cqe: &cqueue::Entry32) -> Completion {
        match cqe.result() {
            0 => Completion::End,
            length @ 1.. => {
                let [off, _] = *cqe.big_cqe();
                let end = (off & !IORING_ZCRX_AREA_MASK).checked_add(length as u64);
                // Memory outside the area: the kernel is faulty.
                if off & IORING_ZCRX_AREA_MASK != self.token
                    || end.is_none_or(|end| end > self.area.bytes() as u64)
                {
                    return Completion::Failed(libc::EFAULT);
                }
                Completion::Payload(Buffer { off, len: length as u32 })
            }
            error => match error.checked_neg().unwrap_or(libc::EIO) {
                errno @ (libc::ENOSPC | libc::ENOMEM | libc::EAGAIN | libc::EINTR) => {
                    Completion::Again(errno)
                }
                errno => Completion::Failed(errno),
            },
        }
    }

    /// The payload.
    pub fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        let offset = (buffer.off & !IORING_ZCRX_AREA_MASK) as usize;
        // SAFETY: `completion` checked that the range is inside the area, which is mapped as long as `self`. The kernel writes to
        // it again only after the program has published the buffer's entry, and returning takes the buffer.
        unsafe { std::slice::from_raw_parts(self.area.start().add(offset).as_ptr(), buffer.len()) }
    }

    /// Returns a buffer. The kernel sees the entry after [`Self::publish`].
    #[expect(clippy::needless_pass_by_value, reason = "taking the buffer is what makes giving it back final")]
    pub fn give_back(&mut self, buffer: Buffer) {
        self.refill.push(ZcrxRqe { off: buffer.off, len: buffer.len, ..ZcrxRqe::default() });
    }

    /// Publishes returned buffers. Returns the number of entries that still wait because the refill ring is full: publish
    /// again after the next wait, or [`Self::flush`].
    pub fn publish(&mut self) -> usize {
        self.refill.publish();
        self.refill.stashed()
    }

    /// Asks the kernel to consume the refill ring now (Linux 6.19): where receives fail with ENOMEM although entries wait, and
    /// on a queue without a device, whose ring the kernel does not consume otherwise.
    pub fn flush(&self, ring: BorrowedFd<'_>) -> io::Result<()> {
        register::zcrx_flush_rq(ring, self.id)
    }
}
