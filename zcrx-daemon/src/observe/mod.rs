//! Lays what the sources say side by side.
//!
//! A source is a closure that answers at any time from any thread: the daemon hands in the receive path and the
//! probes, a test hands in a recording.

mod cgroup;
mod container;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod join;
mod nic;
mod process;
mod refusal;
mod refused;
mod second_source;
mod service;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::{HostSample, PagePool, PagePoolCount, ProbeSample, ReceiveSample, Scope};
use crate::net;

pub(crate) use container::Container;
pub use join::Join;
pub use nic::NicSample;
pub use process::ProcessSample;
pub use refusal::{Refusal, refusal};
pub use service::{Reload, ServiceSample, ThreadSample};

/// What the web endpoint counts about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebSample {
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections closed because there were too many.
    pub evicted: u64,
    /// Requests without the name and password of a user.
    pub unauthorized: u64,
    /// Connections whose TLS handshake failed.
    pub handshakes_failed: u64,
    /// How the web configuration was read; `None` without one.
    pub config: Option<Reload>,
    /// When the server's certificate is valid; `None` without TLS.
    pub server_certificate: Option<Validity>,
    /// When the certificates of the clients' CAs are valid; `None` where no client's certificate is verified.
    pub client_ca: Option<Validity>,
}

impl WebSample {
    /// The certificates in use, by name.
    pub fn certificates(&self) -> impl Iterator<Item = (&'static str, Validity)> {
        [("server", self.server_certificate), ("client_ca", self.client_ca)]
            .into_iter()
            .filter_map(|(name, validity)| Some((name, validity?)))
    }
}

/// When a certificate is valid, seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Begin.
    pub not_before: i64,
    /// End.
    pub not_after: i64,
}

/// How reading one source went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Name of the collector.
    pub collector: &'static str,
    /// How long reading took.
    pub took: Duration,
    /// Whether everything that this host has could be read; `None` if nothing was read that can be missing.
    pub succeeded: Option<bool>,
}

/// A host sample, and what belongs to the moment and the process that took it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What is known of the host.
    pub host: HostSample,
    /// The kernel's monotonic clock when it was taken: what `Registration::at` is measured by.
    pub monotonic: Duration,
    /// How reading each source went.
    pub collections: Vec<Collection>,
    /// zcrxd as a process; `None` where /proc does not show it.
    pub process: Option<ProcessSample>,
    /// The web endpoint.
    pub web: WebSample,
    /// zcrxd as a service.
    pub service: ServiceSample,
}

/// A host sample, and when it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// What is known of the host.
    pub host: HostSample,
    /// The kernel's monotonic clock when the sample was taken.
    pub monotonic: Duration,
    /// How reading each source went.
    pub collections: Vec<Collection>,
}

/// Returns the local queues.
pub type ReceiveSource = Box<dyn Fn() -> Vec<ReceiveSample> + Send + Sync>;
/// Returns what the probes counted, as far as it is in the scope.
pub type ProbeSource = Box<dyn Fn(Scope) -> ProbeSample + Send + Sync>;
/// Answers with the web endpoint's own figures.
pub type WebSource = Box<dyn Fn() -> WebSample + Send + Sync>;

/// Answers with zcrxd as a service.
pub type ServiceSource = Box<dyn Fn() -> ServiceSample + Send + Sync>;

/// The sources of one host, and the state that a sample needs from the one before.
pub struct Observer {
    /// Kernel release.
    pub kernel: String,
    /// Local queues.
    pub receive: ReceiveSource,
    /// The kernel's side.
    pub probe: ProbeSource,
    /// The web endpoint.
    pub web: WebSource,
    /// zcrxd as a service.
    pub service: ServiceSource,
    /// Names and generations of queues.
    pub memory: Memory,
}

/// What an [`Observer`] remembers; a new one remembers nothing.
#[derive(Default)]
pub struct Memory(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    join: Join,
    netlink: net::Netlink,
    explained: refused::Explained,
    second_source: second_source::SecondSource,
}

impl Observer {
    /// Asks every source once.
    pub fn observe(&self) -> Observation {
        let Sampled { host, monotonic, mut collections } = self.sample(Scope::All);
        let process =
            timed("process", &mut collections, ProcessSample::of_self, |process| Some(process.is_some()));
        let (web, service) = ((self.web)(), (self.service)());
        Observation { host, monotonic, collections, process, web, service }
    }

    /// Takes a sample of the queues; what is not in the scope is left out.
    pub fn sample(&self, scope: Scope) -> Sampled {
        // One sample at a time: two that overlap would each take the other's queues for ended or new. A poisoned lock is
        // harmless, since each sample replaces the whole state.
        let remembered = &mut *self.memory.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut collections = Vec::new();
        let receive = timed("receive", &mut collections, &self.receive, |_| None);
        let mut probe = timed("probe", &mut collections, || (self.probe)(scope), is_complete);
        remembered.explained.fill(&mut probe.recent_registrations);
        let nic = remembered.read_nic(&probe, &mut collections);
        remembered.compare(&mut probe, &nic, scope);
        if let Some(pools) = &mut probe.page_pools {
            name_pools(pools, &nic.pools);
        }
        let now = monotonic();
        // Kernel time is this clock's. The moment before the kernel's state was read, and not after: a sample that is
        // younger than an event then knows of it.
        let at = probe.snapshot.as_ref().map_or(now, |snapshot| snapshot.began);
        let queues = remembered.join.samples(at, &receive, probe.snapshot.as_ref(), &nic);
        let host = HostSample { at: SystemTime::now(), kernel: self.kernel.clone(), receive, probe, queues };
        Sampled { host, monotonic: now, collections }
    }
}

impl Remembered {
    /// Takes out of the snapshot what contradicts netlink.
    fn compare(&mut self, probe: &mut ProbeSample, nic: &NicSample, scope: Scope) {
        let Some(snapshot) = &mut probe.snapshot else { return };
        self.second_source.apply(snapshot, nic);
        if scope == Scope::All && self.second_source.wrong().next().is_some() {
            Arc::make_mut(probe.self_check.get_or_insert_default())
                .add_wrong(self.second_source.wrong().cloned());
        }
    }

    /// Reads the interfaces, if a known queue needs their figures.
    fn read_nic(&mut self, probe: &ProbeSample, collections: &mut Vec<Collection>) -> NicSample {
        let queues = probe.snapshot.as_ref().is_some_and(|snapshot| !snapshot.queues.is_empty());
        let pools = probe.page_pools.as_ref().is_some_and(|pools| !pools.is_empty());
        if !(queues || pools || self.join.remembers_pools()) {
            return NicSample::default();
        }
        let asks = probe.snapshot.as_ref().is_some_and(|snapshot| self.second_source.has_questions(snapshot));
        let read = || NicSample::read(&mut self.netlink, probe.snapshot.as_ref(), asks);
        timed("netdev", collections, read, |nic| Some(!nic.failed()))
    }
}

/// The name of a positive errno as labels and pages have it: `EINVAL`, or the number of one that has no name.
pub fn errno_label(errno: i32) -> String {
    zcrx_uapi::errno::name(errno).map_or_else(|| errno.to_string(), str::to_owned)
}

fn timed<T>(
    collector: &'static str,
    collections: &mut Vec<Collection>,
    read: impl FnOnce() -> T,
    succeeded: impl FnOnce(&T) -> Option<bool>,
) -> T {
    let begin = Instant::now();
    let value = read();
    collections.push(Collection { collector, took: begin.elapsed(), succeeded: succeeded(&value) });
    value
}

/// Whether the snapshot of the kernel's queues misses nothing; `None` without snapshots, whose probe says why.
fn is_complete(probe: &ProbeSample) -> Option<bool> {
    probe.snapshot.as_ref().map(|snapshot| snapshot.incomplete.is_empty())
}

/// Gives pools the name of their interface. Only the netdev netlink family has it: its dump covers just
/// this network namespace, while an interface index alone may mean another interface in another one.
fn name_pools(pools: &mut [PagePoolCount], known: &[PagePool]) {
    for pool in pools.iter_mut().filter(|pool| pool.interface.is_none()) {
        let Some(found) = known.iter().find(|known| pool.id.map(u64::from) == Some(known.id)) else {
            continue;
        };
        pool.ifindex = pool.ifindex.or(found.ifindex);
        pool.interface = found.ifindex.and_then(net::interface_name);
    }
}

/// The clock that stamps samples and the kernel's events.
pub(crate) use crate::kernel::clock::monotonic;

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(id: Option<u32>) -> PagePoolCount {
        PagePoolCount { id, ifindex: None, interface: None, provider: None, held: 0, released: 0 }
    }

    #[test]
    fn a_pool_gets_the_name_of_the_interface_that_netlink_knows_it_by() {
        let mut pools = [pool(Some(7)), pool(Some(8)), pool(None)];
        // Interface 1 is lo in every network namespace.
        name_pools(&mut pools, &[PagePool { id: 7, ifindex: Some(1), ..PagePool::default() }]);
        assert_eq!(pools[0].interface.as_deref(), Some("lo"));
        assert_eq!(pools[0].ifindex, Some(1));
        assert_eq!(pools[1], pool(Some(8)));
        assert_eq!(pools[2], pool(None));
    }

    #[test]
    fn every_source_is_asked_and_timed() {
        let observer = Observer {
            kernel: "6.18.0".to_owned(),
            receive: Box::new(Vec::new),
            probe: Box::new(|_| ProbeSample { lost_events: Some(3), ..ProbeSample::default() }),
            web: Box::new(|| WebSample { accepted: 2, ..WebSample::default() }),
            service: Box::new(Default::default),
            memory: Memory::default(),
        };
        let observation = observer.observe();
        assert_eq!(observation.host.probe.lost_events, Some(3));
        assert_eq!(observation.web.accepted, 2);
        let collectors: Vec<_> = observation
            .collections
            .iter()
            .map(|collection| (collection.collector, collection.succeeded))
            .collect();
        assert_eq!(collectors, [("receive", None), ("probe", None), ("process", Some(true))]);
        assert!(observation.monotonic > Duration::ZERO);
        assert!(observation.process.is_some_and(|process| process.threads > 0));
    }
}
