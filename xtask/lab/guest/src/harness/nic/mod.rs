//! The guest's NIC: a pair of interfaces, one in each of two network namespaces.
//!
//! Scenarios are written for a NIC and not for one driver. What a driver does not have (a counter, a fault knob) ends a
//! scenario as skipped, with the reason.

mod counters;
mod device;
mod driver;
mod end;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub(crate) use self::driver::{insert, missing, other, remove, unload};
pub(crate) use self::end::{End, SPLIT_OFF};

use self::device::Device;
pub(crate) use self::driver::Driver;
use super::namespace::Namespace;
use super::scenario::Skip;

/// The receiving end's interface.
pub(crate) const RX: &str = "zcn0";
/// The sending end's interface.
pub(crate) const TX: &str = "zcn1";
/// The receiving end's address.
pub(crate) const RX_ADDRESS: &str = "10.9.0.1";
/// The sending end's address.
pub(crate) const TX_ADDRESS: &str = "10.9.0.2";
/// The queue that traffic to [`PORT`] is steered to; all else goes to queue 0.
pub(crate) const QUEUE: u32 = 1;
/// The TCP port that is steered to [`QUEUE`].
pub(crate) const PORT: u16 = 9999;

/// The pair, up: one end in each of two namespaces, header split on, traffic steered.
#[derive(Debug)]
pub(crate) struct Nic {
    /// The receiving host.
    pub rx: Namespace,
    /// The sending host.
    pub tx: Namespace,
}

/// Skips the scenario where a driver of the kernel's own does not give this queue: gve keeps its first one, and an emulated device has
/// fewer than the software NIC.
pub(crate) fn needs_queue(namespace: &Namespace, interface: &str, queue: u32) -> Result<()> {
    let driver = Driver::of_this_guest().unwrap_or(Driver::Software);
    if driver == Driver::Software {
        return Ok(());
    }
    let channels = namespace.run("ethtool", &["-l", interface])?;
    let now = channels.lines().skip_while(|line| !line.starts_with("Current")).filter_map(|line| {
        let (kind, count) = line.split_once(':')?;
        ["RX", "Combined"].contains(&kind).then(|| count.trim().parse::<u32>().ok())?
    });
    let (name, queues) = (driver.name(), now.sum::<u32>());
    if queue >= queues {
        bail!(Skip(format!("{name} has {queues} queues here, and no queue {queue}")));
    }
    if driver == Driver::Gve && queue == 0 {
        bail!(Skip(format!("{name} does not give its first queue to zcrx")));
    }
    Ok(())
}

/// A queue whose neighbour, `queue ^ 1`, zcrx can have: faulty-app registers that one for the fault `wrong-queue`.
pub(crate) fn queue_with_a_neighbour() -> Result<u32> {
    // gve keeps its first queue.
    Ok(if Driver::of_this_guest()? == Driver::Gve { 2 } else { QUEUE })
}

impl Nic {
    /// Loads the module and sets everything up as zcrx wants it.
    pub(crate) fn pair() -> Result<Self> {
        Self::with("")
    }

    /// Like [`Nic::pair`], with module parameters.
    pub(crate) fn with(parameters: &str) -> Result<Self> {
        let nic = Self { rx: Namespace::create()?, tx: Namespace::create()? };
        nic.plug_in(parameters)?;
        Ok(nic)
    }

    /// Like [`Nic::pair`], with this host at the receiving end.
    pub(crate) fn into_this_host() -> Result<Self> {
        let nic = Self { rx: Namespace::own()?, tx: Namespace::create()? };
        nic.plug_in("")?;
        Ok(nic)
    }

    /// Loads the driver and connects the two hosts, with settings as the driver chose them.
    pub(crate) fn unprepared(parameters: &str) -> Result<Self> {
        let nic = Self { rx: Namespace::create()?, tx: Namespace::create()? };
        nic.connect(parameters)?;
        Ok(nic)
    }

    /// Loads the module into these two hosts: at first, or once more after it was removed.
    pub(crate) fn plug_in(&self, parameters: &str) -> Result<()> {
        self.connect(parameters)?;
        self.receiving().prepare()
    }

    /// [`Nic::plug_in`] without settings for zcrx.
    pub(crate) fn connect(&self, parameters: &str) -> Result<()> {
        let driver = Driver::of_this_guest()?;
        driver.load(parameters)?;
        for (namespace, interface, host) in [(&self.rx, RX, "1"), (&self.tx, TX, "2")] {
            namespace.adopt(interface)?;
            namespace.run("ip", &["addr", "add", &format!("10.9.0.{host}/24"), "dev", interface])?;
            namespace.run("ip", &["addr", "add", &format!("fd09::{host}/64"), "dev", interface, "nodad"])?;
            namespace.run("ip", &["link", "set", interface, "up"])?;
            // What a dead program's sockets still have to say must not keep its namespace alive for minutes.
            namespace.enter(|| {
                fs::write("/proc/sys/net/ipv4/tcp_orphan_retries", "1")
                    .context("cannot set tcp_orphan_retries")
            })?;
        }
        for end in [self.receiving(), self.sending()] {
            end.wait_for_carrier()?;
        }
        Ok(())
    }

    /// The end that is set up to receive.
    pub(crate) fn receiving(&self) -> End<'_> {
        End { namespace: &self.rx, interface: RX, address: RX_ADDRESS }
    }

    /// The other end, which can receive as well once it is prepared.
    pub(crate) fn sending(&self) -> End<'_> {
        End { namespace: &self.tx, interface: TX, address: TX_ADDRESS }
    }

    /// Sets how much the receiving end's sockets hold at first and at most, bytes.
    pub(crate) fn receive_buffers(&self, first: u64, most: u64) -> Result<()> {
        self.receiving().receive_buffers(first, most)
    }

    /// Makes the sender wait long before it sends again what is not acknowledged.
    pub(crate) fn patient_sender(&self) -> Result<()> {
        self.sending().send_patiently()
    }

    /// Makes the sender send what fits a frame and no more: each frame then lies in a buffer of its own, partly filled.
    pub(crate) fn small_frames(&self) -> Result<()> {
        self.tx.run("ethtool", &["-K", TX, "tso", "off", "gso", "off"]).map(drop)
    }

    /// Segments that the sender has sent more than once.
    pub(crate) fn segments_resent(&self) -> Result<u64> {
        let table =
            self.tx.enter(|| fs::read_to_string("/proc/thread-self/net/snmp").context("cannot read snmp"))?;
        let mut tcp = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) =
            (tcp.next().context("no Tcp in snmp")?, tcp.next().context("no values in snmp")?);
        let mut columns = names.split(' ').zip(values.split(' '));
        let resent = columns.find_map(|(name, value)| (name == "RetransSegs").then(|| value.parse().ok())?);
        resent.context("no RetransSegs in snmp")
    }

    /// Sets the largest packet of both ends, bytes.
    pub(crate) fn set_mtu(&self, mtu: u32) -> Result<()> {
        for end in [self.receiving(), self.sending()] {
            end.namespace.run("ip", &["link", "set", end.interface, "mtu", &mtu.to_string()])?;
            end.wait_for_carrier()?;
        }
        Ok(())
    }

    /// Where senders send to.
    pub(crate) fn address() -> String {
        format!("{RX_ADDRESS}:{PORT}")
    }

    /// Calls ethtool at the receiving end.
    pub(crate) fn ethtool(&self, arguments: &[&str]) -> Result<String> {
        self.rx.run("ethtool", arguments)
    }

    /// Steers traffic to [`PORT`] to another queue of the receiving end.
    pub(crate) fn steer(&self, queue: &str) -> Result<()> {
        let rules = self.ethtool(&["-n", RX])?;
        for rule in rules.lines().filter_map(|line| line.strip_prefix("Filter: ")) {
            self.ethtool(&["-N", RX, "delete", rule.trim()])?;
        }
        let port = PORT.to_string();
        self.ethtool(&["-N", RX, "flow-type", "tcp4", "dst-port", &port, "action", queue]).map(drop)
    }

    /// Sets header split and its threshold at the receiving end.
    pub(crate) fn header_split(&self, on: bool, threshold: u32) -> Result<()> {
        self.receiving().header_split(on, threshold)
    }

    /// Sets the size of the receive ring; skips the scenario where a driver of the kernel's own refuses it.
    pub(crate) fn receive_ring(&self, descriptors: &str) -> Result<()> {
        let driver = Driver::of_this_guest()?;
        match self.ethtool(&["-G", RX, "rx", descriptors]) {
            Err(_) if driver != Driver::Software => {
                bail!(Skip(format!("{} refuses a receive ring of {descriptors}", driver.name())))
            }
            set => set.map(drop),
        }
    }

    /// One of the receiving end's own counters, as in `rx1_niov_bytes`.
    pub(crate) fn stat(&self, name: &str) -> Result<u64> {
        self.receiving().stat(name)
    }

    /// A counter of the receiving end, unless its driver and device lack it.
    pub(crate) fn stat_if_counted(&self, name: &str) -> Result<Option<u64>> {
        match self.stat(name) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is::<Skip>() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets one of the receiving end's fault knobs.
    pub(crate) fn knob(&self, name: &str, value: &str) -> Result<()> {
        match Driver::of_this_guest()? {
            Driver::Software => {
                let path = Path::new("/sys/kernel/debug/zcnic").join(RX).join(name);
                self.rx.enter(|| {
                    fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
                })
            }
            Driver::Gve | Driver::Fbnic => Device::receiving()?.set_fault(name, value),
        }
    }
}
