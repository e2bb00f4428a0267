//! The software NIC: a pair of interfaces, one in each of two network namespaces.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The module built for this kernel, if there is one.
pub(crate) fn module() -> Option<PathBuf> {
    let directory = super::program("guest").parent()?.to_owned();
    let mut entries = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| path.extension().is_some_and(|extension| extension == "ko"))
}

/// Why there is no NIC on this kernel; `None` if there is one.
pub(crate) fn missing() -> Option<String> {
    let told = || fs::read_to_string(super::program("no-nic")).ok();
    module()
        .is_none()
        .then(|| told().unwrap_or_else(|| "the software NIC is not built for this kernel".to_owned()))
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

/// Removes the NIC, if it is loaded, after its interfaces have come home from the scenario's namespaces.
pub(crate) fn remove(limit: Duration) -> Result<()> {
    let Some(name) = loaded() else { return Ok(()) };
    // Pools that outlive an interface are listed under the loopback of the namespace it was in: that must be ours.
    super::eventually("the NIC's interfaces are back", limit, || Ok((others()?.len() >= 2).then_some(())))?;
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

/// Interfaces of the current namespace other than the loopback.
fn others() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/net").context("cannot read /sys/class/net")?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    Ok(names.filter(|name| name != "lo").collect())
}
