//! Interfaces and the XDP programs on them: rtnetlink.

use netlink_bindings::rt_link::{self, Ifinfomsg, IterableLinkAttrs, IterableXdpAttrs};

use super::{NetError, Netlink};
use crate::model::{XdpMode, XdpProgram};

/// `IFLA_XDP_ATTACHED` values.
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;
const XDP_ATTACHED_HW: u8 = 3;

/// `ALTIFNAMSIZ` without its terminator.
const LONGEST_ALTNAME: usize = 127;

/// One interface, as far as rtnetlink reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind of virtual interface; `None` for hardware.
    pub kind: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Largest packet, bytes.
    pub mtu: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// XDP programs attached.
    pub xdp: Vec<XdpProgram>,
}

impl Netlink {
    /// Every interface of this namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetError> {
        let request = rt_link::Request::new().op_getlink_dump(&Ifinfomsg::default());
        self.ask("list interfaces", &request, |(header, attributes)| link(&header, &attributes))
    }

    /// One interface by its name or an alternative name. [`Link::name`] is the kernel's name for it.
    ///
    /// Names of 16 and more characters can only be alternative names (`ip link property add dev IF altname NAME`).
    pub fn link(&mut self, name: &str) -> Result<Link, NetError> {
        let no_such = || NetError::NoInterface(name.to_owned());
        if name.is_empty() || name.len() > LONGEST_ALTNAME || name.contains('\0') {
            return Err(no_such());
        }
        let mut request = rt_link::Request::new().op_getlink_do(&Ifinfomsg::default());
        if name.len() < libc::IFNAMSIZ {
            drop(request.encode().push_ifname_bytes(name.as_bytes()));
        } else {
            drop(request.encode().push_alt_ifname_bytes(name.as_bytes()));
        }
        match self.ask_one("find interface", &request, |(header, attributes)| link(&header, &attributes)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(no_such()),
            other => other,
        }
    }

    /// One interface by its index, whatever its name is now.
    pub fn link_by_index(&mut self, index: u32) -> Result<Link, NetError> {
        let ifi_index = i32::try_from(index).unwrap_or(i32::MAX);
        let header = Ifinfomsg { ifi_index, ..Ifinfomsg::default() };
        let request = rt_link::Request::new().op_getlink_do(&header);
        match self.ask_one("find interface", &request, |(header, attributes)| link(&header, &attributes)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                Err(NetError::NoInterface(format!("index {index}")))
            }
            other => other,
        }
    }
}

fn link(header: &Ifinfomsg, attributes: &IterableLinkAttrs<'_>) -> Option<Link> {
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    Some(Link {
        index: u32::try_from(header.ifi_index).ok()?,
        name: text(attributes.get_ifname().ok()?),
        kind: attributes.get_linkinfo().ok().and_then(|info| info.get_kind().ok().map(text)),
        mac: attributes.get_address().ok().filter(|mac| !mac.is_empty()).map(mac_text),
        mtu: attributes.get_mtu().ok(),
        up: header.ifi_flags & libc::IFF_UP.cast_unsigned() != 0,
        xdp: attributes.get_xdp().map(|nest| xdp_programs(&nest)).unwrap_or_default(),
    })
}

/// XDP programs of an interface. The kernel reports a single program by its mode and one id, several by one id for each mode.
fn xdp_programs(nest: &IterableXdpAttrs<'_>) -> Vec<XdpProgram> {
    let each = [
        (XdpMode::Native, nest.get_drv_prog_id()),
        (XdpMode::Generic, nest.get_skb_prog_id()),
        (XdpMode::Offload, nest.get_hw_prog_id()),
    ];
    let programs: Vec<_> =
        each.into_iter().filter_map(|(mode, id)| id.ok().map(|id| XdpProgram { mode, id })).collect();
    if !programs.is_empty() {
        return programs;
    }
    let mode = match nest.get_attached() {
        Ok(XDP_ATTACHED_DRV) => XdpMode::Native,
        Ok(XDP_ATTACHED_SKB) => XdpMode::Generic,
        Ok(XDP_ATTACHED_HW) => XdpMode::Offload,
        _ => return programs,
    };
    nest.get_prog_id().map(|id| vec![XdpProgram { mode, id }]).unwrap_or_default()
}

fn mac_text(mac: &[u8]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}
