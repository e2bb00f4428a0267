//! What this kernel offers: asked of the kernel, never derived from its version.

use std::collections::BTreeMap;
use std::path::Path;

use io_uring::{IoUring, Probe, opcode};
use zcrx_lab_guest::protocol::Need;
use zcrx_uapi::query;
use zcrx_uapi::zcrx::{ZCRX_CTRL_ADD_AREA, ZCRX_REG_NODEV};

use super::nic;

/// Where scenarios run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A virtual machine of their own.
    Guest,
    /// The machine's own kernel, in namespaces of their own.
    Host,
}

/// Returns why each need is not met; `None` for a need that is.
pub(crate) fn needs(place: Place) -> BTreeMap<Need, Option<String>> {
    let unmet = |need| match need {
        Need::Guest => match place {
            Place::Guest => None,
            Place::Host => Some("would disturb a machine in use".to_owned()),
        },
        Need::Zcrx => receive_zc().err(),
        Need::Nodev => nodev().err(),
        Need::Events => {
            query::zcrx_event().err().map(|error| format!("no zcrx events in this kernel: {error}"))
        }
        Need::Nic => nic::missing(),
        Need::Btf => {
            (!Path::new("/sys/kernel/btf/vmlinux").exists()).then(|| "this kernel has no BTF".to_owned())
        }
    };
    Need::ALL.into_iter().map(|need| (need, unmet(need))).collect()
}

/// Fails unless the kernel has the request `RECV_ZC`.
fn receive_zc() -> Result<(), String> {
    let ring = IoUring::new(2).map_err(|error| format!("no io_uring on this host: {error}"))?;
    let mut probe = Probe::new();
    let asked = ring.submitter().register_probe(&mut probe);
    asked.map_err(|error| format!("io_uring does not list its requests: {error}"))?;
    if probe.is_supported(opcode::RecvZc::CODE) {
        Ok(())
    } else {
        Err("no zero-copy receive in this kernel".to_owned())
    }
}

/// Fails unless zcrx works without a device.
fn nodev() -> Result<(), String> {
    let offered =
        query::zcrx().map_err(|error| format!("no zcrx without a device in this kernel: {error}"))?;
    if offered.register_flags & u64::from(ZCRX_REG_NODEV) == 0 {
        return Err("no zcrx without a device in this kernel".to_owned());
    }
    Ok(())
}

/// Whether areas can be added to a registered queue (Linux 7.3).
pub(crate) fn adds_areas() -> bool {
    query::zcrx().is_ok_and(|offered| offered.nr_ctrl_opcodes > ZCRX_CTRL_ADD_AREA)
}
