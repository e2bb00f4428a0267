//! An XDP program that lets everything pass, on an interface that has none of its own.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::nic::End;

/// A generic XDP program on an interface; gone when dropped.
#[derive(Debug)]
pub(crate) struct Xdp {
    _link: OwnedFd,
}

/// `bpf_attr` of `BPF_PROG_LOAD`, up to what is used.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// `bpf_attr` of `BPF_LINK_CREATE`, up to what is used.
#[repr(C)]
struct Link {
    program: u32,
    ifindex: u32,
    attach: u32,
    flags: u32,
}

const _: () = assert!(size_of::<Load>() == 48 && size_of::<Link>() == 16);

impl Xdp {
    /// Puts it on one end's interface.
    pub(crate) fn attach(end: End<'_>) -> Result<Self> {
        const PROG_LOAD: i32 = 5;
        const LINK_CREATE: i32 = 28;
        const PROG_TYPE_XDP: u32 = 6;
        const ATTACH_XDP: u32 = 37;
        const SKB_MODE: u32 = 2;
        // Without it the kernel refuses the program where header split is on.
        const HAS_FRAGS: u32 = 1 << 5;
        // r0 = XDP_PASS; exit
        const CODE: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
        let ifindex = end.ifindex()?;
        end.namespace.enter(|| {
            let mut load = Load {
                kind: PROG_TYPE_XDP,
                instructions: CODE.len() as u32,
                code: CODE.as_ptr().expose_provenance() as u64,
                license: c"GPL".as_ptr().expose_provenance() as u64,
                log_level: 0,
                log_size: 0,
                log: 0,
                kernel: 0,
                flags: HAS_FRAGS,
            };
            let program = made(bpf(PROG_LOAD, &mut load)).context("cannot load an XDP program")?;
            let mut link = Link {
                program: program.as_raw_fd().cast_unsigned(),
                ifindex,
                attach: ATTACH_XDP,
                flags: SKB_MODE,
            };
            Ok(Self { _link: made(bpf(LINK_CREATE, &mut link)).context("cannot attach an XDP program")? })
        })
    }
}

/// Calls bpf(2).
pub(super) fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the attributes are the head of the kernel's bpf_attr for this command, as long as is said, and what they
    // point to lives to the end of the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// The descriptor that such a call answered with.
pub(super) fn made(answer: io::Result<i64>) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us.
    answer.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
