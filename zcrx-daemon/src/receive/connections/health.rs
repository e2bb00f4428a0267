//! Ends that the kernel does not report.
//!
//! A multishot receive asks for a socket's error only when it brings no payload. A receive that takes the last of the
//! payload before a reset brings some, and waits again: but the reset was the last thing that could wake it (seen on Linux
//! 7.3.4 with more packets than one call takes). Such a connection would stay for ever, so silent ones are polled now and
//! then.

use std::mem;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Receive;
use super::table::Table;

/// Connections whose receive must be started again because they have ended in both directions, and were found so twice. One
/// system call for all silent connections; busy ones are not polled.
pub(in crate::receive) fn unreported_ends(table: &mut Table) -> Vec<u32> {
    let mut silent = Vec::new();
    for (index, connection) in table.iter_mut() {
        let heard = mem::take(&mut connection.heard);
        if !heard && !connection.closing && connection.receive == Receive::Armed {
            silent.push(index);
        } else {
            connection.hung_up = false;
        }
    }
    let ended = ended(table, &silent);
    let mut unreported = Vec::new();
    for (index, ended) in silent.into_iter().zip(ended) {
        let Some(connection) = table.get_mut(index) else { continue };
        // Not at once: the completion that reports it may be on its way.
        if mem::replace(&mut connection.hung_up, ended) && ended {
            connection.hung_up = false;
            unreported.push(index);
        }
    }
    unreported
}

/// Which of these connections have ended in both directions. None, if the kernel does not answer: the next check will.
fn ended(table: &Table, connections: &[u32]) -> Vec<bool> {
    // No events asked for: errors and hang-ups are reported all the same.
    let sockets = connections.iter().filter_map(|&index| table.get(index));
    let mut polled: Vec<_> =
        sockets.map(|connection| PollFd::new(connection.socket.as_fd(), PollFlags::empty())).collect();
    if polled.is_empty() || poll(&mut polled, PollTimeout::ZERO).is_err() {
        return vec![false; connections.len()];
    }
    polled.iter().map(|socket| socket.any().unwrap_or_default()).collect()
}
