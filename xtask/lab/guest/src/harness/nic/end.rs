//! One end of the wire: its settings, and what it counts.

use std::ffi::CString;
use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use netlink_bindings::ethtool;
use netlink_socket2::NetlinkSocket;

use super::counters;
use super::driver::Driver;
use super::{PORT, QUEUE};
use crate::harness::eventually;
use crate::harness::namespace::Namespace;

/// How long a link may take to come up.
const LIMIT: Duration = Duration::from_mins(1);

/// `ETHTOOL_TCP_DATA_SPLIT_DISABLED`.
pub(crate) const SPLIT_OFF: u8 = 1;
/// `ETHTOOL_TCP_DATA_SPLIT_ENABLED`.
const SPLIT_ON: u8 = 2;

/// One end of the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    /// The host it is in.
    pub namespace: &'a Namespace,
    /// Its interface.
    pub interface: &'static str,
    /// Its address.
    pub(super) address: &'static str,
}

impl End<'_> {
    /// Sets it up as zcrx wants it: header split, [`QUEUE`] for traffic to [`PORT`] alone.
    pub(crate) fn prepare(self) -> Result<()> {
        // A socket that takes more than the area has would turn every slow moment into drops.
        self.receive_buffers(128 << 10, 1 << 20)?;
        self.header_split(true, 0)?;
        self.ethtool(&["-K", self.interface, "ntuple", "on"])?;
        self.ethtool(&["-X", self.interface, "equal", "1"])?;
        let (port, queue) = (PORT.to_string(), QUEUE.to_string());
        self.ethtool(&["-N", self.interface, "flow-type", "tcp4", "dst-port", &port, "action", &queue])
            .map(drop)
    }

    /// Where the other end sends to.
    pub(crate) fn listens(self) -> String {
        format!("{}:{PORT}", self.address)
    }

    /// Its interface's index.
    pub(crate) fn ifindex(self) -> Result<u32> {
        let name = CString::new(self.interface).context("names hold no NUL")?;
        self.namespace.enter(|| {
            // SAFETY: a NUL-terminated string that lives to the end of the call.
            match unsafe { libc::if_nametoindex(name.as_ptr()) } {
                0 => Err(io::Error::last_os_error())
                    .with_context(|| format!("{} has no index", self.interface)),
                index => Ok(index),
            }
        })
    }

    /// Calls ethtool here.
    pub(crate) fn ethtool(self, arguments: &[&str]) -> Result<String> {
        self.namespace.run("ethtool", arguments)
    }

    /// Sets how much sockets hold at first and at most, bytes.
    pub(crate) fn receive_buffers(self, first: u64, most: u64) -> Result<()> {
        let limits = format!("4096 {first} {most}");
        let set = || fs::write("/proc/sys/net/ipv4/tcp_rmem", limits).context("cannot set tcp_rmem");
        self.namespace.enter(set)
    }

    /// Waits long before it sends again what is not acknowledged.
    pub(crate) fn send_patiently(self) -> Result<()> {
        self.namespace.enter(|| {
            fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0")
                .context("cannot switch tail loss probes off")
        })?;
        let route = ["route", "change", "10.9.0.0/24", "dev", self.interface, "rto_min", "20s"];
        self.namespace.run("ip", &route).map(drop)
    }

    /// Waits until the link is up; some drivers take seconds for that, and lose it at each reconfiguration.
    pub(crate) fn wait_for_carrier(self) -> Result<()> {
        eventually("the link is up", LIMIT, || {
            let link = self.namespace.run("ip", &["-o", "link", "show", self.interface])?;
            Ok(link.contains("LOWER_UP").then_some(()))
        })
    }

    /// Switches header split on or off and sets its threshold.
    pub(crate) fn header_split(self, on: bool, threshold: u32) -> Result<()> {
        // gve refuses a request that names a threshold.
        let has_threshold = Driver::of_this_guest()? != Driver::Gve;
        self.set_header_split(if on { SPLIT_ON } else { SPLIT_OFF }, has_threshold.then_some(threshold))
    }

    /// Sets header split (`ETHTOOL_TCP_DATA_SPLIT_*`) and, if given, its threshold. Over netlink: ethtool's program learned it late.
    pub(crate) fn set_header_split(self, split: u8, threshold: Option<u32>) -> Result<()> {
        const RINGS_SET: u8 = 16;
        self.namespace.enter(|| {
            let mut request = ethtool::Request::new().op_rings_set_do();
            // The bindings number ethtool's commands by place in the specification, which leaves some out.
            request.header_mut().cmd = RINGS_SET;
            let name = self.interface.as_bytes();
            let header = request.encode().nested_header().push_dev_name_bytes(name).end_nested();
            let with_split = header.push_tcp_data_split(split);
            drop(match threshold {
                Some(threshold) => with_split.push_hds_thresh(threshold),
                None => with_split,
            });
            let mut socket = NetlinkSocket::new();
            let mut reply = socket.request(&request).context("cannot ask for header split")?;
            reply.recv_ack().context("header split is refused")
        })
    }

    /// Header split and its threshold as the driver reports them; `None` for what it does not report.
    pub(crate) fn reported_header_split(self) -> Result<(Option<u8>, Option<u32>)> {
        const RINGS_GET: u8 = 15;
        self.namespace.enter(|| {
            let mut request = ethtool::Request::new().op_rings_get_do();
            request.header_mut().cmd = RINGS_GET;
            drop(request.encode().nested_header().push_dev_name_bytes(self.interface.as_bytes()));
            let mut socket = NetlinkSocket::new();
            let mut reply = socket.request(&request).context("cannot ask for the rings")?;
            let rings = reply.recv_one().context("the rings are refused")?;
            Ok((rings.get_tcp_data_split().ok(), rings.get_hds_thresh().ok()))
        })
    }

    /// One of its own counters, by the name that the software NIC gives it, as in `rx1_niov_bytes`.
    pub(crate) fn stat(self, name: &str) -> Result<u64> {
        counters::read(self, name)
    }
}
