//! Finds ended connections that the kernel does not report.
//!
//! A multishot receive checks a socket's error only when it finds no payload. A receive that takes the last payload before
//! a reset therefore waits again, although the reset was the last event that could wake it (seen on Linux
//! 7.3.4 with more packets than one call takes). Such a connection would stay open for ever, so zcrxd polls silent connections
//! periodically.

use std::mem;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Receive;
use super::table::Table;

/// Connections that two checks in a row found ended in both directions: their receive must be started again. Needs one
/// system call for all silent connections; busy connections are not polled.
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
        // Not at the first check: a completion that reports the end may be on its way.
        if mem::replace(&mut connection.hung_up, ended) && ended {
            connection.hung_up = false;
            unreported.push(index);
        }
    }
    unreported
}

/// Returns which of these connections have ended in both directions. Returns none if poll fails: the next check repeats it.
fn ended(table: &Table, connections: &[u32]) -> Vec<bool> {
    // Without requested events, poll reports only errors and hang-ups.
    let sockets = connections.iter().filter_map(|&index| table.get(index));
    let mut polled: Vec<_> =
        sockets.map(|connection| PollFd::new(connection.socket.as_fd(), PollFlags::empty())).collect();
    if polled.is_empty() || poll(&mut polled, PollTimeout::ZERO).is_err() {
        return vec![false; connections.len()];
    }
    polled.iter().map(|socket| socket.any().unwrap_or_default()).collect()
}
