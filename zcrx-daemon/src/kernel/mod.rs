//! What this kernel is: its types, symbols, configuration, switches, and what this process may do with it.
//!
//! Nothing here fails as a whole: each part is known, or has a reason why it is not.

mod btf;
pub mod clock;
mod config;
mod privileges;
mod symbols;
mod sysctl;

#[cfg(test)]
pub(crate) use btf::blob;
pub use btf::{Btf, BtfError, Field, Function, Type};
pub use config::Config;
pub use privileges::{Capability, Lockdown, Privileges};
pub use symbols::{Symbol, Symbols};
pub use sysctl::Sysctls;

/// A part of the picture, or the reason why it is missing.
pub type Part<T> = Result<T, String>;

/// The running kernel, as seen by this process at one moment.
///
/// Holds some 6 MB while it has [`Kernel::btf`]: inspect, use, drop.
#[derive(Debug)]
pub struct Kernel {
    /// Release, as uname says it: "6.18.44-1-amd64".
    pub release: Part<String>,
    /// Machine, as uname says it: "x86_64".
    pub machine: Part<String>,
    /// Types of the kernel and prototypes of its functions. Minimum kernel version 5.4 with
    /// CONFIG_DEBUG_INFO_BTF.
    pub btf: Part<Btf>,
    /// Build configuration.
    pub config: Part<Config>,
    /// Switches that matter to probes and to receiving.
    pub sysctls: Sysctls,
    /// What this process may do.
    pub privileges: Privileges,
}

impl Kernel {
    /// Looks at the running kernel. Takes some 10 ms; reads only.
    pub fn inspect() -> Self {
        let (release, machine) = match uname() {
            Ok((release, machine)) => (Ok(release), Ok(machine)),
            Err(reason) => (Err(reason.clone()), Err(reason)),
        };
        let config = release.clone().and_then(|release| Config::read(&release));
        Self {
            release,
            machine,
            btf: Btf::from_kernel().map_err(|error| error.to_string()),
            config,
            sysctls: Sysctls::read(),
            privileges: Privileges::read(),
        }
    }
}

/// Release and machine.
fn uname() -> Part<(String, String)> {
    // SAFETY: `utsname` is made of byte arrays, for which zeroes are valid.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: uname fills the structure it is given.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return Err(format!("uname failed: {}", std::io::Error::last_os_error()));
    }
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> =
            field.iter().take_while(|&&byte| byte != 0).map(|&byte| byte.to_ne_bytes()[0]).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok((text(&name.release), text(&name.machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_a_release() {
        let kernel = Kernel::inspect();
        let expected = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("procfs is mounted");
        assert_eq!(kernel.release.as_deref(), Ok(expected.trim()));
    }
}
