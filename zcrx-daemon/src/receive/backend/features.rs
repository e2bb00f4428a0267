//! What the kernel's zcrx offers: asked, never guessed from a version.

use tracing::warn;

use crate::model::{Fallback, ZcrxFeature};
use zcrx_uapi::zcrx::{
    ZCRX_CTRL_ADD_AREA, ZCRX_CTRL_EXPORT, ZCRX_CTRL_FLUSH_RQ, ZCRX_EVENT_ALLOC_FAIL, ZCRX_EVENT_COPY,
    ZCRX_FEATURE_RX_PAGE_SIZE, ZCRX_REG_IMPORT, ZCRX_REG_NODEV,
};
use zcrx_uapi::{QueryZcrx, QueryZcrxEvent, ZcrxStats, query};

/// Events that zcrxd requests where the kernel has them.
const EVENTS: u32 = 1 << ZCRX_EVENT_ALLOC_FAIL | 1 << ZCRX_EVENT_COPY;

/// Features that the kernel offers, and configured features that it lacks.
#[derive(Clone, Debug, Default)]
pub(super) struct Features {
    pub(super) offered: Vec<ZcrxFeature>,
    pub(super) fallbacks: Vec<Fallback>,
    /// Events to request, one bit each.
    pub(super) events: u32,
}

impl Features {
    /// Queries the kernel.
    pub(super) fn ask() -> Self {
        Self::answered(query::zcrx().ok(), query::zcrx_event().ok())
    }

    /// Evaluates the kernel's answers. A kernel without the query (before Linux 6.19) counts as having no feature, until zcrxd
    /// has tried one with success.
    fn answered(zcrx: Option<QueryZcrx>, event: Option<QueryZcrxEvent>) -> Self {
        let (zcrx, event) = (zcrx.unwrap_or_default(), event.unwrap_or_default());
        let events = event.event_flags & EVENTS;
        let offers = |feature: &ZcrxFeature| match feature {
            ZcrxFeature::FlushRq => zcrx.nr_ctrl_opcodes > ZCRX_CTRL_FLUSH_RQ,
            ZcrxFeature::Export => {
                zcrx.nr_ctrl_opcodes > ZCRX_CTRL_EXPORT
                    && zcrx.register_flags & u64::from(ZCRX_REG_IMPORT) != 0
            }
            ZcrxFeature::RxBufLen => zcrx.features & ZCRX_FEATURE_RX_PAGE_SIZE != 0,
            ZcrxFeature::Nodev => zcrx.register_flags & u64::from(ZCRX_REG_NODEV) != 0,
            ZcrxFeature::Events => events != 0,
            ZcrxFeature::Statistics => event.stats_size >= size_of::<ZcrxStats>() as u32,
            ZcrxFeature::AddArea => zcrx.nr_ctrl_opcodes > ZCRX_CTRL_ADD_AREA,
        };
        let offered = ZcrxFeature::ALL.into_iter().filter(offers).collect();
        Self { offered, fallbacks: Vec::new(), events }
    }

    /// Whether the kernel offers it.
    pub(super) fn has(&self, feature: ZcrxFeature) -> bool {
        self.offered.contains(&feature)
    }

    /// Adds a feature that zcrxd tried with success and that the query did not report.
    pub(super) fn found(&mut self, feature: ZcrxFeature) {
        if !self.has(feature) {
            self.offered.push(feature);
        }
    }

    /// Records and logs that the configuration requests a feature that does not work here.
    pub(super) fn fall_back(&mut self, feature: ZcrxFeature, reason: String) {
        warn!(feature = feature.name(), "{reason}");
        self.fallbacks.push(Fallback { feature, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_be_asked_offers_nothing() {
        let features = Features::answered(None, None);
        assert_eq!((features.offered, features.events), (Vec::new(), 0));
    }

    /// As Linux 7.2 and 7.3 answer.
    #[test]
    fn answers_are_read_bit_by_bit() {
        let mut zcrx =
            QueryZcrx { register_flags: 3, nr_ctrl_opcodes: 3, features: 3, ..QueryZcrx::default() };
        let event = QueryZcrxEvent { event_flags: 3, stats_size: 16, ..QueryZcrxEvent::default() };
        let features = Features::answered(Some(zcrx), Some(event));
        let without = |left: &ZcrxFeature| *left != ZcrxFeature::AddArea;
        assert_eq!(features.offered, ZcrxFeature::ALL.into_iter().filter(without).collect::<Vec<_>>());
        assert_eq!(features.events, 3);
        zcrx.nr_ctrl_opcodes = 4;
        assert!(Features::answered(Some(zcrx), Some(event)).has(ZcrxFeature::AddArea));
    }

    #[test]
    fn events_that_nobody_knows_yet_are_not_asked_for() {
        let event = QueryZcrxEvent { event_flags: 0xff, ..QueryZcrxEvent::default() };
        assert_eq!(Features::answered(None, Some(event)).events, 3);
    }
}
