//! Values that may occur only once.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

use super::Checker;
use crate::config::Web;
use crate::config::address::{WebAddress, collide, parse_address};
use crate::config::file::QueueDraft;
use crate::config::said::{Said, Source};
use crate::net::kernel_name;

impl Checker<'_> {
    /// Two queues cannot have the same hardware queue or the same address.
    pub(super) fn nothing_twice(&mut self, queues: &[Said<QueueDraft>], web: &Web) {
        // The addresses of a socket from systemd stand in its unit.
        let web: Vec<SocketAddr> = if web.systemd_socket {
            Vec::new()
        } else {
            web.listen.iter().filter_map(WebAddress::ip).collect()
        };
        let mut hardware = Seen::default();
        let mut addresses: Vec<(SocketAddr, Source)> = Vec::new();
        for Said { value: draft, source } in queues {
            if let Some(interface) = &draft.interface {
                let queue = draft.queue.as_ref().map_or(0, |said| said.value);
                let at = draft.queue.as_ref().map_or(source, |said| &said.source);
                // An alternative name is the same interface.
                let name = kernel_name(&interface.value).unwrap_or_else(|| interface.value.clone());
                if let Some(first) = hardware.first((name, queue), at) {
                    let first = self.document.place(&first);
                    self.refuse(
                        at,
                        format!("queue {queue} of {} is already taken, at {first}", interface.value),
                        "give each queue its own",
                    );
                }
            }
            for said in draft.listen.iter().flatten() {
                let Ok(address) = parse_address(&said.value) else { continue };
                if let Some((_, first)) = addresses.iter().find(|(taken, _)| collide(*taken, address)) {
                    let first = self.document.place(first);
                    self.refuse(
                        &said.source,
                        format!("address {address} is already listened on, at {first}"),
                        "give each queue its own",
                    );
                } else if let Some(taken) = web.iter().find(|taken| collide(**taken, address)) {
                    self.refuse(
                        &said.source,
                        format!("address {address} is that of the web endpoint, {taken}"),
                        "give the queue another port, or the web endpoint another address (listen_addresses in [web])",
                    );
                }
                addresses.push((address, said.source.clone()));
            }
        }
    }
}

/// Places of the first occurrences.
struct Seen<K>(HashMap<K, Source>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Seen<K> {
    /// Place of an earlier occurrence of `key`, if any.
    fn first(&mut self, key: K, at: &Source) -> Option<Source> {
        let earlier = self.0.get(&key).cloned();
        if earlier.is_none() {
            self.0.insert(key, at.clone());
        }
        earlier
    }
}
