//! The connections that are open, and what became of the others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::task::AbortHandle;

use crate::observe::WebSample;

/// Shared between whoever accepts connections and whoever reports them.
#[derive(Default)]
pub struct Connections(Mutex<Book>);

#[derive(Default)]
struct Book {
    open: BTreeMap<u64, Open>,
    accepted: u64,
    evicted: u64,
}

struct Open {
    /// `None` of a Unix socket.
    peer: Option<IpAddr>,
    task: AbortHandle,
}

impl Connections {
    /// What the endpoint counts about its connections.
    pub fn sample(&self) -> WebSample {
        self.with(|book| WebSample {
            connections: book.open.len() as u64,
            accepted: book.accepted,
            evicted: book.evicted,
            ..WebSample::default()
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        // The book holds plain numbers: a panic elsewhere cannot have left it half written.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters a connection, which `spawn` starts under its number. If there are too many, the peer with the most loses
    /// its oldest: however many one client opens, another's scrape is not disturbed.
    pub(super) fn enter(&self, most: usize, peer: Option<IpAddr>, spawn: impl FnOnce(u64) -> AbortHandle) {
        // Spawned under the lock: however short the connection, it is entered before it leaves.
        self.with(|book| {
            let number = book.accepted;
            book.accepted += 1;
            book.open.insert(number, Open { peer, task: spawn(number) });
            if book.open.len() > most {
                book.evict();
            }
        });
    }

    /// Closes all that is still open.
    pub(super) fn close(&self) {
        for connection in self.with(|book| std::mem::take(&mut book.open)).into_values() {
            connection.task.abort();
        }
    }

    pub(super) fn leave(&self, number: u64) {
        self.with(|book| book.open.remove(&number));
    }
}

impl Book {
    fn evict(&mut self) {
        let mut counts = BTreeMap::<_, usize>::new();
        for open in self.open.values() {
            *counts.entry(open.peer).or_default() += 1;
        }
        let Some(most) = counts.values().copied().max() else { return };
        let oldest = self.open.iter().find(|(_, open)| counts.get(&open.peer) == Some(&most));
        if let Some(evicted) = oldest.map(|(number, _)| *number).and_then(|number| self.open.remove(&number))
        {
            evicted.task.abort();
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_the_most_loses_the_oldest() {
        let connections = Connections::default();
        let enter = |peer: [u8; 4]| {
            connections
                .enter(4, Some(peer.into()), |_| tokio::spawn(std::future::pending::<()>()).abort_handle());
        };
        let scraper = [127, 0, 0, 1];
        enter(scraper);
        for _ in 0..100 {
            enter([127, 0, 0, 2]);
        }
        connections.with(|book| {
            assert_eq!(book.open.len(), 4);
            assert_eq!(book.open.get(&0).and_then(|open| open.peer), Some(scraper.into()));
            assert_eq!(book.open.keys().copied().collect::<Vec<_>>(), [0, 98, 99, 100]);
            assert_eq!(book.evicted, 97);
        });
    }
}
