//! Metrics of page pools, as the kernel's tracepoints counted them.

use super::table::Read::{Each, One};
use super::table::{LabelValue, Metric, Subject};
use crate::model::PagePoolCount;

impl Subject for PagePoolCount {
    const LABELS: &'static [&'static str] = &["interface", "page_pool"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        [self.interface.as_deref().into(), self.id.into()]
    }
}

const NO_PROBE: &str = "the page_pool tracepoints are not attached, or the pool has been idle since";

type Row = Metric<PagePoolCount>;

pub(super) static PAGE_POOL: &[Row] = &[
    Row::gauge(
        "zcrx_page_pool_info",
        "A page pool that has been active since the probe was attached; provider is true for one with a memory provider. Always 1.",
        Each(&["ifindex", "provider"], |pool, series| {
            let ifindex = pool.ifindex.map(|ifindex| ifindex.to_string()).unwrap_or_default();
            let provider = pool.provider.map(|provider| provider.to_string()).unwrap_or_default();
            series.push(&[&ifindex, &provider], 1.0);
        }),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_page_pool_holds_total",
        "Pages or buffers (niovs) that a page pool took in. Recycling through a refill ring does not count.",
        One(|pool| Some(pool.held as f64)),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_page_pool_releases_total",
        "Pages or buffers (niovs) that a page pool gave up.",
        One(|pool| Some(pool.released as f64)),
    )
    .absent(NO_PROBE),
];
