//! Everything zcrxd knows and sets of an interface, over netlink and, where the kernel offers no more, ioctl.
//!
//! An ordinary user can read settings. Changes can always be undone: [`plan`] compares zcrx's needs with the current
//! settings, [`apply`] changes them step by step behind a journal on disk, [`restore`] restores the original.

mod apply;
mod checks;
mod device;
pub mod driver;
mod error;
mod ethtool;
mod flow;
mod header_split;
mod hint;
mod ioctl;
mod journal;
mod link;
mod locate;
mod merge;
mod names;
mod namespace;
pub(crate) mod needs;
mod netdev;
mod netlink;
mod plan;
mod prepare;
mod read;
mod rings_watch;
mod rss;
mod statistics;
mod step;
mod target;
mod updown;
mod wanted;

pub use apply::{ApplyError, Device, Failure, Keep, Restored, apply, restore};
pub use checks::{Check, Verdict};
pub use device::Nic;
pub use driver::{Driver, driver_of};
pub use error::NetError;
pub use flow::{Flow, FlowError};
pub use header_split::{RingRequests, configure};
pub use hint::hint;
pub use journal::{Identity, Journal, JournalError, Store, boot_id, directories};
pub use link::Link;
pub use names::{interface_name, kernel_index, kernel_name};
pub use namespace::{Namespace, inside, namespaces, own_namespace, way_into};
pub use netlink::Netlink;
pub use plan::{Plan, plan, plan_after};
pub use prepare::{Outcome, PrepareError, PutBack, journal_of, prepare, put_back};
pub use read::{Steering, interface, interfaces, setup, steering};
pub use rss::Spread;
pub use statistics::statistics;
pub use step::{NTUPLE, Part, Step, Taken, steps};
pub use updown::set_up;
pub use wanted::{Wanted, WantedError};

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(|digit| DIGITS[usize::from(digit)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect()).flatten()
}
