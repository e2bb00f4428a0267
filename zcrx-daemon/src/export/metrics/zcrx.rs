//! Metrics of what the kernel's zcrx offers to zcrxd's own receive queues, and tells of them.

use super::table::Metric;
use super::table::Read::{Each, One};
use crate::model::{CopyCounts, EventCounts, ReceiveSample, ZcrxCounts, ZcrxFeature};

const NO_ZCRX: &str = "backend is copy";
const NO_EVENTS: &str = "backend is copy, or the kernel tells no events (before Linux 7.2)";
const NO_STATISTICS: &str = "backend is copy, or the kernel does not count (before Linux 7.2)";

type Row = Metric<ReceiveSample>;

pub(super) static ZCRX: &[Row] = &[
    Row::gauge(
        "zcrx_receive_feature",
        "1 for each feature of zcrx that this kernel offers, 0 for the others.",
        Each(&["feature"], |queue, series| {
            let Some(zcrx) = &queue.zcrx else { return };
            for feature in ZcrxFeature::ALL {
                let offered = zcrx.offered.contains(&feature);
                series.push(&[feature.name()], f64::from(u8::from(offered)));
            }
        }),
    )
    .absent(NO_ZCRX),
    Row::gauge(
        "zcrx_receive_fallback_info",
        "A feature that the configuration asks for and the queue does without; the log says why. Always 1.",
        Each(&["feature"], |queue, series| {
            for fallback in queue.zcrx.iter().flat_map(|zcrx| &zcrx.fallbacks) {
                series.push(&[fallback.feature.name()], 1.0);
            }
        }),
    )
    .absent("nothing is done without"),
    Row::counter(
        "zcrx_receive_events_total",
        "Events told by the kernel. Each is told once, then armed again a moment later: what they tell of is more.",
        Each(&["event"], |queue, series| {
            let Some(EventCounts { alloc_fail, copy }) = counts(queue).and_then(|counts| counts.events) else {
                return;
            };
            series.push(&["alloc_fail"], alloc_fail as f64);
            series.push(&["copy"], copy as f64);
        }),
    )
    .absent(NO_EVENTS),
    Row::counter(
        "zcrx_receive_kernel_copied_fragments_total",
        "Fragments of payload that the kernel copied, by its own count; leaves out payload beside headers.",
        One(|queue| copies(queue).map(|copies| copies.fragments as f64)),
    )
    .absent(NO_STATISTICS),
    Row::counter(
        "zcrx_receive_kernel_copied_bytes_total",
        "Payload that the kernel copied, by its own count; leaves out payload beside headers.",
        One(|queue| copies(queue).map(|copies| copies.bytes as f64)),
    )
    .absent(NO_STATISTICS),
    Row::gauge(
        "zcrx_receive_areas",
        "Areas that the queue has.",
        One(|queue| counts(queue).map(|counts| f64::from(counts.areas))),
    )
    .absent(NO_ZCRX),
    Row::gauge(
        "zcrx_receive_area_limit_bytes",
        "The most that the queue's areas may grow to together.",
        One(|queue| queue.zcrx.as_ref().map(|zcrx| zcrx.area_limit_bytes as f64)),
    )
    .absent(NO_ZCRX),
    Row::counter(
        "zcrx_receive_areas_added_total",
        "Areas added because buffers ran short.",
        One(|queue| counts(queue).map(|counts| counts.areas_added as f64)),
    )
    .absent(NO_ZCRX),
    Row::counter(
        "zcrx_receive_areas_refused_total",
        "Areas that would have been added but for a refusal, by the limit of locked memory for example.",
        One(|queue| counts(queue).map(|counts| counts.areas_refused as f64)),
    )
    .absent(NO_ZCRX),
];

fn counts(queue: &ReceiveSample) -> Option<ZcrxCounts> {
    queue.zcrx.as_ref().map(|zcrx| zcrx.counts)
}

fn copies(queue: &ReceiveSample) -> Option<CopyCounts> {
    counts(queue)?.copies
}
