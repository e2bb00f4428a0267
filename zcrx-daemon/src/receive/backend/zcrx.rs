//! The kernel's zcrx, with a device and without.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use super::area::Area;
use super::{Backend, Completion};
use crate::model::{BackendKind, Refusal};
use crate::receive::config::QueueConfig;
use crate::receive::mapping::{Mapping, page_bytes};
use crate::receive::pool::Pool;
use crate::receive::refill::MappedRing;
use crate::receive::ring::Ring;
use crate::uapi::zcrx::{ZCRX_CTRL_FLUSH_RQ, ZCRX_EVENT_DESC_FLAG_STATS, ZCRX_REG_NODEV};
use crate::uapi::{ZcrxCqe, ZcrxEventDesc, ZcrxIfqReg, ZcrxStats, query, register, registration};

/// The kernel takes its time to let go of a queue whose ring was closed: until then it is EEXIST to the next one.
const BUSY_ATTEMPTS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// An interface queue of the kernel.
pub(super) struct ZcrxBackend {
    kind: BackendKind,
    zcrx_id: u32,
    /// Whether the kernel can be told to consume the refill ring (Linux 6.19).
    can_flush: bool,
    flushes: u64,
    /// Entries in the refill ring at which a device-less queue, which nobody consumes by itself, is flushed.
    flush_at: u32,
    stats: Option<Stats>,
}

/// The kernel's own statistics, in the refill region (Linux 7.2).
struct Stats {
    region: Arc<Mapping>,
    offset: usize,
}

impl ZcrxBackend {
    /// Registers the hardware queue that `config` names.
    pub(super) fn register_device(
        ring: &Ring,
        config: &QueueConfig,
        interface: &str,
        ifindex: u32,
    ) -> Result<(Self, Pool), Refusal> {
        let reg = ZcrxIfqReg { if_idx: ifindex, if_rxq: config.queue, ..ZcrxIfqReg::default() };
        let step = format!("register interface queue {interface}:{}", config.queue);
        Self::register(ring, config, BackendKind::Device, reg, &step)
    }

    /// Registers a queue without a device.
    pub(super) fn register_nodev(ring: &Ring, config: &QueueConfig) -> Result<(Self, Pool), Refusal> {
        let reg = ZcrxIfqReg { flags: ZCRX_REG_NODEV, ..ZcrxIfqReg::default() };
        Self::register(ring, config, BackendKind::Nodev, reg, "register an interface queue without a device")
    }

    fn register(
        ring: &Ring,
        config: &QueueConfig,
        kind: BackendKind,
        mut reg: ZcrxIfqReg,
        step: &str,
    ) -> Result<(Self, Pool), Refusal> {
        let refuse = |error: &io::Error| {
            let explain = match kind {
                BackendKind::Nodev => registration::Kind::Nodev,
                BackendKind::Device | BackendKind::Copy => registration::Kind::Device,
            };
            let explanation = registration::explain(error.raw_os_error().unwrap_or(0), explain);
            Refusal {
                backend: kind,
                step: step.to_owned(),
                errno: error.raw_os_error(),
                reason: explanation.meaning.to_owned(),
                mend: explanation.mend.to_owned(),
            }
        };
        let mut area = Area::new(config, size_of::<ZcrxStats>()).map_err(|error| refuse(&error))?;
        reg.rq_entries = config.refill_entries;
        let stats_offset = area.region.bytes() - size_of::<ZcrxStats>();
        let mut events = query::zcrx_event()
            .is_ok_and(|event| event.stats_size >= size_of::<ZcrxStats>() as u32)
            .then(|| ZcrxEventDesc {
                flags: ZCRX_EVENT_DESC_FLAG_STATS,
                stats_offset: stats_offset as u64,
                ..ZcrxEventDesc::default()
            });
        let mut attempts = 0;
        loop {
            // SAFETY: area and region stay mapped until the ring is gone: the pool and the backend own them, and
            // whoever owns these drops the ring first. The kernel pins the pages on top of that.
            let result = unsafe {
                register::zcrx_ifq(ring.fd(), &mut reg, &mut area.reg, &mut area.region_desc, events.as_mut())
            };
            match result {
                Ok(()) => break,
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) && attempts < BUSY_ATTEMPTS => {
                    attempts += 1;
                    thread::sleep(BUSY_PAUSE);
                }
                Err(error) => return Err(refuse(&error)),
            }
        }

        let refill =
            MappedRing::new(Arc::clone(&area.region), &reg.offsets, reg.rq_entries).map_err(|error| {
                Refusal {
                    backend: kind,
                    step: step.to_owned(),
                    errno: None,
                    reason: format!("the kernel answered a geometry that makes no sense: {error}"),
                    mend: "report this, with the kernel's version".to_owned(),
                }
            })?;
        // Before Linux 7.0 the kernel does not write the buffer size back: it is the page size.
        let buffer_bytes = if reg.rx_buf_len == 0 { page_bytes() as u64 } else { u64::from(reg.rx_buf_len) };
        let buffers = u32::try_from(area.memory.bytes() as u64 / buffer_bytes).unwrap_or(u32::MAX);
        let backend = Self {
            kind,
            zcrx_id: reg.zcrx_id,
            can_flush: query::zcrx().is_ok_and(|zcrx| zcrx.nr_ctrl_opcodes > ZCRX_CTRL_FLUSH_RQ),
            flushes: 0,
            flush_at: (reg.rq_entries.min(buffers) / 4).max(1),
            stats: events.map(|_| Stats { region: Arc::clone(&area.region), offset: stats_offset }),
        };
        Ok((backend, Pool::new(area.memory, refill, area.reg.rq_area_token, buffer_bytes)))
    }

    /// Whether the kernel should be told to consume the refill ring now.
    fn wants_flush(&self, pool: &Pool, waiting: usize) -> bool {
        let depth = pool.refill_depth();
        // Waiting receives found the freelist empty while entries are parked: without a flush they would wait for
        // ever on a queue whose page pool is idle. And a ring that is full cannot take what is stashed.
        let parked = depth > 0 && (waiting > 0 || pool.stashed() > 0);
        self.can_flush && (parked || (self.kind == BackendKind::Nodev && depth >= self.flush_at))
    }
}

impl Backend for ZcrxBackend {
    fn receive(&self, socket: RawFd) -> squeue::Entry {
        // Length 0: no cap.
        opcode::RecvZc::new(types::Fd(socket), 0).ifq(self.zcrx_id).build()
    }

    fn completion(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Completion {
        let result = cqe.result();
        match result {
            1.. => {
                let [off, pad] = *cqe.big_cqe();
                let data = ZcrxCqe { off, __pad: pad };
                pool.dispense(data.off, result as u32)
                    .map_or(Completion::Failed(libc::EFAULT), Completion::Data)
            }
            0 => Completion::End,
            _ => match result.checked_neg().unwrap_or(libc::EIO) {
                libc::ENOSPC => Completion::QueueFull,
                libc::ENOMEM => Completion::NoBuffers(libc::ENOMEM),
                libc::EAGAIN | libc::EINTR => Completion::Nothing,
                errno => Completion::Failed(errno),
            },
        }
    }

    fn settle(&mut self, ring: &Ring, pool: &mut Pool, waiting: usize) -> io::Result<usize> {
        if !self.wants_flush(pool, waiting) {
            return Ok(0);
        }
        register::zcrx_flush_rq(ring.fd(), self.zcrx_id)?;
        self.flushes += 1;
        pool.publish();
        Ok(waiting)
    }

    fn retries_by_time(&self) -> bool {
        true
    }

    fn starvations(&self) -> Option<u64> {
        None
    }

    fn flushes(&self) -> Option<u64> {
        self.can_flush.then_some(self.flushes)
    }

    fn starving(&self) -> bool {
        false
    }

    fn copied_bytes(&self, received: u64) -> Option<u64> {
        match (self.kind, &self.stats) {
            (BackendKind::Nodev | BackendKind::Copy, _) => Some(received),
            (BackendKind::Device, stats) => stats.as_ref().map(Stats::copied_bytes),
        }
    }
}

impl Stats {
    fn copied_bytes(&self) -> u64 {
        let field = self.offset + std::mem::offset_of!(ZcrxStats, copy_bytes);
        // SAFETY: the field is inside the region, which `self` keeps mapped, and aligned: the region's size and the
        // structure's are multiples of 8. The kernel writes it in one piece; user space only reads.
        let copied = unsafe { self.region.start().add(field).cast::<AtomicU64>().as_ref() };
        copied.load(Ordering::Relaxed)
    }
}

/// The index of an interface in this network namespace.
pub(super) fn ifindex(interface: &str) -> Option<u32> {
    let name = CString::new(interface).ok()?;
    // SAFETY: the name is a terminated string that lives to the end of the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}
