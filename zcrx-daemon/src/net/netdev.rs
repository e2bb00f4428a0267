//! The netdev family of generic netlink: receive queues and page pools. Needs no privilege.

use std::io;

use netlink_bindings::netdev::{QueueType, Request};
use netlink_socket2::NetlinkSocket;

/// One page pool of this network namespace, as `page-pool-get` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePool {
    /// Its id, unique on the host.
    pub id: u32,
    /// Index of its interface; `None` once that is gone.
    pub ifindex: Option<u32>,
}

/// Page pools of the interfaces in this network namespace; empty on a kernel that cannot tell. Linux 6.8.
pub fn page_pools() -> Vec<PagePool> {
    let mut socket = NetlinkSocket::new();
    let request = Request::new().op_page_pool_get_dump();
    let Ok(mut replies) = socket.request(&request) else { return Vec::new() };
    let mut pools = Vec::new();
    while let Some(Ok(reply)) = replies.recv() {
        if let Ok(id) = reply.get_id() {
            pools.push(PagePool { id, ifindex: reply.get_ifindex().ok() });
        }
    }
    pools
}

/// How many receive queues an interface has in use; none while it is down. Linux 6.8; an error before.
pub fn rx_queues(ifindex: u32) -> io::Result<u32> {
    let mut socket = NetlinkSocket::new();
    let mut request = Request::new().op_queue_get_dump();
    request.encode().push_ifindex(ifindex);
    let mut replies = socket.request(&request)?;
    let mut queues = 0;
    while let Some(reply) = replies.recv() {
        if reply?.get_type().ok() == Some(QueueType::Rx as u32) {
            queues += 1;
        }
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interface_index;

    #[test]
    fn the_loopback_interface_has_a_receive_queue() -> io::Result<()> {
        let lo = interface_index("lo").expect("every network namespace has lo");
        assert!(rx_queues(lo)? >= 1);
        Ok(())
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(rx_queues(i32::MAX as u32).is_err());
    }
}
