//! Prepares interfaces for queues with `prepare = true`, and restores them at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::net::{self, Flow, Outcome, PrepareError, Wanted};
use crate::receive::QueueConfig;

/// Time that the kernel may take to release a queue whose ring was closed; until then it refuses the restore.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Interfaces that zcrxd prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    interfaces: BTreeSet<String>,
}

impl Prepared {
    /// Prepares each interface for all its queues with `prepare = true`.
    ///
    /// A failure is logged with the commands that a user can run. zcrxd continues: the registration shows whether the queue
    /// works anyway, and with `auto` another backend may receive.
    pub(super) fn prepare(&mut self, queues: &[QueueConfig]) {
        let mut interfaces: BTreeMap<&str, Vec<&QueueConfig>> = BTreeMap::new();
        for queue in queues.iter().filter(|queue| queue.prepare) {
            if let Some(interface) = &queue.interface {
                interfaces.entry(interface).or_default().push(queue);
            }
        }
        for (interface, queues) in interfaces {
            if prepare(interface, &queues) {
                self.interfaces.insert(interface.to_owned());
            }
        }
    }

    /// Restores the interfaces. The journal keeps failed steps for `zcrxd nic restore` and for the next start.
    pub(super) fn put_back(&self) {
        for interface in &self.interfaces {
            let end = Instant::now() + RELEASE_LIMIT;
            while !put_back(interface, Instant::now() >= end) {
                thread::sleep(PAUSE);
            }
        }
    }
}

fn prepare(interface: &str, queues: &[&QueueConfig]) -> bool {
    let wanted = match Wanted::new(queues.iter().map(|queue| queue.queue).collect(), &flows(queues)) {
        Ok(wanted) => wanted,
        Err(error) => {
            error!(interface, "cannot prepare the interface: {error}");
            return false;
        }
    };
    match net::prepare(interface, &wanted, &net::directories(None)) {
        Ok(steps) if steps.is_empty() => {
            info!(interface, "needs no change for zcrx");
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

/// Whether that is done with, well or badly. Only the `last` attempt complains.
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

    #[test]
    fn each_port_is_steered_to_the_queue_that_listens_on_it() -> Result<(), std::net::AddrParseError> {
        let queue = |queue, listen: &[&str]| {
            let listen = listen.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
            Ok(QueueConfig { queue, ..QueueConfig::new(listen) })
        };
        let (one, three) =
            (queue(1, &["0.0.0.0:7000", "[::]:7001", "127.0.0.1:0"])?, queue(3, &["[fd09::1]:7000"])?);
        let steered: Vec<_> = flows(&[&one, &three]).iter().map(ToString::to_string).collect();
        assert_eq!(steered, ["tcp4:7000@1", "tcp6:7001@1", "tcp4:7001@1", "tcp6:7000@3"]);
        Ok(())
    }
}
