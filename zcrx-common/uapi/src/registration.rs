//! Meaning and remedy of each errno of a refused registration.
//!
//! The kernel passes a NULL extack, so the caller gets a number that several causes share. This table has the possible
//! meanings; the netlink_extack tracepoint, where it can be read, gives the kernel's message.

/// Kind of the refused registration: an errno may mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// On a hardware queue.
    Device,
    /// With `ZCRX_REG_NODEV`.
    Nodev,
}

/// Explanation of an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Meaning for a registration.
    pub meaning: &'static str,
    /// What would make the registration succeed.
    pub remedy: &'static str,
}

/// Every errno that a registration is known to give, from its source.
pub const KNOWN: [i32; 16] = [
    libc::EPERM,
    libc::EINVAL,
    libc::EEXIST,
    libc::EBUSY,
    libc::ENODEV,
    libc::ENETDOWN,
    libc::ERANGE,
    libc::EOPNOTSUPP,
    libc::ENODATA,
    libc::ENOMEM,
    libc::EFAULT,
    libc::EOVERFLOW,
    libc::E2BIG,
    libc::EBADF,
    libc::EACCES,
    libc::ENOSYS,
];

/// Explains a positive errno of `IORING_REGISTER_ZCRX_IFQ`.
pub const fn explain(errno: i32, kind: Kind) -> Explanation {
    let (meaning, remedy) = match (errno, kind) {
        (libc::EPERM, _) => (
            "no CAP_NET_ADMIN in the initial user namespace, or this process may not use io_uring",
            "run as root or with CAP_NET_ADMIN on the host; a container with a user namespace of its own cannot",
        ),
        (libc::EINVAL, Kind::Nodev) => (
            "this kernel's zcrx has no device-less mode, or it does not accept the refill ring or the area",
            "use Linux 7.1 or later; refill entries within 1..32768; area and region in whole pages",
        ),
        (libc::EINVAL, Kind::Device) => (
            "this kernel has no zcrx; or header split is off, hds-thresh is not 0, or the driver rejects the buffer \
             size; or a field of the request is out of range",
            "use Linux 6.15 or later; `ethtool -G IF tcp-data-split on hds-thresh 0`; refill entries within 1..32768",
        ),
        (libc::EEXIST, _) => (
            "the queue already has a memory provider, an XDP program is attached, or the ring belongs to another thread",
            "stop the other user of the queue (its teardown takes a moment), or `ip link set dev IF xdp off`",
        ),
        (libc::EBUSY, _) => (
            "AF_XDP or a virtual device holds the queue, or (Linux 6.15) the ring has an interface queue already",
            "free the queue or choose another one",
        ),
        (libc::ENODEV, _) => {
            ("no such interface in this network namespace", "name an interface that `ip link` shows here")
        }
        (libc::ENETDOWN, _) => ("the interface or its rings are down", "`ip link set dev IF up`"),
        (libc::ERANGE, _) => (
            "the interface has no such receive queue, or it cannot use buffers of the requested size",
            "choose a queue below the count that `ethtool -l IF` shows; leave the buffer size at the page size",
        ),
        (libc::EOPNOTSUPP, Kind::Nodev) => (
            "zcrx is not built into this kernel, or the requested buffer size is not available without a device",
            "use a kernel with CONFIG_IO_URING_ZCRX; leave the buffer size at the page size",
        ),
        (libc::EOPNOTSUPP, Kind::Device) => (
            "the driver has no queue management or no DMA device, or no buffers larger than a page, or zcrx is not built \
             into this kernel",
            "use a NIC whose driver supports memory providers (bnxt, mlx5, gve, fbnic among others)",
        ),
        (libc::ENODATA, _) => (
            "the driver built no buffer pool for that queue",
            "choose a queue that the driver feeds by a page pool",
        ),
        (libc::ENOMEM, _) => (
            "the area or the refill ring is over the limit for locked memory, or the kernel has no memory left",
            "raise the limit (`ulimit -l`, LimitMEMLOCK=), or make the area smaller",
        ),
        (libc::EFAULT, _) => (
            "the area or the region is not mapped or not writable",
            "fix the program that registered: it passed a wrong address",
        ),
        (libc::EOVERFLOW, _) => ("address and size of the area overflow", "make the area smaller"),
        (libc::E2BIG, _) => ("the refill ring's region is too big", "use fewer refill entries"),
        (libc::EBADF, _) => (
            "the file descriptor to import is no exported queue",
            "export the queue again from the ring that owns it",
        ),
        (libc::EACCES, _) => {
            ("the ring's restrictions forbid the registration", "register before restrictions are enabled")
        }
        (libc::ENOSYS, _) => (
            "this kernel has no io_uring, or a seccomp filter hides it",
            "use a kernel with CONFIG_IO_URING and allow the system call",
        ),
        _ => (
            "not a documented errno of a registration",
            "read the kernel's message from the netlink_extack tracepoint",
        ),
    };
    Explanation { meaning, remedy }
}

/// Remedy for a registration that the kernel refused with this message; `None` for an unknown message.
///
/// The messages are those of `netdev_rx_queue_restart` and `__netif_mp_open_rxq` in net/core, compared exactly. A kernel with
/// another wording falls back to the errno's remedy.
pub fn remedy_by_words(words: &str) -> Option<&'static str> {
    Some(match words {
        "tcp-data-split is disabled" => "`ethtool -G IF tcp-data-split on`",
        "hds-thresh is not zero" => "`ethtool -G IF hds-thresh 0`",
        "rx queue index out of range" => "choose a queue below the count that `ethtool -l IF` shows",
        "designated queue already memory provider bound" => {
            "stop the program that has the queue (its teardown takes a moment), or choose another queue"
        }
        "designated queue already in use by AF_XDP" => {
            "stop the AF_XDP program that has the queue, or choose another queue"
        }
        "unable to custom memory provider to device with XDP program attached" => {
            "`ip link set dev IF xdp off`, `xdpgeneric off` for a generic one"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_message_has_no_remedy() {
        assert_eq!(remedy_by_words("tcp-data-split is disabled"), Some("`ethtool -G IF tcp-data-split on`"));
        assert_eq!(remedy_by_words(""), None);
    }

    #[test]
    fn every_known_errno_has_an_explanation() {
        let unknown = explain(libc::EXDEV, Kind::Device);
        for errno in KNOWN {
            for kind in [Kind::Device, Kind::Nodev] {
                assert_ne!(explain(errno, kind), unknown, "{:?}", crate::errno::name(errno));
            }
        }
    }

    #[test]
    fn einval_names_the_needed_kernel() {
        assert!(explain(libc::EINVAL, Kind::Nodev).remedy.contains("7.1"));
        assert!(explain(libc::EINVAL, Kind::Device).remedy.contains("6.15"));
    }
}
