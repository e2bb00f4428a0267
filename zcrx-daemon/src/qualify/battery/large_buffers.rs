//! Buffers larger than a page.

use super::{Battery, LARGE, Step, judge, skips_for_steering};
use crate::check::Verdict;
use crate::model::ZcrxFeature;
use crate::qualify::report::QualifyReport;
use crate::receive::{QueueConfig, SinkConfig};

/// The largest buffers that are tried, in pages: zcrxd halves them until the driver takes them. Four times the receive ring of larger ones
/// would be much memory.
const LARGEST_PAGES: u64 = 4;

impl Battery<'_> {
    /// A large transfer with the largest buffers that the driver takes.
    pub(super) fn large_buffers(&mut self, report: &mut QualifyReport) -> Step {
        const NAME: &str = "large_buffers";
        if skips_for_steering(report, NAME) {
            return Ok(());
        }
        let config = self.config(SinkConfig::Verify);
        let (buffer_bytes, area_bytes) =
            (LARGEST_PAGES * procfs::page_size(), LARGEST_PAGES * config.area_bytes);
        let receiver = self.registered(&QueueConfig { area_bytes, buffer_bytes, ..config })?;
        self.transfer(LARGE, 1, true)?;
        let sample = self.settle(&receiver)?;
        drop(receiver);
        if sample.buffer_bytes > procfs::page_size() {
            let note = format!(", with buffers of {} bytes", sample.buffer_bytes);
            judge(report, NAME, &sample, LARGE, &note);
            return Ok(());
        }
        let fallbacks = sample.zcrx.into_iter().flat_map(|zcrx| zcrx.fallbacks);
        let why = fallbacks.into_iter().find(|fallback| fallback.feature == ZcrxFeature::RxBufLen);
        let why = why.map_or_else(|| "for no stated reason".to_owned(), |fallback| fallback.reason);
        report.add(NAME, Verdict::Skip, format!("none: {why}"));
        Ok(())
    }
}
