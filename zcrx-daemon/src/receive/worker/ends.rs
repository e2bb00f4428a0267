//! Ends that the kernel does not tell of.
//!
//! A multishot receive asks for a socket's error only when it brings no data. One that takes the last of the data that came
//! before a reset brings some, and waits again: but the reset was the last thing that could wake it (seen on Linux 7.3.4
//! with more packets than one call takes). Such a connection would stay for ever, so now and then the silent ones are asked.

use std::mem;
use std::os::fd::AsFd;

use io_uring::opcode;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::debug;

use super::connection::Receive;
use super::op::Op;
use super::session::Session;
use crate::receive::ReceiveError;

impl Session<'_> {
    /// Makes the receives of silent connections that have ended begin anew, and so find the end. One system call for all of
    /// them; busy ones are not asked.
    pub(super) fn look_for_ends(&mut self) -> Result<(), ReceiveError> {
        let mut silent = Vec::new();
        for (index, connection) in &mut self.connections {
            let heard = mem::take(&mut connection.heard);
            if !heard && !connection.closing && connection.receive == Receive::Armed {
                silent.push(index);
            } else {
                connection.hung_up = false;
            }
        }
        let ended = self.ended(&silent);
        for (index, ended) in silent.into_iter().zip(ended) {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            // Not at once: the completion that tells of it may be on its way.
            if !mem::replace(&mut connection.hung_up, ended) || !ended {
                continue;
            }
            connection.hung_up = false;
            self.counters.ring.unreported_ends += 1;
            debug!(
                queue = self.plan.name,
                index, "the connection has ended, and its receive does not: starting that anew"
            );
            let cancel = opcode::AsyncCancel::new(Op::Receive(index as u32).encode()).build();
            // SAFETY: the request points to nothing.
            unsafe { self.push(cancel, Op::Cancel) }?;
        }
        Ok(())
    }

    /// Which of these connections have ended in both directions. None, if the kernel does not answer: the next look will
    /// tell.
    fn ended(&self, connections: &[usize]) -> Vec<bool> {
        // No events asked for: errors and hang-ups are told all the same.
        let sockets = connections.iter().filter_map(|&index| self.connections.get(index));
        let mut asked: Vec<_> =
            sockets.map(|connection| PollFd::new(connection.socket.as_fd(), PollFlags::empty())).collect();
        if asked.is_empty() || poll(&mut asked, PollTimeout::ZERO).is_err() {
            return vec![false; connections.len()];
        }
        asked.iter().map(|socket| socket.any().unwrap_or_default()).collect()
    }
}
