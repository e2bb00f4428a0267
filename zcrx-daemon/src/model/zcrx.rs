//! Features of the kernel's zcrx for a local queue, and the kernel's figures of it.

use serde::{Deserialize, Serialize};

/// An optional feature of the kernel's zcrx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZcrxFeature {
    /// Consuming the refill ring on request. Linux 6.19.
    FlushRq,
    /// Sharing one queue among rings. Linux 6.19.
    Export,
    /// Buffers larger than a page. Linux 7.0.
    RxBufLen,
    /// A queue without a device. Linux 7.1.
    Nodev,
    /// Notifications of failed allocations and copies. Linux 7.2.
    Events,
    /// Counting copied bytes. Linux 7.2.
    Statistics,
    /// Adding areas to a running queue. Linux 7.3.
    AddArea,
}

impl ZcrxFeature {
    /// Every feature, in the order of their kernels.
    pub const ALL: [Self; 7] = [
        Self::FlushRq,
        Self::Export,
        Self::RxBufLen,
        Self::Nodev,
        Self::Events,
        Self::Statistics,
        Self::AddArea,
    ];

    /// The name used in metrics and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlushRq => "flush_rq",
            Self::Export => "export",
            Self::RxBufLen => "rx_buf_len",
            Self::Nodev => "nodev",
            Self::Events => "events",
            Self::Statistics => "statistics",
            Self::AddArea => "add_area",
        }
    }

    /// The first Linux version with the feature. Only for text: zcrxd queries the kernel for its features.
    pub const fn since(self) -> &'static str {
        match self {
            Self::FlushRq | Self::Export => "6.19",
            Self::RxBufLen => "7.0",
            Self::Nodev => "7.1",
            Self::Events | Self::Statistics => "7.2",
            Self::AddArea => "7.3",
        }
    }
}

/// A requested feature that is not available, and its replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The missing feature.
    pub feature: ZcrxFeature,
    /// What zcrxd does instead, and why.
    pub reason: String,
}

/// The kernel's view of a local queue, as it reports it to the owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZcrxSample {
    /// Features of this kernel.
    pub offered: Vec<ZcrxFeature>,
    /// Configured features that the kernel lacks.
    pub fallbacks: Vec<Fallback>,
    /// Limit of the queue's areas together, bytes.
    pub area_limit_bytes: u64,
    /// Counters.
    pub counts: ZcrxCounts,
}

/// Counters of a local queue on the kernel's zcrx, from the start of its thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZcrxCounts {
    /// Events by kind; `None` where the kernel posts none.
    pub events: Option<EventCounts>,
    /// Copies; `None` where the kernel does not count them.
    pub copies: Option<CopyCounts>,
    /// Areas the queue has now.
    pub areas: u32,
    /// Areas added because buffers ran short.
    pub areas_added: u64,
    /// Areas that the kernel or the host refused.
    pub areas_refused: u64,
    /// Connections ended because copies found no buffer for too long.
    pub given_up: u64,
}

/// Events of the kernel by kind. The kernel posts each once until zcrxd arms it again, so the real numbers are larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventCounts {
    /// The NIC asked for a buffer and there was none.
    pub alloc_fail: u64,
    /// Payload was copied.
    pub copy: u64,
}

/// Payload that the kernel copied. The kernel does not count payload in an skb's linear part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyCounts {
    /// Fragments.
    pub fragments: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl ZcrxCounts {
    /// Counts that continue from `before`, for a queue that was registered again.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let events = |now: EventCounts| {
            let before = before.events.unwrap_or_default();
            EventCounts { alloc_fail: before.alloc_fail + now.alloc_fail, copy: before.copy + now.copy }
        };
        let copies = |now: CopyCounts| {
            let before = before.copies.unwrap_or_default();
            CopyCounts { fragments: before.fragments + now.fragments, bytes: before.bytes + now.bytes }
        };
        Self {
            events: self.events.map(events),
            copies: self.copies.map(copies),
            areas: self.areas,
            areas_added: before.areas_added + self.areas_added,
            areas_refused: before.areas_refused + self.areas_refused,
            given_up: before.given_up + self.given_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_but_what_is_unknown_stays_so() {
        let events = |alloc_fail| Some(EventCounts { alloc_fail, copy: 1 });
        let before = ZcrxCounts {
            events: events(2),
            areas: 3,
            areas_added: 2,
            areas_refused: 1,
            given_up: 4,
            ..ZcrxCounts::default()
        };
        let now = ZcrxCounts {
            events: events(5),
            copies: Some(CopyCounts { fragments: 1, bytes: 10 }),
            areas: 1,
            ..ZcrxCounts::default()
        };
        let sum = now.after(&before);
        assert_eq!(sum.events, Some(EventCounts { alloc_fail: 7, copy: 2 }));
        assert_eq!(sum.copies, now.copies);
        assert_eq!((sum.areas, sum.areas_added, sum.areas_refused, sum.given_up), (1, 2, 1, 4));
        assert_eq!(ZcrxCounts::default().after(&before).events, None);
    }
}
