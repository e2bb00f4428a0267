//! Metrics of what the kernel's zcrx offers and reports to zcrxd's receivers.

use super::table::Metric;
use super::table::Read::{Each, One};
use crate::model::{CopyCounts, EventCounts, ReceiveSample, ZcrxCounts, ZcrxFeature};

const NO_ZCRX: &str = "the backend is copy";
const NO_EVENTS: &str = "the backend is copy, or the kernel sends no notifications (before Linux 7.2)";
const NO_STATISTICS: &str = "the backend is copy, or the kernel does not count copies (before Linux 7.2)";

type Row = Metric<ReceiveSample>;

pub(super) static ZCRX: &[Row] = &[
    Row::gauge(
        "zcrxd_receiver_feature",
        "Features of zcrx: 1 for those that this kernel offers to the receiver, 0 for the others.",
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
        "zcrxd_receiver_feature_fallback_info",
        "A configured feature that the receiver runs without; the log says why. Always 1.",
        Each(&["feature"], |queue, series| {
            for fallback in queue.zcrx.iter().flat_map(|zcrx| &zcrx.fallbacks) {
                series.push(&[fallback.feature.name()], 1.0);
            }
        }),
    )
    .absent("the receiver has every configured feature"),
    Row::counter(
        "zcrxd_receiver_notifications_total",
        "Notifications of the kernel to the receiver by kind. Each is sent once until armed again: their causes are more.",
        Each(&["notification"], |queue, series| {
            let Some(EventCounts { alloc_fail, copy }) = counts(queue).and_then(|counts| counts.events) else {
                return;
            };
            series.push(&["alloc_fail"], alloc_fail as f64);
            series.push(&["copy"], copy as f64);
        }),
    )
    .absent(NO_EVENTS),
    Row::counter(
        "zcrxd_receiver_kernel_copied_fragments_total",
        "Fragments of the receiver's payload that the kernel copied, by the kernel's count; without payload beside headers.",
        One(|queue| copies(queue).map(|copies| copies.fragments as f64)),
    )
    .absent(NO_STATISTICS),
    Row::counter(
        "zcrxd_receiver_kernel_copied_bytes_total",
        "Payload in bytes that the kernel copied for the receiver, by the kernel's count; without payload beside headers.",
        One(|queue| copies(queue).map(|copies| copies.bytes as f64)),
    )
    .absent(NO_STATISTICS),
    Row::gauge(
        "zcrxd_receiver_areas",
        "Number of areas of the receiver.",
        One(|queue| counts(queue).map(|counts| f64::from(counts.areas))),
    )
    .absent(NO_ZCRX),
    Row::gauge(
        "zcrxd_receiver_area_limit_bytes",
        "Limit in bytes to which the receiver's areas may grow together.",
        One(|queue| queue.zcrx.as_ref().map(|zcrx| zcrx.area_limit_bytes as f64)),
    )
    .absent(NO_ZCRX),
    Row::counter(
        "zcrxd_receiver_added_areas_total",
        "Areas that the receiver added because buffers ran short.",
        One(|queue| counts(queue).map(|counts| counts.areas_added as f64)),
    )
    .absent(NO_ZCRX),
    Row::counter(
        "zcrxd_receiver_refused_areas_total",
        "Areas that the receiver needed and the kernel or a limit, such as that of locked memory, refused.",
        One(|queue| counts(queue).map(|counts| counts.areas_refused as f64)),
    )
    .absent(NO_ZCRX),
    Row::counter(
        "zcrxd_receiver_given_up_connections_total",
        "Connections that the receiver ended because payload had to be copied and no buffer was free for too long.",
        One(|queue| counts(queue).map(|counts| counts.given_up as f64)),
    )
    .absent(NO_ZCRX),
];

fn counts(queue: &ReceiveSample) -> Option<ZcrxCounts> {
    queue.zcrx.as_ref().map(|zcrx| zcrx.counts)
}

fn copies(queue: &ReceiveSample) -> Option<CopyCounts> {
    counts(queue)?.copies
}
