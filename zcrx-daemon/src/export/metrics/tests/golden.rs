//! Whole scrapes, byte for byte: a change of how metrics are written must not change what is written.

use std::path::Path;

use super::{Format, Outcome};
use crate::diagnose::outlook;
use crate::model::PagePoolCount;
use crate::observe::Observation;
use crate::observe::fixture::{foreign_queue, full, queue};

/// A host with two queues and two receivers of every metric, and with page pools whose labels are equal.
fn host() -> Observation {
    let mut observation = full();
    let mut second = foreign_queue();
    second.key.interface = None;
    if let Some(kernel) = second.kernel_mut() {
        kernel.areas[0].free = 1_500_000_000;
        kernel.pool = None;
    }
    observation.host.queues.push(second);
    let mut second = queue();
    second.key.interface = Some("et\\h\"1".to_owned());
    observation.host.receive.push(second);
    let unnamed =
        |held| PagePoolCount { id: None, ifindex: None, interface: None, provider: None, held, released: 1 };
    observation.host.probe.page_pools.get_or_insert_default().extend([unnamed(3), unnamed(4)]);
    observation
}

#[test]
fn golden_scrapes_are_current() -> Outcome {
    for (name, format) in [("scrape.txt", Format::Text), ("scrape.openmetrics", Format::OpenMetrics)] {
        let text = super::super::render(&host(), &outlook(), format, &[]);
        // Version and revision are those of the build.
        let lines = text.lines().filter(|line| !line.starts_with("zcrxd_build_info{"));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/metrics/tests").join(name);
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            std::fs::write(&path, &text)?;
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = kept.lines().zip(text.lines()).find(|(kept, written)| kept != written);
        assert!(
            kept == text,
            "{name} has changed, first in {differs:?}: if the change is intended: cargo xtask regenerate"
        );
    }
    Ok(())
}
