//! Metrics, written for each scrape from one [`Observation`].
//!
//! No registry and no state between scrapes: a queue or a process that is gone takes its series with it, and two scrapes
//! at once cannot disturb each other. Each metric is declared once, as a row of a table: the export, `docs/metrics.md`,
//! the checks of names and HELP, and the dashboards follow from the row.

mod diagnosis;
mod exposition;
mod host;
mod kind;
mod page_pool;
mod probe;
mod queue;
mod queue_event;
mod receiver;
mod receiver_zcrx;
mod reference;
mod registration;
mod render;
mod series;
mod service;
mod subject;
mod table;
mod tables;
mod text;

use std::time::UNIX_EPOCH;

use self::exposition::Writer;
use self::tables::{Scrape, walk};
use crate::diagnose::HostOutlook;
use crate::observe::Observation;

pub use self::exposition::Format;
pub use self::reference::{declarations, reference};

/// The size of a scrape without queues, and by how much each queue, receiver and past queue makes a scrape larger, in bytes. Rather too
/// much: a text that grows is copied, and memory that is not written to takes no page.
const HOST_BYTES: usize = 32 << 10;
const QUEUE_BYTES: usize = 4 << 10;

/// Returns the text of one scrape: the metrics of these names, or all but those on request if there are none.
pub fn render(observation: &Observation, outlook: &HostOutlook, format: Format, names: &[String]) -> String {
    let now = observation.host.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = now.as_secs_f64() - observation.monotonic.as_secs_f64();
    let host = &observation.host;
    let queues = host.queues.len() + host.receive.len() + outlook.queues.len() + outlook.past.len();
    let mut writer = Writer::new(format, names, epoch, HOST_BYTES + queues * QUEUE_BYTES);
    walk(Some(Scrape { observation, outlook }), &mut writer);
    writer.finish()
}

#[cfg(test)]
mod tests;
