//! Prepares interfaces for queues with `prepare = true`, keeps them prepared, and restores them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::model::QueueKey;
use crate::net::{self, Flow, Outcome, PrepareError, Wanted, interface_name, kernel_index, kernel_name};
use crate::receive::QueueConfig;

/// Time that the kernel may take to release a queue whose ring was closed; until then it refuses the restore.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Interfaces that zcrxd prepared, by the name in its configuration.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    interfaces: BTreeMap<String, Entry>,
    /// The interfaces were restored because zcrxd stops. A helper thread that comes later must not prepare any again.
    ended: bool,
}

/// One prepared interface.
#[derive(Clone, Debug)]
struct Entry {
    /// Its index, which a rename does not change.
    index: Option<u32>,
    wanted: Wanted,
}

impl Entry {
    /// The interface's name now.
    fn name<'n>(&self, configured: &'n str) -> std::borrow::Cow<'n, str> {
        self.index.and_then(interface_name).map_or(configured.into(), Into::into)
    }
}

/// What was prepared before a call of [`Prepared::prepare`].
#[derive(Debug)]
pub(super) struct Before {
    interfaces: BTreeMap<String, Entry>,
}

impl Prepared {
    /// Prepares each interface for all its queues with `prepare = true`.
    ///
    /// A failure is logged with the commands that a user can run. zcrxd continues: the registration shows whether the queue
    /// works anyway, and with `auto` another backend may receive. Interfaces that no queue needs any more stay prepared until
    /// [`Prepared::put_back_dropped`].
    pub(super) fn prepare(&mut self, queues: &[QueueConfig]) -> Before {
        let before = Before { interfaces: self.interfaces.clone() };
        for (interface, wanted) in wanted(queues) {
            self.prepare_one(&interface, wanted);
        }
        before
    }

    fn prepare_one(&mut self, configured: &str, mut wanted: Wanted) {
        let earlier = self.interfaces.get(configured);
        let name = earlier.map_or(configured.into(), |entry| entry.name(configured));
        let flows = earlier.map(|entry| entry.wanted.flows.clone()).unwrap_or_default();
        let same = |one: &Flow, other: &Flow| (one.ipv6, one.port) == (other.ipv6, other.port);
        wanted.dropped =
            flows.into_iter().filter(|old| !wanted.flows.iter().any(|new| same(old, new))).collect();
        if prepare(&name, &wanted) {
            wanted.dropped.clear();
            let index = kernel_index(&name);
            self.interfaces.insert(configured.to_owned(), Entry { index, wanted });
        }
    }

    /// Prepares an interface again, given by its current name, before a queue of it is registered again: a driver that was
    /// loaded again has forgotten all settings.
    pub(super) fn prepare_again(&mut self, name: &str) {
        let Some(index) = kernel_index(name).filter(|_| !self.ended) else { return };
        let known = |(configured, entry): &(&String, &mut Entry)| {
            entry.index == Some(index) || configured.as_str() == name
        };
        let Some((_, entry)) = self.interfaces.iter_mut().find(known) else { return };
        if prepare(name, &entry.wanted) {
            // The interface of a driver that was loaded again has another index.
            entry.index = Some(index);
        }
    }

    /// Prepares interfaces again whose driver lost its rules and its RSS table, as a device reset of gve causes. A user who
    /// deletes some of several rules is not overruled.
    pub(super) fn prepare_again_after_reset(&mut self) {
        for (configured, entry) in self.interfaces.iter().filter(|_| !self.ended) {
            let name = entry.name(configured);
            if was_reset(&name, &entry.wanted) {
                warn!(
                    interface = %name,
                    "the device was reset and lost its flow rules and RSS table: preparing the interface again"
                );
                prepare(&name, &entry.wanted);
            }
        }
    }

    /// Restores what was prepared before a call of [`Prepared::prepare`] whose queues could not start.
    pub(super) fn undo(&mut self, before: Before) {
        let added: Vec<String> =
            self.interfaces.keys().filter(|name| !before.interfaces.contains_key(*name)).cloned().collect();
        for (interface, entry) in before.interfaces {
            self.prepare_one(&interface, entry.wanted);
        }
        self.drop_all(&added);
    }

    /// Restores the interfaces that these queues do not use. The queues that used them have ended.
    pub(super) fn put_back_dropped(&mut self, queues: &[QueueConfig]) {
        let wanted = wanted(queues);
        let dropped: Vec<String> =
            self.interfaces.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        self.drop_all(&dropped);
    }

    fn drop_all(&mut self, interfaces: &[String]) {
        for configured in interfaces {
            if let Some(entry) = self.interfaces.remove(configured) {
                put_back_within(&entry.name(configured), &AtomicBool::new(false));
            }
        }
    }

    /// Leaves these interfaces prepared at the end. The journal has what the next zcrxd needs to restore them.
    pub(super) fn keep_for_next(&mut self, interfaces: &[String]) {
        self.interfaces.retain(|configured, _| !interfaces.contains(configured));
    }

    /// Restores the interfaces. The journal keeps failed steps for `zcrxd nic restore` and for the next start. `hurry` ends
    /// the wait for the kernel, but one attempt is always made. Nothing is prepared again afterwards.
    pub(super) fn put_back(&mut self, hurry: &AtomicBool) {
        self.ended = true;
        for (configured, entry) in &self.interfaces {
            put_back_within(&entry.name(configured), hurry);
        }
    }
}

/// Replaces alternative names of interfaces by the kernel's names, so one interface has one name everywhere.
///
/// `running` are the local queues with the indexes of their interfaces: they keep the name under which they were registered.
/// An interface that does not exist keeps the name given; the check of the queues refuses it.
pub(super) fn name_interfaces(queues: &mut [QueueConfig], running: &[(QueueKey, Option<u32>)]) {
    for interface in queues.iter_mut().filter_map(|queue| queue.interface.as_mut()) {
        let Some(index) = kernel_index(interface) else { continue };
        let registered = running.iter().find(|(_, running)| *running == Some(index));
        if let Some(name) = registered.and_then(|(key, _)| key.interface.clone()) {
            *interface = name;
        } else if let Some(name) = kernel_name(interface) {
            *interface = name;
        }
    }
}

/// What the queues with `prepare = true` want of each interface.
fn wanted(queues: &[QueueConfig]) -> BTreeMap<String, Wanted> {
    let mut interfaces: BTreeMap<&str, Vec<&QueueConfig>> = BTreeMap::new();
    for queue in queues.iter().filter(|queue| queue.prepare) {
        if let Some(interface) = &queue.interface {
            interfaces.entry(interface).or_default().push(queue);
        }
    }
    let mut wanted = BTreeMap::new();
    for (interface, queues) in interfaces {
        match Wanted::new(queues.iter().map(|queue| queue.queue).collect(), &flows(&queues)) {
            Ok(of_it) => {
                wanted.insert(interface.to_owned(), of_it);
            }
            Err(error) => error!(interface, "cannot prepare the interface: {error}"),
        }
    }
    wanted
}

fn prepare(interface: &str, wanted: &Wanted) -> bool {
    match net::prepare(interface, wanted, &net::directories(None)) {
        Ok(steps) if steps.is_empty() => {
            debug!(interface, "the interface is prepared already");
            true
        }
        Ok(steps) => {
            for step in steps {
                info!(interface, "prepared: {}", step.command(interface));
            }
            true
        }
        Err(error) => {
            warn!(interface, "cannot prepare the interface: {error}");
            if let PrepareError::NotPermitted(plan) = error {
                for command in plan.commands {
                    warn!(interface, "run as root: {command}");
                }
            }
            false
        }
    }
}

/// Whether all rules and the RSS table are gone together.
fn was_reset(interface: &str, wanted: &Wanted) -> bool {
    if wanted.flows.is_empty() {
        return false;
    }
    let Ok(found) = net::steering(interface) else { return false };
    let no_rules = found.rules.known().is_some_and(|rules| rules.rules.is_empty());
    let spreads =
        found.rss.known().is_some_and(|rss| wanted.queues.iter().any(|queue| rss.table.contains(queue)));
    no_rules && spreads
}

/// Flows that the queues accept: each goes to the queue that listens on its port.
fn flows(queues: &[&QueueConfig]) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    for queue in queues {
        // The kernel chooses a number for port 0 at the bind.
        for address in queue.listen.iter().filter(|address| address.port() != 0) {
            let families: &[bool] = match address.ip() {
                // [::] accepts connections of both families.
                std::net::IpAddr::V6(ip) if ip.is_unspecified() => &[true, false],
                std::net::IpAddr::V6(_) => &[true],
                std::net::IpAddr::V4(_) => &[false],
            };
            for ipv6 in families {
                let flow = Flow { ipv6: *ipv6, port: address.port(), queue: Some(queue.queue) };
                let known = |other: &Flow| (other.ipv6, other.port) == (flow.ipv6, flow.port);
                if !flows.iter().any(known) {
                    flows.push(flow);
                }
            }
        }
    }
    flows
}

/// Restores an interface; tries again until the kernel has released its queues, [`RELEASE_LIMIT`] has passed, or `hurry` is set.
fn put_back_within(interface: &str, hurry: &AtomicBool) {
    let end = Instant::now() + RELEASE_LIMIT;
    while !put_back(interface, Instant::now() >= end || hurry.load(Ordering::Relaxed)) {
        thread::sleep(PAUSE);
    }
}

/// Tries to restore an interface; returns whether the attempts are over. Only the `last` attempt logs failures.
fn put_back(interface: &str, last: bool) -> bool {
    let done = match net::put_back(Some(interface), None) {
        Ok(done) => done,
        Err(error) => {
            warn!(interface, "not put back: {error}; `zcrxd nic restore` tries again");
            return true;
        }
    };
    let mut complete = true;
    for outcome in done.into_iter().map(|done| done.outcome) {
        let Outcome::Restored(restored) = outcome else { continue };
        for step in &restored.steps {
            info!(interface, "put back: {}", step.command(interface));
        }
        for foreign in &restored.foreign {
            info!(interface, "changed by another program since and left alone: {foreign}");
        }
        complete &= restored.failed.is_empty();
        for failed in restored.failed.iter().filter(|_| last) {
            warn!(interface, "could not put back: {failed}; `zcrxd nic restore` tries again");
        }
    }
    complete || last
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), std::net::AddrParseError>;

    fn queue(interface: &str, queue: u32, listen: &[&str]) -> Result<QueueConfig, std::net::AddrParseError> {
        let listen = listen.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
        let interface = Some(interface.to_owned());
        Ok(QueueConfig { interface, queue, prepare: true, ..QueueConfig::new(listen) })
    }

    #[test]
    fn each_port_is_steered_to_the_queue_that_listens_on_it() -> Outcome {
        let one = queue("eth0", 1, &["0.0.0.0:7000", "[::]:7001", "127.0.0.1:0"])?;
        let three = queue("eth0", 3, &["[fd09::1]:7000"])?;
        let steered: Vec<_> = flows(&[&one, &three]).iter().map(ToString::to_string).collect();
        assert_eq!(steered, ["tcp4:7000@1", "tcp6:7001@1", "tcp4:7001@1", "tcp6:7000@3"]);
        Ok(())
    }

    #[test]
    fn each_interface_is_prepared_for_its_own_queues() -> Outcome {
        let unprepared = QueueConfig { prepare: false, ..queue("eth2", 1, &["0.0.0.0:1"])? };
        let queues = [queue("eth0", 1, &["0.0.0.0:1"])?, queue("eth1", 2, &["0.0.0.0:2"])?, unprepared];
        let wanted = wanted(&queues);
        assert_eq!(wanted.keys().collect::<Vec<_>>(), ["eth0", "eth1"]);
        assert_eq!(wanted["eth1"].queues, [2]);
        Ok(())
    }

    #[test]
    fn running_queue_keeps_the_name_it_was_registered_by() -> Outcome {
        let mut queues = [queue("lo", 1, &[])?];
        let key = QueueKey { interface: Some("eth0".to_owned()), queue: 1 };
        name_interfaces(&mut queues, &[(key, Some(1))]);
        assert_eq!(queues[0].interface.as_deref(), Some("eth0"), "lo has index 1: it is eth0, renamed");
        name_interfaces(&mut queues, &[]);
        assert_eq!(queues[0].interface.as_deref(), Some("eth0"), "an unknown name stays");
        Ok(())
    }
}
