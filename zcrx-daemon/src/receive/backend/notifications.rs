//! Notifications of the kernel about a queue: events, and statistics in the refill region (Linux 7.2).

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::contract::EVENT_USER_DATA;
use super::features::Features;
use crate::model::{CopyCounts, EventCounts, ZcrxFeature};
use crate::receive::mapping::Mapping;
use zcrx_uapi::zcrx::{ZCRX_EVENT_ALLOC_FAIL, ZCRX_EVENT_COPY, ZCRX_EVENT_DESC_FLAG_STATS};
use zcrx_uapi::{ZcrxEventDesc, ZcrxStats};

/// Where a queue's statistics are, and which events it has reported.
pub(super) struct KernelNotifications {
    region: Arc<Mapping>,
    /// Byte offset of the statistics in the region, where the kernel keeps some.
    statistics: Option<usize>,
    events: Option<EventCounts>,
}

impl KernelNotifications {
    /// Asks for all that the kernel can report. The statistics lie at the end of the region, where the entries of the
    /// refill ring leave room for them.
    pub(super) fn new(features: &Features, region: &Arc<Mapping>) -> Self {
        let offset = region.bytes() - size_of::<ZcrxStats>();
        Self {
            region: Arc::clone(region),
            statistics: features.has(ZcrxFeature::Statistics).then_some(offset),
            events: features.has(ZcrxFeature::Events).then(EventCounts::default),
        }
    }

    /// Of a ring that joined: events go to the ring that registered the queue, and its thread reads the statistics.
    pub(super) fn nothing(region: &Arc<Mapping>) -> Self {
        Self { region: Arc::clone(region), statistics: None, events: None }
    }

    /// The memory that the statistics lie in.
    pub(super) const fn region(&self) -> &Arc<Mapping> {
        &self.region
    }

    /// Registration of the notifications; `None` where the kernel has none.
    pub(super) fn describe(&self, features: &Features) -> Option<ZcrxEventDesc> {
        (self.events.is_some() || self.statistics.is_some()).then(|| ZcrxEventDesc {
            user_data: EVENT_USER_DATA,
            type_mask: features.events,
            flags: self.statistics.map_or(0, |_| ZCRX_EVENT_DESC_FLAG_STATS),
            stats_offset: self.statistics.unwrap_or(0) as u64,
            ..ZcrxEventDesc::default()
        })
    }

    /// Counts an event.
    pub(super) fn count(&mut self, event: u32) {
        let Some(events) = &mut self.events else { return };
        match event {
            ZCRX_EVENT_ALLOC_FAIL => events.alloc_fail += 1,
            ZCRX_EVENT_COPY => events.copy += 1,
            _ => {}
        }
    }

    /// Events so far.
    pub(super) const fn events(&self) -> Option<EventCounts> {
        self.events
    }

    /// Copies so far. The kernel copies in the thread that owns the ring, so after a batch these are complete.
    pub(super) fn copies(&self) -> Option<CopyCounts> {
        let offset = self.statistics?;
        Some(CopyCounts {
            fragments: self.load(offset + offset_of!(ZcrxStats, copy_count)),
            bytes: self.load(offset + offset_of!(ZcrxStats, copy_bytes)),
        })
    }

    fn load(&self, offset: usize) -> u64 {
        // SAFETY: the field is inside the region, which `self` keeps mapped, and aligned: the region's size and the
        // structure's are multiples of 8. The kernel writes it in one piece; user space only reads.
        let field = unsafe { self.region.start().add(offset).cast::<AtomicU64>().as_ref() };
        field.load(Ordering::Relaxed)
    }
}
