//! What travels between the two NICs.

mod frame;
mod hash;

pub(crate) use self::frame::{Frame, IpVersion, Transport};
