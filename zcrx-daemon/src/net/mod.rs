//! Interfaces, their receive queues and their page pools: what the kernel's network side says of itself.
//!
//! Everything is asked by netlink or ioctl, never by sysfs: a mounted sysfs shows the network namespace it was
//! mounted in, not the one this process lives in.

mod names;
mod netdev;

pub use names::{interface_index, interface_name, interface_names};
pub use netdev::{PagePool, page_pools, rx_queues};
