//! Counters of a NIC's receive queues, by the names that the software NIC gives them.

use anyhow::{Context, Result, bail};
use netlink_bindings::netdev;
use netlink_socket2::NetlinkSocket;

use super::device::Device;
use super::driver::Driver;
use super::end::End;
use crate::harness::scenario::Skip;

/// A counter of one queue, as in `rx1_niov_bytes`.
///
/// For real drivers, failed allocations are what the driver itself reports; all else is what the emulated device counts, at
/// the receiving end.
pub(super) fn read(end: End<'_>, name: &str) -> Result<u64> {
    let driver = Driver::of_this_guest()?;
    if driver == Driver::Software {
        return software(end, name);
    }
    let parts = name.strip_prefix("rx").and_then(|rest| rest.split_once('_'));
    let (queue, what) = parts.with_context(|| format!("{name} is not a queue's counter"))?;
    let queue = queue.parse().with_context(|| format!("{name} names no queue"))?;
    let counter = match what {
        "alloc_fail" => return failed_allocations(end, queue),
        "packets" => 0,
        "split" => 1,
        "niov_bytes" => 2,
        "drop_no_buffer" => 3,
        "held" => 4,
        "unsplit_bytes" => 5,
        other => bail!(Skip(format!("{} has no counter {other}", driver.name()))),
    };
    Device::receiving()?.counter(queue, counter)
}

fn software(end: End<'_>, name: &str) -> Result<u64> {
    let table = end.ethtool(&["-S", end.interface])?;
    let value = table.lines().find_map(|line| {
        let (key, value) = line.trim().split_once(": ")?;
        (key == name).then(|| value.parse().ok())?
    });
    value.with_context(|| format!("{} has no counter {name}", end.interface))
}

/// The driver's own count of buffers that it could not get for a queue (`rx-alloc-fail` of the queue's statistics).
fn failed_allocations(end: End<'_>, queue: u32) -> Result<u64> {
    const PER_QUEUE: u32 = 1;
    const RECEIVE: u32 = 0;
    let ifindex = end.ifindex()?;
    end.namespace.enter(|| {
        let mut request = netdev::Request::new().op_qstats_get_dump();
        drop(request.encode().push_ifindex(ifindex).push_scope(PER_QUEUE));
        let mut socket = NetlinkSocket::new();
        let mut replies = socket.request(&request).context("cannot ask for queue statistics")?;
        let mut failed = None;
        while let Some(reply) = replies.recv() {
            let reply = reply.context("queue statistics are refused")?;
            if reply.get_queue_id().ok() == Some(queue) && reply.get_queue_type().ok() == Some(RECEIVE) {
                failed = reply.get_rx_alloc_fail().ok().map(u64::from);
            }
        }
        failed.with_context(|| format!("the driver counts no failed allocations of receive queue {queue}"))
    })
}
