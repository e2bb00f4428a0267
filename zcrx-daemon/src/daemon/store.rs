//! Descriptors that systemd passed to zcrxd, and those that it keeps while zcrxd restarts (its file descriptor store).
//!
//! systemd passes both kinds together. The store's have names that zcrxd gave them; all others are sockets of the web endpoint.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::manager::Manager;
use super::{connections, events, package};
use crate::probe::{Kept, Probes};
use crate::receive::{HandedQueue, ListenerStore, end_unknown};

/// Begin of the names in the store that are listening sockets.
const LISTENER: &str = "zcrxd-listen-";

/// Name in the store of the package with connections.
const CONNECTIONS: &str = "zcrxd-connections";

/// Name in the store of the package with programs and their counts.
const PROGRAMS: &str = "zcrxd-programs";

/// How long zcrxd waits at its end until systemd has the connections.
const HANDED_OVER_LIMIT: Duration = Duration::from_secs(3);

/// systemd's file descriptor store, as zcrxd uses it.
pub(super) struct Store {
    manager: Arc<Manager>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Sockets for the web endpoint.
    web: Vec<OwnedFd>,
    /// Listening sockets of an earlier process that no queue has taken yet.
    inherited: Vec<(String, TcpListener)>,
    /// Connections of an earlier process.
    connections: Option<OwnedFd>,
    /// Programs of an earlier process, and their counts.
    programs: Option<OwnedFd>,
    /// Names of the listening sockets in the store that queues use.
    kept: BTreeSet<String>,
}

impl Store {
    /// Takes the descriptors that systemd passed. Called once, before any other code uses them.
    pub(super) fn open(manager: Arc<Manager>) -> io::Result<Self> {
        let mut state = State::default();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for number in sd_notify::listen_fds()? {
            let name = names.next().unwrap_or_default().to_owned();
            // SAFETY: the protocol gives these descriptors to this process alone, and this is called once.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            if name.starts_with(LISTENER) {
                state.inherited.push((name, TcpListener::from(descriptor)));
            } else if name == CONNECTIONS {
                state.connections = Some(descriptor);
            } else if name == PROGRAMS {
                state.programs = Some(descriptor);
            } else {
                state.web.push(descriptor);
            }
        }
        Ok(Self { manager, state: Mutex::new(state) })
    }

    /// Takes the sockets of the web endpoint.
    pub(super) fn take_web(&self) -> Vec<OwnedFd> {
        mem::take(&mut self.state().web)
    }

    /// Whether descriptors outlive this process.
    pub(super) fn is_open(&self) -> bool {
        self.manager.stores()
    }

    /// Takes the connections of the zcrxd before. Ends them if their state cannot be read.
    pub(super) fn take_connections(&self) -> Vec<HandedQueue> {
        let Some(package) = self.state().connections.take() else { return Vec::new() };
        self.manager.discard(CONNECTIONS);
        match connections::unpack(&package) {
            Ok(queues) => {
                events::connections_taken_over(queues.iter().map(HandedQueue::len).sum());
                queues
            }
            Err(failure) => {
                events::connections_not_taken_over(failure.sockets.len(), &failure.why);
                end_unknown(&failure.sockets);
                Vec::new()
            }
        }
    }

    /// Leaves connections and hardware queues to the next zcrxd. Ends them if systemd cannot keep them. Blocks until systemd has
    /// them. Returns the interfaces whose queues go on.
    pub(super) fn leave_connections(&self, queues: Vec<HandedQueue>) -> Vec<String> {
        let count = queues.iter().map(HandedQueue::len).sum();
        let interfaces = queues.iter().filter_map(HandedQueue::interface).map(str::to_owned).collect();
        if queues.is_empty() {
            return interfaces;
        }
        match connections::pack(queues) {
            Ok(package) => {
                self.manager.store(CONNECTIONS, package);
                match self.manager.wait_until_handled(HANDED_OVER_LIMIT) {
                    Ok(()) => {
                        events::connections_left(count);
                        return interfaces;
                    }
                    Err(error) => events::connections_not_left(count, &error),
                }
            }
            Err(failure) => {
                events::connections_not_left(count, &failure.why);
                end_unknown(&failure.sockets);
            }
        }
        Vec::new()
    }

    /// Takes the programs of the zcrxd before, which count on.
    pub(super) fn take_programs(&self) -> Option<Kept> {
        let package = self.state().programs.take()?;
        self.manager.discard(PROGRAMS);
        let package::Contents { text, descriptors } = package::unpack(&package);
        match text.and_then(|text| Ok(serde_json::from_slice::<Kept>(&text)?)) {
            Ok(mut kept) => {
                kept.set_descriptors(descriptors);
                Some(kept)
            }
            Err(error) => {
                events::counts_begin_at_zero(&error.to_string());
                None
            }
        }
    }

    /// Leaves programs and their counts to the next zcrxd, however this one ends. They end with [`Store::end_programs`], and when
    /// systemd empties the store because the service has stopped.
    pub(super) fn leave_programs(&self, probes: &Probes) {
        if !self.is_open() {
            return;
        }
        let package = probes.keep().and_then(|kept| {
            let Some(mut kept) = kept else { return Ok(None) };
            let descriptors = kept.take_descriptors();
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            package::pack(&serde_json::to_vec(&kept)?, &borrowed).map(Some)
        });
        match package {
            Ok(Some(package)) => self.manager.store(PROGRAMS, package),
            Ok(None) => {}
            Err(error) => warn!(
                %error,
                "counts of queues will begin at zero after a restart; LimitNOFILE= of the service must allow twice the probes' descriptors"
            ),
        }
    }

    /// Ends what [`Store::leave_programs`] left: no zcrxd follows.
    pub(super) fn end_programs(&self) {
        if self.is_open() {
            self.manager.discard(PROGRAMS);
        }
    }

    /// Closes listening sockets of an earlier process that no queue has taken.
    pub(super) fn close_unused(&self) {
        for (name, listener) in mem::take(&mut self.state().inherited) {
            if let Ok(address) = listener.local_addr() {
                info!("no queue listens on {address} any more: closing the socket of the zcrxd before");
            }
            self.manager.discard(&name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is harmless: each change adds or removes a whole entry.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListenerStore for Store {
    fn outlives(&self) -> bool {
        self.is_open()
    }

    fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut state = self.state();
        let bound = |(_, listener): &(String, TcpListener)| listener.local_addr().ok() == Some(address);
        let found = state.inherited.iter().position(bound)?;
        let (name, listener) = state.inherited.swap_remove(found);
        state.kept.insert(name);
        Some(listener)
    }

    fn keep(&self, address: SocketAddr, listener: &TcpListener) {
        if !self.is_open() {
            return;
        }
        match listener.try_clone() {
            Ok(copy) => {
                let name = name(address);
                self.manager.store(&name, copy.into());
                self.state().kept.insert(name);
            }
            Err(error) => warn!(%error, "a restart will refuse connections to {address} for a moment"),
        }
    }

    fn forget(&self, address: SocketAddr) {
        let name = name(address);
        if self.state().kept.remove(&name) {
            self.manager.discard(&name);
        }
    }
}

/// Name of a listening socket in the store, where a colon is not allowed.
fn name(address: SocketAddr) -> String {
    format!("{LISTENER}{}", address.to_string().replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_addresses_have_two_names_without_a_colon() -> Result<(), std::net::AddrParseError> {
        let texts = ["127.0.0.1:7000", "[::]:7000", "[::7000]:80", "[::]:80", "[fe80::1%2]:80"];
        let mut names = BTreeSet::new();
        for text in texts {
            names.insert(name(text.parse()?));
        }
        assert_eq!(names.len(), texts.len());
        assert!(names.iter().all(|name| !name.contains(':') && name.is_ascii()), "{names:?}");
        Ok(())
    }
}
