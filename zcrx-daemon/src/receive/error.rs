//! Errors of the receive path.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::Refusal;
use zcrx_uapi::errno;

/// Reasons why a queue cannot receive, each with one line: what failed, where, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// An invalid value.
    #[error("{key}: {what}; {remedy}")]
    Config {
        /// The configuration key.
        key: &'static str,
        /// The fault of its value.
        what: String,
        /// What the user should write instead.
        remedy: &'static str,
    },
    /// zcrxd cannot listen on an address.
    #[error("listen: cannot listen on {address}: {source}; {}", remedy_of_bind(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No such interface.
    #[error(
        "interface: there is no {interface:?} in this network namespace{}; `ip link` lists the interfaces",
        if interface.len() >= libc::IFNAMSIZ {
            ", and a name of 16 or more characters can only be an alternative name"
        } else {
            ""
        }
    )]
    NoInterface {
        /// The name given.
        interface: String,
    },
    /// The interface has fewer receive queues.
    #[error("queue: {interface} has {queues} receive queues, so no queue {queue}; use 0 to {}", queues.saturating_sub(1))]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many there are.
        queues: u32,
    },
    /// The destination of a forward sink is invalid.
    #[error("sink: cannot forward to {destination}: {source}; give HOST:PORT or unix:PATH")]
    Destination {
        /// As configured.
        destination: String,
        /// Why not.
        source: io::Error,
    },
    /// The directory of a file sink cannot be used.
    #[error("sink: cannot use the directory {}: {source}; make it, or name another", path.display())]
    Directory {
        /// As configured.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refuses a ring.
    #[error("io_uring: cannot make a ring: {meaning} ({}); {remedy}", name_of(source))]
    Ring {
        /// The errno.
        source: io::Error,
        /// What it means here.
        meaning: String,
        /// What the user can do.
        remedy: &'static str,
    },
    /// A ring stopped working.
    #[error("io_uring: the ring failed: {source}")]
    RingFailed {
        /// How.
        #[from]
        source: io::Error,
    },
    /// The queue's interface is no longer the one on which it was registered.
    #[error("{interface} {}", if *gone { "is gone: waiting for it to come back" } else { "is a new one, or is back" })]
    InterfaceChanged {
        /// Its name.
        interface: String,
        /// Whether no interface has that name.
        gone: bool,
    },
    /// The kernel refuses memory for the area or the rings.
    #[error("area_bytes: cannot map {bytes} bytes: {source}; make the area smaller or free memory")]
    Memory {
        /// How many.
        bytes: u64,
        /// Why not.
        source: io::Error,
    },
    /// No backend works.
    #[error("backend: {}", describe(refused))]
    NoBackend {
        /// Each that was tried, best first.
        refused: Vec<Refusal>,
    },
    /// The thread cannot be started.
    #[error(
        "cannot start a receive thread: {source}; raise the limits of processes and open files (`ulimit -u -n`)"
    )]
    Thread {
        /// Why not.
        source: io::Error,
    },
}

/// Describes a refusal in one line.
pub(super) fn describe_refusal(refusal: &Refusal) -> String {
    let errno = refusal.errno.map_or_else(String::new, |number| format!(" ({})", errno_name(number)));
    format!("{} cannot {}: {}{errno}; {}", refusal.backend, refusal.step, refusal.reason, refusal.remedy)
}

/// The name of an errno, or its number.
pub(super) fn errno_name(number: i32) -> String {
    errno::name(number).map_or_else(|| format!("errno {number}"), str::to_owned)
}

fn describe(refused: &[Refusal]) -> String {
    refused.iter().map(describe_refusal).collect::<Vec<_>>().join("; ")
}

fn name_of(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno_name)
}

fn remedy_of_bind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has that port: stop it (`ss -ltnp` shows it) or use another port"
        }
        io::ErrorKind::AddrNotAvailable => "no interface has that address: use one that `ip address` shows",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: use a higher one",
        _ => "use another address",
    }
}
