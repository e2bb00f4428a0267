//! A registered zcrx queue: its area, its refill ring, and the ring it belongs to.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Args;
use io_uring::{IoUring, cqueue, squeue};
use zcrx_uapi::{
    QueryZcrxEvent, RegionDesc, ZcrxAreaReg, ZcrxCtrl, ZcrxEventDesc, ZcrxIfqReg, ZcrxRqe, ZcrxStats, query,
    register, zcrx,
};

use crate::mapping::Mapping;
use crate::refill::{Batch, RefillRing};

/// A ring with 32-byte completions, as zcrx needs.
pub(crate) type Ring = IoUring<squeue::Entry, cqueue::Entry32>;

/// `user_data` of the queue's event completions; sockets have small numbers.
pub(crate) const EVENT_USER_DATA: u64 = u64::MAX;

/// What to register.
#[derive(Args, Clone, Debug)]
pub(crate) struct QueueArgs {
    /// Interface to register a queue of; without one, a queue without a device (Linux 7.1).
    #[arg(long)]
    pub(crate) interface: Option<String>,
    /// Index of the receive queue.
    #[arg(long, default_value_t = 0)]
    pub(crate) queue: u32,
    /// Buffers in the area [default: 1024; 64 with the fault small-area].
    #[arg(long)]
    pub(crate) area_buffers: Option<u32>,
    /// Bytes per buffer, a power of two of at least a page (Linux 7.0) [default: a page].
    #[arg(long)]
    pub(crate) buffer_bytes: Option<u32>,
    /// Entries of the refill ring [default: 1024; 64 with the fault ring-overflow].
    #[arg(long)]
    pub(crate) refill_entries: Option<u32>,
    /// Entries of the completion queue.
    #[arg(long, default_value_t = 4096)]
    pub(crate) cq_entries: u32,
}

impl QueueArgs {
    pub(crate) fn area_buffers(&self) -> u32 {
        self.area_buffers.unwrap_or(1024)
    }

    pub(crate) fn refill_entries(&self) -> u32 {
        self.refill_entries.unwrap_or(1024)
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes.map_or_else(rustix::param::page_size, |bytes| bytes as usize)
    }

    /// The interface's index and the registration flags.
    pub(crate) fn device(&self) -> anyhow::Result<(u32, u32)> {
        let Some(name) = &self.interface else { return Ok((0, zcrx::ZCRX_REG_NODEV)) };
        let index = if_index(name).with_context(|| format!("interface {name}"))?;
        Ok((index, 0))
    }

    pub(crate) fn map_area(&self) -> io::Result<Mapping> {
        let bytes = self.area_buffers() as usize * self.buffer_bytes();
        if self.buffer_bytes.is_some() { Mapping::huge(bytes) } else { Mapping::new(bytes) }
    }
}

fn if_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a NUL-terminated string that lives to the end of the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A ring as zcrx needs it.
pub(crate) fn new_ring(cq_entries: u32) -> io::Result<Ring> {
    let mut builder = Ring::builder();
    builder.setup_clamp().setup_single_issuer().setup_defer_taskrun().setup_cqsize(cq_entries);
    // The kernel refuses a submission queue larger than the completion queue.
    builder.build(cq_entries.min(256))
}

/// Bytes of a region for a refill ring of `entries`, its header and its statistics, in whole pages.
pub(crate) fn region_bytes(entries: u32) -> usize {
    let page = rustix::param::page_size();
    let ring = entries.checked_next_power_of_two().unwrap_or(entries) as usize * size_of::<ZcrxRqe>();
    // A page for the header and one for the statistics.
    page + ring.next_multiple_of(page) + page
}

/// The area's token, which marks the refill entries of its buffers.
#[derive(Clone, Copy)]
pub(crate) struct Token(u64);

impl Token {
    /// The refill entry that returns one completion's data.
    pub(crate) fn entry(self, off: u64, bytes: u32) -> ZcrxRqe {
        ZcrxRqe { off: (off & !zcrx::IORING_ZCRX_AREA_MASK) | self.0, len: bytes, ..ZcrxRqe::default() }
    }
}

/// One registered queue.
pub(crate) struct Queue {
    pub(crate) zcrx_id: u32,
    pub(crate) refill: RefillRing,
    pub(crate) buffer_bytes: usize,
    pub(crate) buffers: u32,
    stats: Option<NonNull<ZcrxStats>>,
    // Declared last: dropped after everything that points into them.
    areas: Vec<Area>,
    _region: Mapping,
}

/// Memory that payload lands in.
struct Area {
    buffers: u32,
    token: u64,
    memory: Mapping,
}

impl Queue {
    /// Registers the queue that `args` describe with `ring`.
    pub(crate) fn register(ring: &impl AsFd, args: &QueueArgs) -> anyhow::Result<Self> {
        let (if_idx, flags) = args.device()?;
        let area = args.map_area().context("mapping the area")?;
        let region_bytes = region_bytes(args.refill_entries());
        let region = Mapping::new(region_bytes).context("mapping the refill ring")?;

        let mut area_reg = ZcrxAreaReg {
            addr: area.address(),
            len: u64::from(args.area_buffers()) * args.buffer_bytes() as u64,
            ..ZcrxAreaReg::default()
        };
        let mut region_desc = RegionDesc {
            user_addr: region.address(),
            size: region_bytes as u64,
            flags: zcrx::IORING_MEM_REGION_TYPE_USER,
            ..RegionDesc::default()
        };
        let mut reg = ZcrxIfqReg {
            if_idx,
            if_rxq: args.queue,
            rq_entries: args.refill_entries(),
            flags,
            rx_buf_len: args.buffer_bytes.unwrap_or(0),
            ..ZcrxIfqReg::default()
        };
        let mut events = query::zcrx_event().ok().map(|known| event_desc(&known, region_bytes));
        // SAFETY: both mappings are kept by the value returned, and used for nothing else; pages that the kernel
        // still writes to after that are pinned by it.
        unsafe {
            register::zcrx_ifq(ring.as_fd(), &mut reg, &mut area_reg, &mut region_desc, events.as_mut())
        }
        .with_context(|| format!("registering queue {} of {}", args.queue, args.interface_or_none()))?;

        // SAFETY: the kernel accepted the offset, which lies within the region.
        let stats = events.map(|events| unsafe { region.start().add(events.stats_offset as usize).cast() });
        // SAFETY: what the registration answered for this region, which the queue keeps; the only producer.
        let refill = unsafe { RefillRing::new(region.start(), &reg.offsets, reg.rq_entries) };
        Ok(Self {
            zcrx_id: reg.zcrx_id,
            refill,
            buffer_bytes: args.buffer_bytes(),
            buffers: args.area_buffers(),
            stats,
            areas: vec![Area { buffers: args.area_buffers(), token: area_reg.rq_area_token, memory: area }],
            _region: region,
        })
    }

    /// Adds an area. Linux 7.3.
    pub(crate) fn add_area(
        &mut self,
        buffers: u32,
        add: impl FnOnce(&mut ZcrxAreaReg) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let bytes = buffers as usize * self.buffer_bytes;
        let memory = Mapping::new(bytes).context("mapping an area")?;
        let mut area = ZcrxAreaReg { addr: memory.address(), len: bytes as u64, ..ZcrxAreaReg::default() };
        add(&mut area).context("adding an area")?;
        self.areas.push(Area { buffers, token: area.rq_area_token, memory });
        self.buffers += buffers;
        Ok(())
    }

    /// Buffers of each area.
    pub(crate) fn area_sizes(&self) -> impl Iterator<Item = u32> {
        self.areas.iter().map(|area| area.buffers)
    }

    /// Makes a file descriptor that another ring could import.
    pub(crate) fn export(&self, ring: &Ring) -> anyhow::Result<OwnedFd> {
        let mut ctrl = ZcrxCtrl::export(self.zcrx_id);
        // SAFETY: this operation points to nothing.
        unsafe { register::zcrx_ctrl(ring.as_fd(), &mut ctrl) }.context("exporting the queue")?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(ctrl.exported_fd()) })
    }

    /// The data of one completion: `off` is the completion's, `bytes` its result.
    pub(crate) fn data(&self, off: u64, bytes: usize) -> anyhow::Result<&[u8]> {
        let (area, _) = self.area_of(off).with_context(|| format!("the kernel named no area: {off:#x}"))?;
        let start = (off & !zcrx::IORING_ZCRX_AREA_MASK) as usize;
        let end = start.checked_add(bytes).filter(|end| *end <= area.buffers as usize * self.buffer_bytes);
        anyhow::ensure!(end.is_some(), "the kernel named {bytes} bytes at {start}, outside the area");
        // SAFETY: within the area, and the kernel does not write there before the buffer is returned, which needs
        // `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(area.memory.start().add(start).as_ptr(), bytes) })
    }

    /// The area that an offset names, and the index of its first buffer. Token and completion name an area alike.
    fn area_of(&self, off: u64) -> Option<(&Area, usize)> {
        let mut first = 0;
        for area in &self.areas {
            if off & zcrx::IORING_ZCRX_AREA_MASK == area.token {
                return Some((area, first));
            }
            first += area.buffers as usize;
        }
        None
    }

    /// The index of the buffer that a completion's data is in, counted over all areas.
    pub(crate) fn buffer_of(&self, off: u64) -> usize {
        let first = self.area_of(off).map_or(0, |(_, first)| first);
        first + (off & !zcrx::IORING_ZCRX_AREA_MASK) as usize / self.buffer_bytes
    }

    /// The refill entry that returns one completion's data.
    pub(crate) fn entry(off: u64, bytes: u32) -> ZcrxRqe {
        Token(off & zcrx::IORING_ZCRX_AREA_MASK).entry(off, bytes)
    }

    /// What entries of the first area are made with, and a batch of them that is published when it is dropped.
    pub(crate) fn returns(&mut self) -> (Token, Batch<'_>) {
        (Token(self.areas[0].token), self.refill.batch())
    }

    /// The buffers named by entries that the kernel has not taken yet; entries that name none are left out.
    pub(crate) fn buffers_in_refill_ring(&self) -> impl Iterator<Item = usize> {
        let entries = self.refill.pending_entries().filter(|entry| self.area_of(entry.off).is_some());
        entries.map(|entry| self.buffer_of(entry.off)).filter(|&buffer| buffer < self.buffers as usize)
    }

    /// What the kernel counted as copied: fragments and bytes. Linux 7.2.
    pub(crate) fn copied(&self) -> Option<(u64, u64)> {
        let stats = self.stats?.as_ptr();
        // SAFETY: two aligned u64 in the live region, which the kernel updates meanwhile.
        unsafe {
            Some((
                AtomicU64::from_ptr(&raw mut (*stats).copy_count).load(Ordering::Relaxed),
                AtomicU64::from_ptr(&raw mut (*stats).copy_bytes).load(Ordering::Relaxed),
            ))
        }
    }
}

impl QueueArgs {
    fn interface_or_none(&self) -> &str {
        self.interface.as_deref().unwrap_or("no device")
    }
}

/// Both events, and statistics in the region's last page.
fn event_desc(known: &QueryZcrxEvent, region_bytes: usize) -> ZcrxEventDesc {
    ZcrxEventDesc {
        user_data: EVENT_USER_DATA,
        type_mask: known.event_flags & (1 << zcrx::ZCRX_EVENT_ALLOC_FAIL | 1 << zcrx::ZCRX_EVENT_COPY),
        flags: zcrx::ZCRX_EVENT_DESC_FLAG_STATS,
        stats_offset: (region_bytes - rustix::param::page_size()) as u64,
        ..ZcrxEventDesc::default()
    }
}
