//! The netlink socket: requests go out, attributes come back, refusals keep the kernel's own words.

use std::io;

use netlink_bindings::traits::NetlinkRequest;
use netlink_bindings::utils;
use netlink_socket2::{NetlinkSocket, ReplyError};

use super::NetError;

/// Reads and sets interfaces of the network namespace of the thread that first uses it.
///
/// Reading needs no privilege; setting needs CAP_NET_ADMIN.
#[derive(Default)]
pub struct Netlink {
    socket: NetlinkSocket,
}

impl Netlink {
    /// A handle; sockets are opened when first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks, and keeps what `parse` makes of each answer; `None` from it leaves an answer out.
    pub(super) fn ask<R: NetlinkRequest, T>(
        &mut self,
        what: &str,
        request: &R,
        mut parse: impl FnMut(R::ReplyType<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetError> {
        let mut answers = Vec::new();
        let mut replies = self.socket.request(request).map_err(|error| unsent(what, &error))?;
        while let Some(reply) = replies.recv() {
            answers.extend(parse(reply.map_err(|error| refused(what, &error))?));
        }
        Ok(answers)
    }

    /// Asks for one answer.
    pub(super) fn ask_one<R: NetlinkRequest, T>(
        &mut self,
        what: &str,
        request: &R,
        parse: impl FnMut(R::ReplyType<'_>) -> Option<T>,
    ) -> Result<T, NetError> {
        self.ask(what, request, parse)?
            .pop()
            .ok_or(NetError::Unreadable { what: what.to_owned(), reason: "it lacks what was asked for" })
    }

    /// Asks for a change, for which an answer may come or not.
    pub(super) fn set<R: NetlinkRequest>(&mut self, what: &str, request: &R) -> Result<(), NetError> {
        self.ask(what, request, |_| None::<()>).map(drop)
    }
}

/// A request that found no family to be sent to: older kernels lack `netdev` and `ethtool`.
fn unsent(what: &str, error: &io::Error) -> NetError {
    match error.raw_os_error() {
        Some(libc::ENOENT) => NetError::Refused {
            what: what.to_owned(),
            errno: Some(libc::EOPNOTSUPP),
            reason: "this kernel lacks the netlink family".to_owned(),
        },
        _ => NetError::errno(what, error),
    }
}

fn refused(what: &str, error: &ReplyError) -> NetError {
    let io = error.as_io_error();
    let words = error
        .ext_ack()
        .and_then(|ack| ack.get_msg().ok().map(|words| words.to_string_lossy().into_owned()))
        .filter(|words| !words.is_empty());
    let reason = match words {
        Some(words) => format!("{words} ({io})"),
        None => io.to_string(),
    };
    NetError::Refused { what: what.to_owned(), errno: io.raw_os_error(), reason }
}

/// An attribute of type `uint`: four bytes or eight, whichever holds the value.
///
/// The bindings read the first four of either, which is wrong once a counter passes 2^32.
pub(super) fn uint(attributes: &[u8], number: u16) -> Option<u64> {
    let value = utils::find_attr(attributes, number)?;
    let short = || value.try_into().ok().map(u32::from_ne_bytes).map(u64::from);
    short().or_else(|| value.try_into().ok().map(u64::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uint_is_four_bytes_or_eight() {
        let mut buffer = Vec::new();
        buffer.extend(8_u16.to_ne_bytes());
        buffer.extend(7_u16.to_ne_bytes());
        buffer.extend(5_u32.to_ne_bytes());
        buffer.extend(12_u16.to_ne_bytes());
        buffer.extend(9_u16.to_ne_bytes());
        buffer.extend(0x1_0000_0002_u64.to_ne_bytes());
        assert_eq!(uint(&buffer, 7), Some(5));
        assert_eq!(uint(&buffer, 9), Some(0x1_0000_0002));
        assert_eq!(uint(&buffer, 8), None);
        assert_eq!(uint(&buffer[..10], 7), Some(5), "a cut second attribute does not hide the first");
        assert_eq!(uint(&buffer[..10], 9), None);
    }
}
