//! Prometheus text, made anew for each scrape from one [`Observation`].
//!
//! Nothing is registered and nothing is kept between scrapes: a queue or a process that is gone takes its series
//! with it, and two scrapes at once cannot disturb each other. Each metric is one row of a table; the rows are
//! both what is exported and what `docs/metrics.md` says ([`reference()`]).

mod diagnosis;
mod event;
mod host;
mod ifq;
mod openmetrics;
mod page_pool;
mod probe;
mod receive;
mod reference;
mod registration;
mod series;
mod service;
mod table;
mod zcrx;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::diagnose::HostDiagnosis;
use crate::observe::Observation;

pub use prometheus::TEXT_FORMAT;
pub use reference::reference;

/// The text of one scrape.
pub fn render(observation: &Observation, diagnosis: &HostDiagnosis) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&families(observation, diagnosis))
}

/// The same as OpenMetrics text.
pub fn render_openmetrics(observation: &Observation, diagnosis: &HostDiagnosis) -> String {
    openmetrics::encode(&families(observation, diagnosis))
}

/// Every metric that has a value in this observation, in the order of the tables.
fn families(observation: &Observation, diagnosis: &HostDiagnosis) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let host = &observation.host;
    table::collect(host::OBSERVATION, std::slice::from_ref(observation), &mut families);
    table::collect(receive::QUEUE, &host.receive, &mut families);
    table::collect(zcrx::ZCRX, &host.receive, &mut families);
    table::collect(ifq::SNAPSHOT, host.probe.snapshot.as_slice(), &mut families);
    table::collect(ifq::IFQ, &host.queues, &mut families);
    table::collect(event::EVENT, &host.queues, &mut families);
    table::collect(event::LIFE, std::slice::from_ref(&host.probe), &mut families);
    table::collect(diagnosis::NOW, &diagnosis.queues, &mut families);
    table::collect(diagnosis::PAST, &diagnosis.past, &mut families);
    let age = diagnosis.at.map(|at| diagnosis::Age(observation.monotonic.saturating_sub(at)));
    table::collect(diagnosis::AGE, age.as_slice(), &mut families);
    table::collect(registration::REGISTRATION, std::slice::from_ref(&host.probe), &mut families);
    table::collect(page_pool::PAGE_POOL, host.probe.page_pools.as_deref().unwrap_or_default(), &mut families);
    table::collect(probe::PROBE, &host.probe.probes, &mut families);
    table::collect(probe::LOSS, std::slice::from_ref(&host.probe), &mut families);
    let cost = host.probe.cost.as_ref();
    let (programs, maps) = cost.map_or((&[][..], &[][..]), |cost| (&cost.programs, &cost.maps));
    table::collect(probe::PROGRAM, programs, &mut families);
    table::collect(probe::MAP, maps, &mut families);
    table::collect(service::SERVICE, std::slice::from_ref(&observation.service), &mut families);
    table::collect(host::WEB, std::slice::from_ref(&observation.web), &mut families);
    table::collect(host::PROCESS, observation.process.as_slice(), &mut families);
    families
}

#[cfg(test)]
mod tests;
