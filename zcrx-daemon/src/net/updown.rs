//! Takes an interface down and up.

use std::io;
use std::os::fd::AsRawFd as _;

use super::error::NetError;
use super::ioctl::{datagram_socket, request_for};

/// Sets an interface up or down, as `ip link set dev IFACE up` does. What the kernel forgets with an interface that goes down, such as
/// its static routes and, by default, its IPv6 addresses, is not put back. Needs CAP_NET_ADMIN.
pub fn set_up(interface: &str, up: bool) -> Result<(), NetError> {
    let socket = datagram_socket().map_err(|error| NetError::errno("open a socket", &error))?;
    let mut request = request_for(interface)?;
    // SAFETY: the request is the kernel's struct and outlives the call, which writes the flags into it.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(NetError::errno("read the flags of the interface", &io::Error::last_os_error()));
    }
    // SAFETY: the call above has written this field of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let bit = libc::IFF_UP as libc::c_short;
    request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
    // SAFETY: as above; the call only reads the request.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) } < 0 {
        let what = if up { "set the interface up" } else { "set the interface down" };
        return Err(NetError::errno(what, &io::Error::last_os_error()));
    }
    Ok(())
}
