//! Every table of metrics, in the order of the reference.

use super::table::Visitor;
use super::{
    diagnosis, host, page_pool, probe, queue, queue_event, receiver, receiver_zcrx, registration, service,
};
use crate::diagnose::HostOutlook;
use crate::observe::Observation;

/// What a scrape is made from.
#[derive(Clone, Copy)]
pub(super) struct Scrape<'a> {
    pub(super) observation: &'a Observation,
    pub(super) outlook: &'a HostOutlook,
}

/// Shows a visitor every table, in the order of the reference, with the subjects of a scrape; without one there are none.
pub(super) fn walk(scrape: Option<Scrape<'_>>, visitor: &mut impl Visitor) {
    let observation = scrape.map(|scrape| scrape.observation);
    let outlook = scrape.map(|scrape| scrape.outlook);
    let host = observation.map(|observation| &observation.host);
    let probe = host.map(|host| &host.probe);
    let cost = probe.and_then(|probe| probe.cost.as_ref());

    let queues = slice(host.map(|host| &host.queues));
    visitor.table("Queues, as the kernel has them", queue::STATE, queues);
    visitor.table("Queues: events in the kernel", queue_event::EVENT, queues);
    visitor.table("Queues: alarms, causes, forecast", diagnosis::NOW, slice(outlook.map(|it| &it.queues)));
    visitor.table("Queues: past alarms and episodes", diagnosis::PAST, slice(outlook.map(|it| &it.past)));

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
    visitor.table("", probe::SELF_CHECK, one(probe));
    visitor.table("", probe::LOSS, one(probe));
    visitor.table("", probe::PROGRAM, slice(cost.map(|cost| &cost.programs)));
    visitor.table("", probe::COST, one(cost));
    visitor.table("", probe::MAP, slice(cost.map(|cost| &cost.maps)));
    visitor.table(
        "Snapshots of the kernel's queues",
        queue::SNAPSHOT,
        one(probe.and_then(|it| it.snapshot.as_ref())),
    );
    visitor.table("Age of the diagnosis", diagnosis::AGE, one(outlook));

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
