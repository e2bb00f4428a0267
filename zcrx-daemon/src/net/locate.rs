//! Where an interface is that left its network namespace.

use std::fs;
use std::path::Path;

use super::journal::Identity;
use super::{Link, NetError, Netlink, inside, ioctl, namespaces};

/// Where the kernel lists buses, each with its devices.
const BUSES: &str = "/sys/bus";

/// Where an interface is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// It is gone, or its driver was loaded again: its settings are lost.
    Gone,
    /// It is in this other namespace, with its settings.
    Elsewhere(String),
    /// Its device is there, and some namespace could not be searched for it; says why.
    Unknown(String),
}

/// Finds the device of an interface whose index is not in this namespace any more. `links` are the interfaces of this
/// namespace.
///
/// Namespaces without a name and without a process are not found. A journal that names no address counts as gone.
pub(super) fn locate(identity: &Identity, links: &[Link]) -> Whereabouts {
    let has_address = identity.bus.is_some() || identity.mac.is_some();
    // Another index in the same namespace: the driver was loaded again.
    if !has_address || links.iter().any(|link| is_same(identity, link)) {
        return Whereabouts::Gone;
    }
    if identity.bus.as_ref().is_some_and(|bus| !is_driven(Path::new(BUSES), bus)) {
        return Whereabouts::Gone;
    }
    let mut refused = None;
    for namespace in namespaces().into_iter().skip(1) {
        let found = inside(&namespace.path, || {
            Ok::<_, NetError>(Netlink::new().links()?.iter().any(|link| is_same(identity, link)))
        });
        match found.flatten() {
            Ok(true) => {
                let path = namespace.path.display().to_string();
                return Whereabouts::Elsewhere(namespace.name.unwrap_or(path));
            }
            Ok(false) => {}
            Err(error) => refused = refused.or(Some(error.to_string())),
        }
    }
    refused.map_or(Whereabouts::Gone, Whereabouts::Unknown)
}

/// Whether an interface is of the device that the journal is about: by its bus address, and without one by its MAC address.
fn is_same(identity: &Identity, link: &Link) -> bool {
    let Some(bus) = &identity.bus else { return identity.mac.is_some() && identity.mac == link.mac };
    let driver = ioctl::Ethtool::open(&link.name).and_then(|ethtool| ethtool.driver());
    driver.is_ok_and(|(_, address)| address.as_ref() == Some(bus))
}

/// Whether a device of that bus address can have an interface; true where sysfs cannot be read.
fn is_driven(buses: &Path, address: &str) -> bool {
    let Ok(entries) = fs::read_dir(buses) else { return true };
    let mut devices =
        entries.flatten().map(|bus| (bus.file_name(), bus.path().join("devices").join(address)));
    let Some((bus, device)) = devices.find(|(_, device)| device.exists()) else { return false };
    // Other buses have devices that their own code drives.
    bus != "pci" || device.join("driver").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn identity(bus: Option<&str>, mac: Option<&str>) -> Identity {
        Identity {
            boot_id: String::new(),
            netns_cookie: 1,
            index: u32::MAX,
            name: "eth0".to_owned(),
            bus: bus.map(str::to_owned),
            mac: mac.map(str::to_owned),
        }
    }

    #[test]
    fn a_device_without_a_driver_has_no_interface() -> io::Result<()> {
        let buses = std::env::temp_dir().join(format!("zcrxd-buses-{}", std::process::id()));
        for device in
            ["pci/devices/0000:01:00.0/driver", "pci/devices/0000:02:00.0", "platform/devices/zcnic.0"]
        {
            fs::create_dir_all(buses.join(device))?;
        }
        let driven = |address: &str| is_driven(&buses, address);
        assert!(driven("0000:01:00.0") && driven("zcnic.0"));
        assert!(!driven("0000:02:00.0"), "no driver is bound");
        assert!(!driven("0000:03:00.0"), "no such device");
        assert!(is_driven(&buses.join("none"), "0000:03:00.0"), "nothing is known");
        fs::remove_dir_all(buses)
    }

    #[test]
    fn a_journal_without_an_address_or_with_one_of_this_namespace_is_forgotten() -> Result<(), NetError> {
        assert_eq!(locate(&identity(None, None), &[]), Whereabouts::Gone);
        let links = Netlink::new().links()?;
        let mac = links.iter().find_map(|link| link.mac.clone());
        assert_eq!(locate(&identity(None, mac.as_deref()), &links), Whereabouts::Gone, "{mac:?} is here");
        Ok(())
    }
}
