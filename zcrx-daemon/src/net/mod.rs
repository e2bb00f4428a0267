//! Everything zcrxd knows and sets of an interface, over netlink and, where the kernel offers no more, ioctl.
//!
//! Reading works as an ordinary user. Setting is a journey with a way back: [`plan`] says what zcrx needs and
//! what is there, [`apply`] goes there step by step behind a journal on disk, [`restore`] puts back what was.

mod apply;
mod device;
mod error;
mod ethtool;
mod flow;
mod hint;
mod ioctl;
mod journal;
mod link;
mod merge;
mod names;
mod namespace;
pub(crate) mod needs;
mod netdev;
mod netlink;
mod plan;
mod prepare;
mod read;
mod rss;
mod step;

pub use apply::{ApplyError, Device, Failure, Keep, Restored, apply, restore};
pub use device::Nic;
pub use error::NetError;
pub use flow::{Flow, FlowError};
pub use hint::hint;
pub use journal::{Identity, Journal, JournalError, Store, boot_id, directories};
pub use link::Link;
pub use names::interface_name;
pub use namespace::{Namespace, inside, namespaces, own_namespace};
pub use netlink::Netlink;
pub use plan::{Check, Plan, Verdict, Wanted, WantedError, plan};
pub use prepare::{Outcome, PrepareError, PutBack, prepare, put_back};
pub use read::{interface, interfaces, setup};
pub use rss::Spread;
pub use step::{NTUPLE, Part, Step, steps};

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
