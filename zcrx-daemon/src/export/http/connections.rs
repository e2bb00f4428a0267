//! The open connections: how many there may be, and which one makes room for another.
//!
//! Connections are counted by network (/24 of IPv4, /64 of IPv6): an attacker has many addresses of one network, and seldom
//! many networks. Room is made by idle connections only. A connection that has never sent a request goes first, so that a
//! crowd that connects and waits cannot evict a scraper; a connection whose request is being answered never goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use crate::observe::WebSample;

/// Shared by the acceptor of connections and the export.
#[derive(Default)]
pub struct Connections(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    open: BTreeMap<u64, Open>,
    accepted: u64,
    evicted: u64,
}

struct Open {
    /// `None` for a Unix socket.
    network: Option<IpAddr>,
    task: AbortHandle,
    activity: Arc<Activity>,
}

/// What a connection is doing.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that have begun.
    requests: AtomicU32,
    /// Requests that are being answered.
    under_way: AtomicU32,
}

impl Activity {
    /// Notes that a request has begun; it ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(self))
    }

    /// Whether the connection has sent a request.
    pub(super) fn has_asked(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }
}

/// A request that is being answered.
pub(super) struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) connections: usize,
    pub(super) of_one_network: usize,
}

impl Connections {
    /// What the endpoint counts about its connections.
    pub fn sample(&self) -> WebSample {
        self.with(|registry| WebSample {
            connections: registry.open.len() as u64,
            accepted: registry.accepted,
            evicted: registry.evicted,
            ..WebSample::default()
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        // The registry holds plain numbers: a panic elsewhere cannot have left it half written.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters a connection, which `spawn` starts under its number; `false` if there is no room and nothing idle to make
    /// room: then `spawn` is not called.
    pub(super) fn enter(
        &self,
        room: Room,
        peer: Option<IpAddr>,
        spawn: impl FnOnce(u64, Arc<Activity>) -> AbortHandle,
    ) -> bool {
        // Spawned under the lock: however short the connection, it is entered before it leaves.
        self.with(|registry| {
            let number = registry.accepted;
            registry.accepted += 1;
            if !registry.make_room(room, peer.map(network)) {
                registry.evicted += 1;
                return false;
            }
            let activity = Arc::new(Activity::default());
            let task = spawn(number, Arc::clone(&activity));
            registry.open.insert(number, Open { network: peer.map(network), task, activity });
            true
        })
    }

    /// Closes all that is still open.
    pub(super) fn close(&self) {
        for connection in self.with(|registry| std::mem::take(&mut registry.open)).into_values() {
            connection.task.abort();
        }
    }

    pub(super) fn leave(&self, number: u64) {
        self.with(|registry| registry.open.remove(&number));
    }
}

impl Registry {
    /// Makes room for one more connection from `network`; `false` if no connection may go.
    fn make_room(&mut self, room: Room, network: Option<IpAddr>) -> bool {
        let of_this = self.open.values().filter(|open| network.is_some() && open.network == network).count();
        if of_this >= room.of_one_network {
            return self.evict(|open| open.network == network);
        }
        self.open.len() < room.connections || self.evict(|_| true)
    }

    /// Closes the oldest idle connection among those that `may_go`: one that never sent a request, if there is one.
    fn evict(&mut self, may_go: impl Fn(&Open) -> bool) -> bool {
        let idle = || self.open.iter().filter(|(_, open)| may_go(open) && open.activity.is_idle());
        let found = idle().find(|(_, open)| !open.activity.has_asked()).or_else(|| idle().next());
        let Some(evicted) = found.map(|(&number, _)| number).and_then(|number| self.open.remove(&number))
        else {
            return false;
        };
        evicted.task.abort();
        self.evicted += 1;
        true
    }
}

/// The /24 or /64 that an address lies in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            [a, b, c, 0].into()
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { connections: 6, of_one_network: 3 };

    /// Enters a connection; the activity if there was room.
    fn enter(connections: &Connections, peer: [u8; 4]) -> Option<Arc<Activity>> {
        let mut entered = None;
        connections.enter(ROOM, Some(peer.into()), |_, activity| {
            entered = Some(activity);
            tokio::spawn(std::future::pending::<()>()).abort_handle()
        });
        entered
    }

    fn open(connections: &Connections) -> Vec<u64> {
        connections.with(|registry| registry.open.keys().copied().collect())
    }

    #[tokio::test]
    async fn crowd_of_one_network_makes_room_for_itself() {
        let connections = Connections::default();
        enter(&connections, [192, 0, 2, 1]);
        for host in 0..100 {
            assert!(enter(&connections, [198, 51, 100, host]).is_some());
        }
        assert_eq!(open(&connections), [0, 98, 99, 100]);
        assert_eq!(connections.sample().evicted, 97);
    }

    #[tokio::test]
    async fn silent_crowd_of_many_networks_does_not_evict_a_scraper() {
        let connections = Connections::default();
        let scraper = enter(&connections, [192, 0, 2, 1]).expect("there is room");
        drop(scraper.begin());
        for network in 0..100 {
            assert!(enter(&connections, [10, 0, network, 1]).is_some());
        }
        assert!(open(&connections).contains(&0), "a connection that asked before outlives silent ones");
    }

    #[tokio::test]
    async fn answers_under_way_are_never_cut_off() {
        let connections = Connections::default();
        let busy: Vec<_> = (0..6)
            .map(|network| enter(&connections, [10, 0, network, 1]).expect("there is room").begin())
            .collect();
        assert!(enter(&connections, [10, 0, 9, 1]).is_none(), "all are busy");
        assert_eq!(open(&connections), [0, 1, 2, 3, 4, 5]);
        drop(busy);
        assert!(enter(&connections, [10, 0, 9, 1]).is_some());
    }

    #[test]
    fn networks_of_addresses() {
        let of = |address: &str| network(address.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.0");
        assert_eq!(of("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
