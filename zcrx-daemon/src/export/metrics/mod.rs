//! Metrics, written for each scrape from one [`Observation`].
//!
//! No registry and no state between scrapes: a queue or a process that is gone takes its series with it, and two scrapes
//! at once cannot disturb each other. Each metric is declared once, as a row of a table: the export, `docs/metrics.md`,
//! the checks of names and HELP, and the dashboards follow from the row.

mod diagnosis;
mod exposition;
mod host;
mod page_pool;
mod probe;
mod queue;
mod queue_event;
mod receiver;
mod receiver_zcrx;
mod reference;
mod registration;
mod series;
mod service;
mod table;

use std::time::UNIX_EPOCH;

use self::exposition::Writer;
use self::table::Visitor;
use crate::diagnose::HostDiagnosis;
use crate::observe::Observation;

pub use self::exposition::Format;
pub use self::reference::{declarations, reference};

/// What a scrape is made from.
#[derive(Clone, Copy)]
struct Scrape<'a> {
    observation: &'a Observation,
    diagnosis: &'a HostDiagnosis,
}

/// Returns the text of one scrape: the metrics of these names, or all but those on request if there are none.
pub fn render(
    observation: &Observation,
    diagnosis: &HostDiagnosis,
    format: Format,
    names: &[String],
) -> String {
    let now = observation.host.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = now.as_secs_f64() - observation.monotonic.as_secs_f64();
    let mut writer = Writer::new(format, names, epoch);
    walk(Some(Scrape { observation, diagnosis }), &mut writer);
    writer.finish()
}

/// Shows a visitor every table, in the order of the reference, with the subjects of a scrape; without one there are none.
fn walk(scrape: Option<Scrape<'_>>, visitor: &mut impl Visitor) {
    let observation = scrape.map(|scrape| scrape.observation);
    let diagnosis = scrape.map(|scrape| scrape.diagnosis);
    let host = observation.map(|observation| &observation.host);
    let probe = host.map(|host| &host.probe);
    let cost = probe.and_then(|probe| probe.cost.as_ref());

    let queues = slice(host.map(|host| &host.queues));
    visitor.table("Queues, as the kernel has them", queue::STATE, queues);
    visitor.table("Queues: events in the kernel", queue_event::EVENT, queues);
    visitor.table("Queues: alarms, causes, forecast", diagnosis::NOW, slice(diagnosis.map(|it| &it.queues)));
    visitor.table("Queues: past alarms and episodes", diagnosis::PAST, slice(diagnosis.map(|it| &it.past)));

    let receivers = slice(host.map(|host| &host.receive));
    visitor.table("Receivers of zcrxd", receiver::RECEIVER, receivers);
    visitor.table("", receiver_zcrx::ZCRX, receivers);

    visitor.table("Registrations of zcrx queues, by any process", registration::REGISTRATION, one(probe));
    visitor.table(
        "Page pools",
        page_pool::PAGE_POOL,
        slice(probe.and_then(|probe| probe.page_pools.as_ref())),
    );
    visitor.table("Beginnings and ends of page pools, queues and rings", queue_event::LIFE, one(probe));

    visitor.table("Probes", probe::PROBE, slice(probe.map(|probe| &probe.probes)));
    visitor.table("", probe::LOSS, one(probe));
    visitor.table("", probe::PROGRAM, slice(cost.map(|cost| &cost.programs)));
    visitor.table("", probe::COST, one(cost));
    visitor.table("", probe::MAP, slice(cost.map(|cost| &cost.maps)));
    visitor.table(
        "Snapshots of the kernel's queues",
        queue::SNAPSHOT,
        one(probe.and_then(|it| it.snapshot.as_ref())),
    );
    visitor.table("Age of the diagnosis", diagnosis::AGE, one(diagnosis));

    visitor.table("Host and build", host::OBSERVATION, one(observation));
    visitor.table("Service", service::SERVICE, one(observation.map(|observation| &observation.service)));
    visitor.table("Web endpoint", host::WEB, one(observation.map(|observation| &observation.web)));
    let process = observation.and_then(|observation| observation.process.as_ref());
    visitor.table("Process", host::PROCESS, one(process));
}

fn slice<T>(subjects: Option<&Vec<T>>) -> &[T] {
    subjects.map_or(&[], Vec::as_slice)
}

fn one<T>(subject: Option<&T>) -> &[T] {
    subject.map_or(&[], std::slice::from_ref)
}

#[cfg(test)]
mod tests;
