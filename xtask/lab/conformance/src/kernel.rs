//! The kernel's interface queue.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, ensure};
use caps::{CapSet, Capability};
use zcrx_uapi::register;
use zcrx_uapi::zcrx::{IORING_REGISTER_ZCRX_IFQ, ZCRX_REG_NODEV};

use crate::memory::Memory;
use crate::outcome::{Geometry, Outcome};
use crate::request::{Pointer, Request};

/// What queues are registered on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A hardware queue.
    Device {
        if_idx: u32,
        if_rxq: u32,
        /// Whether its driver lets the size of buffers be chosen (`QCFG_RX_PAGE_SIZE`).
        sizes: bool,
    },
    /// An interface without zcrx queues: a valid request ends with EOPNOTSUPP, before its area is
    /// looked at.
    Loopback { if_idx: u32 },
    /// No device.
    Nodev,
}

impl Target {
    /// The interface of that name, or none.
    pub(crate) fn new(interface: Option<&str>, if_rxq: u32) -> anyhow::Result<Self> {
        let Some(name) = interface else { return Ok(Self::Nodev) };
        let c_name = CString::new(name).context("interface name")?;
        // SAFETY: a NUL-terminated string that lives to the end of the call.
        let if_idx = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        ensure!(if_idx != 0, "there is no interface {name} here");
        if name == "lo" {
            return Ok(Self::Loopback { if_idx });
        }
        let sizes = !matches!(zcrx_daemon::net::driver_of(if_idx).name, "gve" | "fbnic");
        Ok(Self::Device { if_idx, if_rxq, sizes })
    }
}

/// Registers with it, on a ring of its own, and takes everything back; `None` if this kernel has no such rings.
pub(crate) fn register(target: Target, request: &Request, memory: Memory) -> anyhow::Result<Option<Outcome>> {
    // A queue that was closed is released a moment later.
    const BUSY: Outcome = Err(libc::EEXIST);
    for _ in 0..500 {
        let ring = match ring(request.setup_flags) {
            Ok(ring) => ring,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            Err(error) => return Err(error).context("io_uring_setup"),
        };
        let first = request.second.then(|| attempt(target, ring.as_fd(), &Request::first(request, memory)));
        let outcome = attempt_as(target, ring.as_fd(), request)?;
        if first != Some(BUSY) && (request.second || outcome != BUSY) {
            return Ok(Some(outcome));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("the queue is not released")
}

/// With the capabilities that the request is to be made with.
fn attempt_as(target: Target, ring: BorrowedFd<'_>, request: &Request) -> anyhow::Result<Outcome> {
    if request.privileged {
        return Ok(attempt(target, ring, request));
    }
    caps::drop(None, CapSet::Effective, Capability::CAP_NET_ADMIN).context("dropping CAP_NET_ADMIN")?;
    let outcome = attempt(target, ring, request);
    caps::raise(None, CapSet::Effective, Capability::CAP_NET_ADMIN).context("raising CAP_NET_ADMIN")?;
    Ok(outcome)
}

/// A ring without submissions: it need not be mapped.
fn ring(setup_flags: u32) -> io::Result<OwnedFd> {
    /// `struct io_uring_params`: the flags are its third word.
    #[repr(C)]
    struct Params([u32; 30]);
    const { assert!(size_of::<Params>() == 120) };
    let mut params = Params([0; 30]);
    params.0[2] = setup_flags;
    // SAFETY: io_uring_setup reads and writes one io_uring_params, zeroed but for the flags.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, &raw mut params) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made, and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attempt(target: Target, ring: BorrowedFd<'_>, request: &Request) -> Outcome {
    let (mut reg, mut region, mut area) = (request.reg, request.region, request.area);
    match target {
        Target::Device { if_idx, if_rxq, .. } => {
            reg.if_idx = if_idx;
            if reg.if_rxq == 0 {
                reg.if_rxq = if_rxq;
            }
        }
        Target::Loopback { if_idx } => reg.if_idx = if_idx,
        Target::Nodev => reg.flags |= ZCRX_REG_NODEV,
    }
    reg.region_ptr = address(request.region_pointer, &raw mut region);
    reg.area_ptr = address(request.area_pointer, &raw mut area);
    let argument = address(request.reg_pointer, &raw mut reg);
    // SAFETY: each pointer is to a live structure of the kernel's layout, or to what is not mapped, which the kernel
    // answers with EFAULT; the memory that they describe is never unmapped.
    let result = unsafe {
        register::register(
            Some(ring),
            IORING_REGISTER_ZCRX_IFQ,
            std::ptr::with_exposed_provenance_mut(argument as usize),
            1,
        )
    };
    result.map_err(|error| error.raw_os_error().unwrap_or(0))?;
    Ok(Geometry {
        rq_entries: reg.rq_entries,
        area_token: area.rq_area_token,
        offsets: [reg.offsets.head, reg.offsets.tail, reg.offsets.rqes],
    })
}

/// What to pass for a structure.
fn address<T>(pointer: Pointer, structure: *mut T) -> u64 {
    match pointer {
        Pointer::Good => structure.expose_provenance() as u64,
        // Nothing is mapped at the second page without being asked for.
        Pointer::Unmapped => rustix::param::page_size() as u64,
        Pointer::Null => 0,
    }
}
