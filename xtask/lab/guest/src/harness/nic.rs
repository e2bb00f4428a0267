//! The software NIC: a pair of interfaces, one in each of two network namespaces.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netlink_bindings::ethtool;
use netlink_socket2::NetlinkSocket;

use super::namespace::Namespace;

/// The module built for this kernel, if there is one.
pub(crate) fn module() -> Option<PathBuf> {
    let directory = super::program("guest").parent()?.to_owned();
    let mut entries = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| path.extension().is_some_and(|extension| extension == "ko"))
}

/// Why there is no NIC on this kernel; `None` if there is one.
pub(crate) fn missing() -> Option<String> {
    let reason = || fs::read_to_string(super::program("no-nic")).ok();
    module()
        .is_none()
        .then(|| reason().unwrap_or_else(|| "the software NIC is not built for this kernel".to_owned()))
}

fn module_name() -> Option<String> {
    Some(module()?.file_stem()?.to_string_lossy().replace('-', "_"))
}

fn loaded() -> Option<String> {
    module_name().filter(|name| Path::new("/sys/module").join(name).exists())
}

/// Loads a module with parameters as on insmod's command line.
pub(crate) fn insert(path: &Path, parameters: &str) -> Result<()> {
    let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parameters = CString::new(parameters).context("module parameters hold no NUL")?;
    // SAFETY: the image is readable for its length, the parameters are a NUL-terminated string.
    let result =
        unsafe { libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), parameters.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("cannot load {}", path.display()));
    }
    Ok(())
}

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

    /// Loads the module into these two hosts: at first, or once more after it was removed.
    pub(crate) fn plug_in(&self, parameters: &str) -> Result<()> {
        let path = module().with_context(|| missing().unwrap_or_default())?;
        insert(&path, parameters)?;
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
        self.receiving().prepare()
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

    /// One of the receiving end's own counters, as in `rx1_niov_bytes`.
    pub(crate) fn stat(&self, name: &str) -> Result<u64> {
        self.receiving().stat(name)
    }

    /// Sets one of the receiving end's fault knobs.
    pub(crate) fn knob(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/sys/kernel/debug/zcnic").join(RX).join(name);
        self.rx.enter(|| fs::write(&path, value).with_context(|| format!("cannot write {}", path.display())))
    }
}

/// One end of the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    /// The host it is in.
    pub namespace: &'a Namespace,
    /// Its interface.
    pub interface: &'static str,
    /// Its address.
    address: &'static str,
}

impl End<'_> {
    /// Sets it up as zcrx wants it: header split, [`QUEUE`] for traffic to [`PORT`] alone.
    pub(crate) fn prepare(self) -> Result<()> {
        // A socket that takes more than the area has would turn every slow moment into drops.
        self.receive_buffers(128 << 10, 1 << 20)?;
        self.header_split(true, 0)?;
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

    /// Sets header split and its threshold. Over netlink: ethtool's program learned it late.
    pub(crate) fn header_split(self, on: bool, threshold: u32) -> Result<()> {
        const OFF: u8 = 1;
        const ON: u8 = 2;
        const RINGS_SET: u8 = 16;
        self.namespace.enter(|| {
            let mut request = ethtool::Request::new().op_rings_set_do();
            // The bindings number ethtool's commands by place in the specification, which leaves some out.
            request.header_mut().cmd = RINGS_SET;
            let name = self.interface.as_bytes();
            let header = request.encode().nested_header().push_dev_name_bytes(name).end_nested();
            drop(header.push_tcp_data_split(if on { ON } else { OFF }).push_hds_thresh(threshold));
            let mut socket = NetlinkSocket::new();
            let mut reply = socket.request(&request).context("cannot ask for header split")?;
            reply.recv_ack().context("header split is refused")
        })
    }

    /// One of its own counters, as in `rx1_niov_bytes`.
    pub(crate) fn stat(self, name: &str) -> Result<u64> {
        let table = self.ethtool(&["-S", self.interface])?;
        let value = table.lines().find_map(|line| {
            let (key, value) = line.trim().split_once(": ")?;
            (key == name).then(|| value.parse().ok())?
        });
        value.with_context(|| format!("{} has no counter {name}", self.interface))
    }
}

/// Removes the NIC, if it is loaded, after its interfaces have come home from the scenario's namespaces.
pub(crate) fn remove(limit: Duration) -> Result<()> {
    let Some(name) = loaded() else { return Ok(()) };
    // Pools that outlive an interface are listed under the loopback of the namespace it was in: that must be ours.
    // The sending end may stay away: a killed sender's data keeps its namespace alive until TCP gives up on it.
    super::eventually("the NIC's receiving end is back", limit, || {
        Ok(others()?.iter().any(|name| name == RX).then_some(()))
    })?;
    unload(&name, limit)
}

/// Unloads a module in a process of its own, because that may block for ever.
pub(crate) fn unload(name: &str, limit: Duration) -> Result<()> {
    let mut child = Command::new("/bin/busybox")
        .args(["rmmod", name])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start rmmod")?;
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("cannot wait for rmmod")? {
            if status.success() {
                return Ok(());
            }
            bail!("rmmod {name} failed ({status})");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("rmmod {name} did not end within {} s", limit.as_secs())
}

/// An interface of the current namespace that is neither the loopback nor the NIC's.
pub(crate) fn other() -> Result<Option<String>> {
    Ok(others()?.into_iter().find(|name| name != RX && name != TX))
}

/// Interfaces of the current namespace other than the loopback.
fn others() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/net").context("cannot read /sys/class/net")?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    Ok(names.filter(|name| name != "lo").collect())
}
