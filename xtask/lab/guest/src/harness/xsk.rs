//! An AF_XDP socket on a queue, in copy mode: it holds the queue without any XDP program.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use anyhow::{Context, Result, anyhow, ensure};

use super::nic::End;

const SOL_XDP: i32 = 283;
const XDP_RX_RING: i32 = 2;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;
const XDP_COPY: u16 = 1 << 1;
const FRAME_BYTES: usize = 4096;
const FRAMES: usize = 16;

/// `struct xdp_umem_reg`.
#[repr(C)]
struct UmemReg {
    addr: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// `struct sockaddr_xdp`.
#[repr(C)]
struct Address {
    family: u16,
    flags: u16,
    ifindex: u32,
    queue: u32,
    shared_umem_fd: u32,
}

const _: () = assert!(size_of::<UmemReg>() == 32 && size_of::<Address>() == 16);

/// A bound socket; the queue is free again some time after it is dropped.
#[derive(Debug)]
pub(crate) struct XdpSocket {
    _socket: OwnedFd,
}

impl XdpSocket {
    /// Binds one to a queue of one end's interface.
    pub(crate) fn bind(end: End<'_>, queue: u32) -> Result<Self> {
        let ifindex = end.ifindex()?;
        end.namespace.enter(|| {
            // SAFETY: socket(2) takes no pointers.
            let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            ensure!(fd >= 0, "no AF_XDP socket: {}", io::Error::last_os_error());
            // SAFETY: the kernel has just made this descriptor for us.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            let bytes = FRAMES * FRAME_BYTES;
            let (access, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: new memory, at no address in particular. It is never unmapped: the kernel may write to it as
            // long as the socket lives, and a scenario's process is short-lived.
            let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
            ensure!(memory != libc::MAP_FAILED, "no memory: {}", io::Error::last_os_error());
            let umem = UmemReg {
                addr: memory.expose_provenance() as u64,
                len: bytes as u64,
                chunk_size: FRAME_BYTES as u32,
                headroom: 0,
                flags: 0,
                tx_metadata_len: 0,
            };
            set(&socket, XDP_UMEM_REG, &umem).context("XDP_UMEM_REG")?;
            for ring in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING] {
                set(&socket, ring, &(FRAMES as u32)).context("a ring of an AF_XDP socket")?;
            }
            let address =
                Address { family: libc::AF_XDP as u16, flags: XDP_COPY, ifindex, queue, shared_umem_fd: 0 };
            let size = size_of::<Address>() as libc::socklen_t;
            // SAFETY: the address is as long as it is said to be.
            let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
            ensure!(bound == 0, anyhow!(io::Error::last_os_error()).context("cannot bind an AF_XDP socket"));
            Ok(Self { _socket: socket })
        })
    }
}

fn set<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is as long as it is said to be.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), SOL_XDP, option, ptr::from_ref(value).cast(), size) }
    {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
