//! The kernel's zcrx, with a device and without.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};

use super::area::Area;
use super::contract::{Backend, Completion, Pause};
use super::features::Features;
use super::growth::Growth;
use super::notifications::KernelNotifications;
use super::refused::{no_such_buffers, refusal};
use super::shared::Shared;
use crate::model::{BackendKind, Fallback, Refusal, ZcrxCounts, ZcrxFeature, ZcrxSample};
use crate::receive::completion::{self, Answer};
use crate::receive::config::QueueConfig;
use crate::receive::mapping::{Mapping, page_bytes};
use crate::receive::pool::{Buffer, Pool};
use crate::receive::refill::MappedRing;
use crate::receive::ring::Ring;
use zcrx_uapi::zcrx::{ZCRX_EVENT_ALLOC_FAIL, ZCRX_REG_NODEV};
use zcrx_uapi::{ZcrxIfqReg, ZcrxOffsets, ZcrxStats, register};

/// The kernel releases the queue of a closed ring with a delay. Until then a registration fails with EEXIST.
const BUSY_ATTEMPTS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The refill ring is not flushed for waiting receives more often than this. Where copies find no buffer although the NIC
/// has plenty, flushes would follow each other at the speed of the other connections' traffic.
const FLUSH_PAUSE: Duration = Duration::from_millis(1);

/// An interface queue of the kernel.
pub(in crate::receive) struct ZcrxBackend {
    kind: BackendKind,
    zcrx_id: u32,
    features: Features,
    /// Whether zcrxd can make the kernel consume the refill ring (Linux 6.19).
    can_flush: bool,
    flushes: u64,
    /// Entries in the refill ring at which zcrxd flushes a queue without a device, because no NIC's allocations consume them.
    flush_at: u32,
    /// When the ring was last flushed for the sake of waiting receives.
    flushed_for_waiting: Option<Instant>,
    notifications: KernelNotifications,
    growth: Growth,
    area_bytes: u64,
    /// Layout of the refill ring.
    offsets: ZcrxOffsets,
}

impl ZcrxBackend {
    /// Registers the hardware queue that `config` names.
    pub(super) fn register_device(
        ring: &Ring,
        config: &QueueConfig,
        (interface, ifindex): (&str, u32),
        outlives: bool,
        pause: Pause<'_>,
    ) -> Result<(Self, Pool), Refusal> {
        let reg = ZcrxIfqReg { if_idx: ifindex, if_rxq: config.queue, ..ZcrxIfqReg::default() };
        let step = format!("register interface queue {interface}:{}", config.queue);
        Self::register(ring, config, (BackendKind::Device, outlives), reg, &step, pause)
    }

    /// Registers a queue without a device.
    pub(super) fn register_nodev(
        ring: &Ring,
        config: &QueueConfig,
        pause: Pause<'_>,
    ) -> Result<(Self, Pool), Refusal> {
        let reg = ZcrxIfqReg { flags: ZCRX_REG_NODEV, ..ZcrxIfqReg::default() };
        Self::register(
            ring,
            config,
            (BackendKind::Nodev, false),
            reg,
            "register an interface queue without a device",
            pause,
        )
    }

    fn register(
        ring: &Ring,
        config: &QueueConfig,
        (kind, outlives): (BackendKind, bool),
        mut reg: ZcrxIfqReg,
        step: &str,
        pause: Pause<'_>,
    ) -> Result<(Self, Pool), Refusal> {
        let mut features = Features::ask();
        let page = page_bytes() as u64;
        let mut buffer_bytes = config.buffer_bytes.max(page);
        if buffer_bytes > page && !features.has(ZcrxFeature::RxBufLen) {
            let reason =
                format!("buffers of {page} bytes instead of {buffer_bytes}: this kernel has no others");
            features.fall_back(ZcrxFeature::RxBufLen, reason);
            buffer_bytes = page;
        }
        let shared = outlives && features.has(ZcrxFeature::Export);
        let mut area = Area::new(config, buffer_bytes, size_of::<ZcrxStats>(), shared)
            .map_err(|error| refusal(config, kind, step, &error))?;
        let notifications = KernelNotifications::new(&features, &area.region);
        let mut events = notifications.describe(&features);
        reg.rq_entries = config.refill_entries;
        // Zero leaves it to the kernel, as kernels that know no other size insist.
        reg.rx_buf_len = if buffer_bytes > page { buffer_bytes as u32 } else { 0 };
        let mut attempts = 0;
        // The first refusal of large buffers.
        let mut refused = None;
        loop {
            // SAFETY: area and region stay mapped until the ring is gone: the pool and the backend own them, and the owner of
            // both drops the ring first. The kernel pins the pages as well.
            let result = unsafe {
                register::zcrx_ifq(ring.fd(), &mut reg, &mut area.reg, &mut area.region_desc, events.as_mut())
            };
            match result.map_err(|error| (error.raw_os_error(), error)) {
                Ok(()) => break,
                Err((Some(libc::EEXIST), _)) if attempts < BUSY_ATTEMPTS && pause(BUSY_PAUSE) => {
                    attempts += 1;
                }
                Err((Some(number @ (libc::EINVAL | libc::ERANGE | libc::EOPNOTSUPP)), _))
                    if reg.rx_buf_len != 0 =>
                {
                    refused.get_or_insert(number);
                    // A driver that has large buffers may have smaller ones.
                    let half = u64::from(reg.rx_buf_len / 2);
                    reg.rx_buf_len = if number == libc::EOPNOTSUPP || half <= page { 0 } else { half as u32 };
                }
                Err((_, error)) => return Err(refusal(config, kind, step, &error)),
            }
        }

        let senseless = |what: String| Refusal {
            backend: kind,
            step: step.to_owned(),
            errno: None,
            reason: format!("the kernel answered something that makes no sense: {what}"),
            remedy: "report this, with the kernel's version".to_owned(),
        };
        let refill = MappedRing::new(Arc::clone(&area.region), &reg.offsets, reg.rq_entries)
            .map_err(|error| senseless(error.to_string()))?;
        // Before Linux 7.0 the kernel does not write the buffer size back: it is the page size.
        let buffer_bytes = if reg.rx_buf_len == 0 { page } else { u64::from(reg.rx_buf_len) };
        if let Some(number) = refused {
            let reason = no_such_buffers(kind, config.buffer_bytes, buffer_bytes, number);
            features.fall_back(ZcrxFeature::RxBufLen, reason);
        }
        let buffers = u32::try_from(area.memory.bytes() as u64 / buffer_bytes).unwrap_or(u32::MAX);
        let mut pool = Pool::new(refill, buffer_bytes);
        pool.add_area(area.memory, area.reg.rq_area_token).map_err(|error| senseless(error.to_string()))?;
        // Some kernels have the operation and do not report it, so zcrxd tries it; on an empty ring it has no effect.
        if !features.has(ZcrxFeature::FlushRq) && register::zcrx_flush_rq(ring.fd(), reg.zcrx_id).is_ok() {
            features.found(ZcrxFeature::FlushRq);
        }
        let mut limit = config.area_max_bytes;
        if limit > pool.area_bytes() && config.workers > 1 {
            // A ring would get data in an area that its thread has not heard of yet.
            let reason = format!("the area stays at {} bytes: several threads share it", pool.area_bytes());
            features.fall_back(ZcrxFeature::AddArea, reason);
            limit = 0;
        }
        if limit > pool.area_bytes() && !features.has(ZcrxFeature::AddArea) {
            let reason = format!("the area stays at {} bytes: this kernel adds none", pool.area_bytes());
            features.fall_back(ZcrxFeature::AddArea, reason);
            limit = 0;
        }
        let backend = Self {
            kind,
            zcrx_id: reg.zcrx_id,
            can_flush: features.has(ZcrxFeature::FlushRq),
            flushes: 0,
            flush_at: (reg.rq_entries.min(buffers) / 4).max(1),
            flushed_for_waiting: None,
            notifications,
            growth: Growth::new(limit.max(pool.area_bytes()), buffer_bytes),
            area_bytes: pool.area_bytes(),
            offsets: reg.offsets,
            features,
        };
        Ok((backend, pool))
    }

    /// The side of a ring that joined.
    pub(super) fn joined(shared: &Shared, zcrx_id: u32, pool: &Pool) -> Self {
        Self {
            kind: shared.kind,
            zcrx_id,
            can_flush: shared.features.has(ZcrxFeature::FlushRq),
            flushes: 0,
            flush_at: shared.flush_at,
            flushed_for_waiting: None,
            notifications: KernelNotifications::nothing(&shared.region),
            growth: Growth::new(pool.area_bytes(), pool.buffer_bytes()),
            area_bytes: pool.area_bytes(),
            offsets: shared.offsets,
            features: shared.features.clone(),
        }
    }

    /// Exports the queue, so that another ring can join it.
    pub(super) fn export(&self, ring: &Ring) -> io::Result<OwnedFd> {
        register::zcrx_export(ring.fd(), self.zcrx_id)
    }

    /// Layout of the refill ring, its memory, and the number of entries at which it is flushed.
    pub(super) const fn refill_layout(&self) -> (ZcrxOffsets, &Arc<Mapping>, u32) {
        (self.offsets, self.notifications.region(), self.flush_at)
    }

    /// Whether the queue can outlive its process: another one can map all its memory.
    pub(super) fn is_mappable(&self, pool: &Pool) -> bool {
        self.kind == BackendKind::Device
            && self.features.has(ZcrxFeature::Export)
            && pool.areas() == 1
            && pool.first_area().is_some_and(|area| area.file().is_some())
            && self.notifications.region().file().is_some()
    }

    /// Makes the kernel consume the refill ring, which makes room for stashed entries.
    fn flush(&mut self, ring: &Ring, pool: &mut Pool) -> io::Result<()> {
        register::zcrx_flush_rq(ring.fd(), self.zcrx_id)?;
        self.flushes += 1;
        pool.publish();
        Ok(())
    }

    /// Waiting receives found the freelist empty. While entries are parked that need not mean a thing: without a flush they
    /// would wait for ever on a queue whose page pool is idle. Otherwise more memory is all that helps.
    fn provide(&mut self, ring: &Ring, pool: &mut Pool) -> io::Result<()> {
        if !self.can_flush || pool.refill_depth() == 0 {
            self.growth.want();
            return Ok(());
        }
        if self.flushed_for_waiting.is_some_and(|last| last.elapsed() < FLUSH_PAUSE) {
            return Ok(());
        }
        self.flush(ring, pool)?;
        self.flushed_for_waiting = Some(Instant::now());
        Ok(())
    }
}

impl Backend for ZcrxBackend {
    fn receive(&self, socket: RawFd) -> squeue::Entry {
        // Length 0: no cap.
        opcode::RecvZc::new(types::Fd(socket), 0).ifq(self.zcrx_id).build()
    }

    #[inline]
    fn payload(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Option<Buffer> {
        // `struct io_uring_zcrx_cqe`: the offset, and padding.
        let [off, _] = *cqe.big_cqe();
        pool.dispense(off, cqe.result() as u32).ok()
    }

    fn completion(&mut self, cqe: &cqueue::Entry32, _pool: &mut Pool) -> Completion {
        let errno = match cqe.result() {
            0 => return Completion::End,
            result => result.checked_neg().unwrap_or(libc::EIO),
        };
        match completion::answer(errno) {
            Answer::MakeRoom => Completion::QueueFull,
            Answer::FindBuffers => Completion::NoBuffers(errno),
            Answer::ArmAgain | Answer::Expected => Completion::Nothing,
            Answer::Close => Completion::Failed(errno),
        }
    }

    fn settle(&mut self, ring: &Ring, pool: &mut Pool, waiting: usize) -> io::Result<usize> {
        let depth = pool.refill_depth();
        // A full ring has no room for stashed entries. Without a device, the kernel consumes the ring only when zcrxd flushes it.
        let flush = pool.stashed() > 0 || (self.kind == BackendKind::Nodev && depth >= self.flush_at);
        if waiting > 0 {
            self.provide(ring, pool)?;
            return Ok(waiting);
        }
        if self.can_flush && depth > 0 && flush {
            self.flush(ring, pool)?;
        }
        Ok(0)
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
        match self.kind {
            BackendKind::Nodev | BackendKind::Copy => Some(received),
            BackendKind::Device => self.notifications.copies().map(|copies| copies.bytes),
        }
    }

    fn event(&mut self, ring: &Ring, pool: &mut Pool, event: u32) -> io::Result<()> {
        self.notifications.count(event);
        if event != ZCRX_EVENT_ALLOC_FAIL {
            return Ok(());
        }
        // The NIC got nothing: neither from what is stashed here, nor, up to Linux 7.2, from entries of fragments that
        // it gave up on. And if it had got that, it would still be short of memory in a moment.
        pool.publish();
        if self.can_flush && pool.refill_depth() > 0 {
            self.flush(ring, pool)?;
        }
        self.growth.want();
        Ok(())
    }

    fn wanted_area(&mut self) -> Option<(u64, u64)> {
        self.growth.wanted(self.area_bytes)
    }

    fn grow(&mut self, ring: &Ring, memory: io::Result<Mapping>, pool: &mut Pool) -> io::Result<bool> {
        let grown = self.growth.add(ring, self.zcrx_id, memory, pool);
        self.area_bytes = pool.area_bytes();
        grown
    }

    fn no_area(&mut self) {
        self.growth.no_area();
    }

    fn arm(&mut self, ring: &Ring, event: u32) -> io::Result<()> {
        match register::zcrx_arm_event(ring.fd(), self.zcrx_id, event) {
            // Armed already.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    fn share(&mut self, ring: &Ring, pool: &mut Pool) -> Result<Shared, String> {
        let exported = if self.features.has(ZcrxFeature::Export) {
            self.export(ring).map_err(|error| format!("it cannot be exported: {error}"))
        } else {
            Err("this kernel exports none".to_owned())
        };
        let exported = exported.inspect_err(|why| {
            let reason = format!("one thread for the queue instead of several: {why}");
            self.features.fallbacks.push(Fallback { feature: ZcrxFeature::Export, reason });
        })?;
        let (turn, areas) = pool.share();
        Ok(Shared {
            exported: Arc::new(exported),
            kind: self.kind,
            features: self.features.clone(),
            flush_at: self.flush_at,
            areas,
            region: Arc::clone(self.notifications.region()),
            offsets: self.offsets,
            refill: pool.refill_memory().clone(),
            buffer_bytes: pool.buffer_bytes(),
            turn,
        })
    }

    fn zcrx(&self) -> Option<ZcrxSample> {
        Some(ZcrxSample {
            offered: self.features.offered.clone(),
            fallbacks: self.features.fallbacks.clone(),
            area_limit_bytes: self.growth.limit(),
            counts: ZcrxCounts::default(),
        })
    }

    fn zcrx_counts(&self, pool: &Pool) -> Option<ZcrxCounts> {
        Some(ZcrxCounts {
            events: self.notifications.events(),
            copies: self.notifications.copies(),
            areas: pool.areas(),
            areas_added: self.growth.added,
            areas_refused: self.growth.refused,
            // The loop above the backends knows.
            given_up: 0,
        })
    }
}
