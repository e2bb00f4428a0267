//! The kernel's own list of page pools.

use std::time::Duration;

use anyhow::{Context, Result};
use netlink_bindings::netdev;
use netlink_socket2::NetlinkSocket;

/// One page pool of the current network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PagePool {
    /// Its id.
    pub id: u32,
    /// Interface it feeds; the loopback's if that interface is gone.
    pub ifindex: Option<u32>,
    /// Pages or niovs in flight: allocated and not returned.
    pub inflight: Option<u32>,
    /// When it was let go, seconds since boot, if it was: it lives on until everything has come back.
    pub detached: Option<u32>,
}

/// Lists them; `None` if this kernel cannot.
pub(crate) fn list() -> Result<Option<Vec<PagePool>>> {
    let mut socket = NetlinkSocket::new();
    let request = netdev::Request::new().op_page_pool_get_dump();
    let mut replies = match socket.request(&request) {
        Ok(replies) => replies,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error).context("cannot ask for page pools"),
    };
    let mut pools = Vec::new();
    while let Some(reply) = replies.recv() {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) if error.as_io_error().raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error).context("cannot read the list of page pools"),
        };
        pools.push(PagePool {
            id: reply.get_id().context("a page pool without an id")?,
            ifindex: reply.get_ifindex().ok(),
            inflight: reply.get_inflight().ok(),
            detached: reply.get_detach_time().ok(),
        });
    }
    Ok(Some(pools))
}

/// Fails if a pool is still there after `limit`.
pub(crate) fn wait_until_none(limit: Duration) -> Result<()> {
    let mut last = Vec::new();
    let gone = super::eventually("no page pool left", limit, || {
        last = list()?.unwrap_or_default();
        Ok(last.is_empty().then_some(()))
    });
    gone.with_context(|| {
        let describe = |pool: &PagePool| {
            let number = |value: Option<u32>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
            let (interface, inflight) = (number(pool.ifindex), number(pool.inflight));
            let since = number(pool.detached);
            format!("{} of interface {interface}, {inflight} in flight, detached at {since} s", pool.id)
        };
        let pools: Vec<_> = last.iter().map(describe).collect();
        format!("page pools left behind: {}", pools.join("; "))
    })
}
