//! The driver of the guest's NIC: loading it, naming its interfaces, unloading it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{RX, TX};
use crate::harness::scenario::Skip;
use crate::harness::{eventually, output, program};

/// How long interfaces may take to appear.
const LIMIT: Duration = Duration::from_secs(30);

/// Drivers of NICs that host zcrx queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// The lab's own.
    Software,
    /// Google's, on an emulated device.
    Gve,
    /// Meta's, on an emulated device.
    Fbnic,
}

impl Driver {
    /// The driver that the host chose.
    pub(crate) fn of_this_guest() -> Result<Self> {
        let kind = fs::read_to_string(folder().join("kind")).context("this guest has no NIC")?;
        match kind.as_str() {
            "software" => Ok(Self::Software),
            "gve" => Ok(Self::Gve),
            "fbnic" => Ok(Self::Fbnic),
            other => bail!("unknown kind of NIC {other:?}"),
        }
    }

    /// The module's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Software => "zcnic",
            Self::Gve => "gve",
            Self::Fbnic => "fbnic",
        }
    }

    /// Whether a queue's figures count the packets that it dropped for lack of buffers.
    pub(crate) fn counts_drops(self) -> bool {
        self != Self::Gve
    }

    /// Loads the driver, with module parameters, after the modules that it needs, and gives its interfaces their names.
    pub(super) fn load(self, parameters: &str) -> Result<()> {
        let modules = modules();
        let (driver, needed) = modules.split_last().with_context(|| missing().unwrap_or_default())?;
        if self == Self::Software {
            return insert(driver, parameters);
        }
        if !parameters.is_empty() {
            bail!(Skip(format!("{} has no module parameters {parameters:?}", self.name())));
        }
        for module in needed {
            // The one needed by an earlier scenario is still there.
            if !Path::new("/sys/module").join(module_name(module)).exists() {
                insert(module, "")?;
            }
        }
        insert(driver, "")?;
        let interfaces = eventually("the driver's interfaces are there", LIMIT, || {
            let found = self.interfaces()?;
            Ok((found.len() == 2).then_some(found))
        })?;
        for (interface, name) in interfaces.iter().zip([RX, TX]) {
            output(Command::new("ip").args(["link", "set", interface, "name", name]))?;
        }
        Ok(())
    }

    /// The driver's interfaces in the order of their PCI addresses.
    fn interfaces(self) -> Result<Vec<String>> {
        let mut interfaces = Vec::new();
        for device in self.devices()? {
            let Ok(entries) = fs::read_dir(device.join("net")) else { continue };
            interfaces
                .extend(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()));
        }
        Ok(interfaces)
    }

    /// The driver's PCI functions, in the order of their addresses.
    pub(super) fn devices(self) -> Result<Vec<PathBuf>> {
        let folder = Path::new("/sys/bus/pci/drivers").join(self.name());
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut devices: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.join("config").exists()).collect();
        devices.sort();
        Ok(devices)
    }

    fn is_loaded(self) -> bool {
        Path::new("/sys/module").join(self.name()).exists()
    }
}

/// What the host gave this guest for its NIC.
fn folder() -> PathBuf {
    program("nic")
}

/// Modules in the order of loading; the driver is the last.
fn modules() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut modules: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "ko")).collect();
    modules.sort();
    modules
}

/// A module's name: its file is named after its place in the order and it.
fn module_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.split_once('-').map_or(stem.as_ref(), |(_, name)| name).replace('-', "_")
}

/// Why there is no NIC on this kernel; `None` if there is one.
pub(crate) fn missing() -> Option<String> {
    let reason = || fs::read_to_string(folder().join("unavailable")).ok();
    modules().is_empty().then(|| reason().unwrap_or_else(|| "this guest has no NIC".to_owned()))
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

/// Removes the NIC, if it is loaded, after its interfaces have come home from the scenario's namespaces.
pub(crate) fn remove(limit: Duration) -> Result<()> {
    let Ok(driver) = Driver::of_this_guest() else { return Ok(()) };
    if !driver.is_loaded() {
        return Ok(());
    }
    // Pools that outlive an interface are listed under the loopback of the namespace it was in: that must be ours.
    // The sending end may stay away: a killed sender's data keeps its namespace alive until TCP gives up on it.
    eventually("the NIC's receiving end is back", limit, || {
        Ok(others()?.iter().any(|name| name == RX).then_some(()))
    })?;
    unload(limit)
}

/// Unloads the driver in a process of its own, because that may block for ever.
pub(crate) fn unload(limit: Duration) -> Result<()> {
    let name = Driver::of_this_guest()?.name();
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
