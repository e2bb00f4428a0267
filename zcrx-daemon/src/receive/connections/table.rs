//! All connections of one ring, and the limit of the area that their sockets may occupy.

use std::fs;

use slab::Slab;
use socket2::Socket;

use super::Connection;

/// The receive buffer (`sk_rcvbuf`) that each connection of a full queue gets, bytes.
const LEAST_SHARE: u64 = 16 << 10;
/// Smallest receive buffer of a connection, bytes: TCP needs room for a few segments.
const FLOOR: u64 = 8 << 10;
/// Number of connections that every area allows.
const LEAST_CONNECTIONS: u64 = 64;

/// Limits the part of the area that the sockets of a device queue occupy.
///
/// Payload that waits in a socket occupies buffers of the area. Without a limit a connection may occupy as much as
/// `tcp_rmem` allows, which is more than a small area has, and a few slow connections starve the queue. So all sockets
/// together get half of the area, in equal shares, and the number of connections is limited so that each gets a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receive) struct SocketBudget {
    bytes: u64,
    /// Largest receive buffer that the kernel chooses itself, bytes.
    system_max: u64,
}

impl SocketBudget {
    /// Creates the budget of a device queue with an area of this size.
    pub(in crate::receive) fn of_area(area_bytes: u64) -> Self {
        Self { bytes: area_bytes / 2, system_max: tcp_rmem_max().unwrap_or(u64::MAX) }
    }

    /// Largest number of connections of the queue.
    pub(in crate::receive) const fn connections(self) -> u64 {
        let connections = self.bytes / LEAST_SHARE;
        if connections < LEAST_CONNECTIONS { LEAST_CONNECTIONS } else { connections }
    }

    /// Receive buffer of each connection, for a number of connections, bytes.
    fn share(self, connections: usize) -> u64 {
        let connections = connections.max(1).next_power_of_two() as u64;
        (self.bytes / connections).max(FLOOR).min(self.system_max)
    }
}

/// Largest receive buffer that the kernel chooses for a TCP socket.
fn tcp_rmem_max() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").ok()?;
    text.split_whitespace().nth(2)?.parse().ok()
}

/// The connections of one ring.
#[derive(Default)]
pub(in crate::receive) struct Table {
    connections: Slab<Connection>,
    /// `None` where payload in sockets does not occupy the area.
    budget: Option<SocketBudget>,
    /// The current share of each socket; `None` before the first one.
    share: Option<u64>,
}

impl Table {
    /// Limits the sockets from now on.
    pub(in crate::receive) fn set_budget(&mut self, budget: Option<SocketBudget>) {
        self.budget = budget;
        self.share = None;
        self.rebalance();
    }

    /// Whether another connection has room.
    pub(in crate::receive) fn has_room(&self) -> bool {
        self.budget.is_none_or(|budget| (self.connections.len() as u64) < budget.connections())
    }

    /// Largest number of connections; `None` without a limit.
    pub(in crate::receive) fn limit(&self) -> Option<u64> {
        self.budget.map(SocketBudget::connections)
    }

    /// Current receive buffer of each connection, bytes; `None` where the kernel chooses it.
    pub(in crate::receive) const fn share(&self) -> Option<u64> {
        self.share
    }

    /// Adds a connection. Its index stays the same until it is removed.
    pub(in crate::receive) fn insert(&mut self, connection: Connection) -> u32 {
        let index = self.connections.insert(connection);
        if !self.rebalance()
            && let (Some(share), Some(connection)) = (self.share, self.connections.get(index))
        {
            set_receive_buffer(&connection.socket, share);
        }
        index as u32
    }

    /// Removes a connection.
    pub(in crate::receive) fn remove(&mut self, index: u32) -> Option<Connection> {
        self.connections.try_remove(index as usize)
    }

    /// Sets the receive buffer of all sockets if their share has changed. Returns whether it has.
    pub(in crate::receive) fn rebalance(&mut self) -> bool {
        let Some(budget) = self.budget else { return false };
        let share = budget.share(self.connections.len());
        // The kernel never chooses a larger buffer itself: there is nothing to limit.
        let unbounded = self.share.is_none() && share >= budget.system_max;
        if unbounded || self.share == Some(share) {
            return false;
        }
        self.share = Some(share);
        for (_, connection) in &self.connections {
            set_receive_buffer(&connection.socket, share);
        }
        true
    }

    #[inline]
    pub(in crate::receive) fn get_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.connections.get_mut(index as usize)
    }

    pub(in crate::receive) fn get(&self, index: u32) -> Option<&Connection> {
        self.connections.get(index as usize)
    }

    pub(in crate::receive) fn len(&self) -> usize {
        self.connections.len()
    }

    /// All connections, with their indices.
    pub(in crate::receive) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Connection)> {
        self.connections.iter_mut().map(|(index, connection)| (index as u32, connection))
    }

    /// Indices of all connections.
    pub(in crate::receive) fn indices(&self) -> Vec<u32> {
        self.connections.iter().map(|(index, _)| index as u32).collect()
    }
}

/// Sets `sk_rcvbuf` of a socket. A socket that refuses keeps the size that the kernel gave it.
fn set_receive_buffer(socket: &Socket, bytes: u64) {
    use std::os::fd::AsRawFd;
    // The kernel doubles the value for its own bookkeeping.
    let half = libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX / 2);
    let set = |option| {
        // SAFETY: the kernel reads one int, which lives long enough.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const half).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        }
    };
    // A size above net.core.rmem_max needs CAP_NET_ADMIN, which a device queue has.
    if set(libc::SO_RCVBUFFORCE) != 0 {
        set(libc::SO_RCVBUF);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_together_hold_at_most_half_of_the_area() {
        for area in [1 << 20, 16 << 20, 1 << 30_u64] {
            let budget = SocketBudget { bytes: area / 2, system_max: 6 << 20 };
            let most = budget.connections();
            for connections in [1, 2, 3, 100, most].into_iter().filter(|connections| *connections <= most) {
                let all = budget.share(connections as usize) * connections;
                assert!(all <= area / 2 || most == LEAST_CONNECTIONS, "{connections} of {area}: {all}");
            }
        }
    }

    #[test]
    fn lone_connection_on_a_large_area_keeps_the_kernels_size() {
        let budget = SocketBudget { bytes: 8 << 20, system_max: 6 << 20 };
        assert_eq!(budget.share(1), 6 << 20);
        let mut table = Table::default();
        table.set_budget(Some(budget));
        assert_eq!(table.share(), None);
    }
}
