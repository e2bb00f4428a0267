//! Whether a ring-parameter request changed anything.
//!
//! The kernel compares a request with what is *configured*, which for header split it reports nowhere. It announces a change
//! to every listener of the ethtool family's `monitor` group before it acknowledges the request. A request that changes nothing
//! causes no announcement. So a missing announcement shows what was configured before (`ethnl_set_rings` and
//! `ethnl_default_set_doit`, Linux 6.14 and later). Listening needs no privilege.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use netlink_bindings::{nlctrl, utils};

use super::{NetError, Netlink};

/// `ETHTOOL_MSG_RINGS_NTF`.
const RINGS_NTF: u8 = 17;
/// `ETHTOOL_A_RINGS_HEADER`, and in it `ETHTOOL_A_HEADER_DEV_INDEX`.
const HEADER: u16 = 1;
const DEV_INDEX: u16 = 1;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// A listener for changes of ring parameters in this network namespace.
pub(super) struct RingsWatch {
    socket: OwnedFd,
}

impl RingsWatch {
    pub(super) fn open(netlink: &mut Netlink) -> Result<Self, NetError> {
        let group = netlink.ethtool_monitor()?;
        let listen = || -> io::Result<OwnedFd> {
            let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: no pointers are passed.
            let fd = unsafe { libc::socket(libc::AF_NETLINK, flags, libc::NETLINK_GENERIC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the kernel just returned this descriptor, and nothing else owns it.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            // Without an address of its own the socket gets no announcements: the kernel excludes the sender's, which is 0.
            // SAFETY: zero is a value of every field of a sockaddr_nl, and asks the kernel to choose the address.
            let mut any: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            any.nl_family = libc::AF_NETLINK as libc::sa_family_t;
            // SAFETY: `any` is a sockaddr_nl that lives to the end of the call.
            let bound = unsafe {
                libc::bind(fd, (&raw const any).cast(), size_of::<libc::sockaddr_nl>() as libc::socklen_t)
            };
            if bound < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: NETLINK_ADD_MEMBERSHIP reads one u32, which lives to the end of the call.
            let joined = unsafe {
                libc::setsockopt(
                    fd,
                    libc::SOL_NETLINK,
                    libc::NETLINK_ADD_MEMBERSHIP,
                    (&raw const group).cast(),
                    size_of::<u32>() as libc::socklen_t,
                )
            };
            if joined < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
        };
        let socket = listen().map_err(|error| NetError::errno("listen to ethtool's changes", &error))?;
        Ok(Self { socket })
    }

    /// Whether a change of the interface was announced since the last call; `None` if announcements were lost.
    pub(super) fn announced(&self, ifindex: u32) -> Option<bool> {
        let mut buffer = [0_u8; 8192];
        let mut announced = false;
        loop {
            // SAFETY: `buffer` is writable for its length.
            let length =
                unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let Ok(length) = usize::try_from(length) else {
                let error = io::Error::last_os_error();
                return (error.kind() == io::ErrorKind::WouldBlock).then_some(announced);
            };
            announced |= is_rings_change(&buffer[..length], ifindex);
        }
    }
}

fn is_rings_change(message: &[u8], ifindex: u32) -> bool {
    if message.get(NETLINK_HEADER) != Some(&RINGS_NTF) {
        return false;
    }
    let attributes = message.get(NETLINK_HEADER + GENERIC_HEADER..).unwrap_or_default();
    let index = utils::find_attr(attributes, HEADER).and_then(|header| utils::find_attr(header, DEV_INDEX));
    index.and_then(|index| index.try_into().ok()).map(u32::from_ne_bytes) == Some(ifindex)
}

impl Netlink {
    /// Number of the multicast group in which the ethtool family announces changes.
    fn ethtool_monitor(&mut self) -> Result<u32, NetError> {
        let mut request = nlctrl::Request::new().op_getfamily_do();
        drop(request.encode().push_family_name(c"ethtool"));
        self.ask_one("find ethtool's announcements", &request, |reply| {
            let mut groups = reply.get_mcast_groups().ok()?;
            let monitor = groups.find(|group| group.get_name().is_ok_and(|name| name == c"monitor"))?;
            monitor.get_id().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(command: u8, ifindex: u32) -> Vec<u8> {
        const NESTED: u16 = 0x8000;
        let mut message = vec![0; NETLINK_HEADER];
        message.extend([command, 1, 0, 0]);
        message.extend(12_u16.to_ne_bytes());
        message.extend((HEADER | NESTED).to_ne_bytes());
        message.extend(8_u16.to_ne_bytes());
        message.extend(DEV_INDEX.to_ne_bytes());
        message.extend(ifindex.to_ne_bytes());
        message
    }

    #[test]
    fn only_ring_changes_of_the_interface_count() {
        assert!(is_rings_change(&announcement(RINGS_NTF, 7), 7));
        assert!(!is_rings_change(&announcement(RINGS_NTF, 8), 7));
        assert!(!is_rings_change(&announcement(19, 7), 7));
        assert!(!is_rings_change(&announcement(RINGS_NTF, 7)[..20], 7));
    }

    #[test]
    fn silence_is_no_change() {
        let Ok(watch) = RingsWatch::open(&mut Netlink::new()) else {
            println!("skipped: this kernel has no ethtool netlink family");
            return;
        };
        assert_eq!(watch.announced(1), Some(false));
    }

    #[test]
    fn listener_has_an_address_of_its_own() {
        let Ok(watch) = RingsWatch::open(&mut Netlink::new()) else {
            println!("skipped: this kernel has no ethtool netlink family");
            return;
        };
        // SAFETY: zero is a value of every field of a sockaddr_nl.
        let mut own: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `own`.
        let read =
            unsafe { libc::getsockname(watch.socket.as_raw_fd(), (&raw mut own).cast(), &raw mut length) };
        assert_eq!(read, 0);
        assert_ne!(own.nl_pid, 0, "the kernel announces nothing to a socket with address 0");
    }
}
