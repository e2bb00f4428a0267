//! Sockets of another process: found, taken, and put where they do not belong.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use super::xdp::{bpf, made};

/// A second descriptor of the socket that a process has for its connection with `peer`; `None` if it has none.
pub(crate) fn connection(process: u32, peer: SocketAddr) -> Result<Option<OwnedFd>> {
    let pid = descriptor(libc::SYS_pidfd_open, [process as i64, 0, 0]).context("pidfd_open")?;
    let folder = format!("/proc/{process}/fd");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let name = entry.with_context(|| format!("cannot read {folder}"))?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<i64>().ok()) else { continue };
        // One that was closed meanwhile is not what is looked for.
        let Ok(file) = descriptor(libc::SYS_pidfd_getfd, [i64::from(pid.as_raw_fd()), number, 0]) else {
            continue;
        };
        if peer_of(&file) == Some(peer) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The peer of a connected TCP socket over IPv4.
fn peer_of(file: &OwnedFd) -> Option<SocketAddr> {
    // SAFETY: zeroes are a valid address of no family.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to the address, and what it would have liked to write to `size`.
    let result = unsafe { libc::getpeername(file.as_raw_fd(), (&raw mut address).cast(), &raw mut size) };
    if result != 0 || i32::from(address.sin_family) != libc::AF_INET {
        return None;
    }
    let ip = std::net::Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    Some(SocketAddr::from((ip, u16::from_be(address.sin_port))))
}

/// A sockmap with one socket in it: the kernel then receives for that socket in another way.
#[derive(Debug)]
pub(crate) struct Sockmap {
    _map: OwnedFd,
}

/// `bpf_attr` of `BPF_MAP_CREATE`, up to what is used.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

/// `bpf_attr` of `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct Update {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Sockmap {
    /// Puts the socket into a map of its own.
    pub(crate) fn with(socket: &OwnedFd) -> Result<Self> {
        const MAP_CREATE: i32 = 0;
        const MAP_UPDATE_ELEM: i32 = 2;
        const TYPE_SOCKMAP: u32 = 15;
        let mut create = Create { kind: TYPE_SOCKMAP, key_size: 4, value_size: 4, entries: 1, flags: 0 };
        let map = made(bpf(MAP_CREATE, &mut create)).context("cannot make a sockmap")?;
        let (key, value) = (0_u32, socket.as_raw_fd());
        let mut update = Update {
            map: map.as_raw_fd().cast_unsigned(),
            unused: 0,
            key: (&raw const key).expose_provenance() as u64,
            value: (&raw const value).expose_provenance() as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &mut update).context("cannot put a socket into a sockmap")?;
        Ok(Self { _map: map })
    }
}

/// Sets an integer option of a socket.
pub(crate) fn set(socket: &impl AsRawFd, level: i32, option: i32, value: &[i32]) -> Result<()> {
    let size = size_of_val(value) as libc::socklen_t;
    // SAFETY: the value is as long as it is said to be.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), size) };
    ensure!(result == 0, "cannot set option {option}: {}", io::Error::last_os_error());
    Ok(())
}

fn descriptor(call: i64, [first, second, third]: [i64; 3]) -> io::Result<OwnedFd> {
    // SAFETY: the calls that this is used for take numbers only.
    made(match unsafe { libc::syscall(call, first, second, third) } {
        fd @ 0.. => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    })
}
