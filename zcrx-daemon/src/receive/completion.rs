//! What a completion of RECV_ZC that brings no data means, and what is to be done about it.
//!
//! The receive path acts by this table, and `docs/receive.md` is written from it.

/// What the receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Arms the receive again at once.
    ArmAgain,
    /// Reaps first, then arms again.
    MakeRoom,
    /// Sees to it that there are buffers, then arms again.
    FindBuffers,
    /// Nothing: it is of its own making.
    Expected,
    /// Ends the connection.
    Close,
}

impl Answer {
    /// Describes the reaction, for docs/receive.md.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::ArmAgain => "arms the receive again at once",
            Self::MakeRoom => "takes every completion off the ring, then arms the receive again",
            Self::FindBuffers => {
                "makes the kernel consume the refill ring if entries wait there (at most once a millisecond), else adds an \
                 area if `area_max` allows, and arms the receive again; if the receive still gets no buffer, retries after \
                 pauses from 1 to 256 ms, and closes the connection (`zcrxd_receiver_given_up_connections_total`) after 64 attempts \
                 in which the connection received nothing and sinks held less than half of the area"
            }
            Self::Expected => {
                "nothing: zcrxd cancels a receive when it pauses a connection with a slow sink, and arms it again once the sink has \
                 caught up; it also cancels receives when the queue stops"
            }
            Self::Close => "logs the error with the peer, counts it, and closes the connection",
        }
    }
}

/// One errno.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Positive.
    pub(super) errno: i32,
    /// What it means here.
    pub(super) meaning: &'static str,
    /// What is done.
    pub(super) answer: Answer,
    /// Why no scenario of the lab shows it; `None` where one does.
    pub(super) unproved: Option<&'static str>,
}

/// Every errno that a receive is known to end with.
pub(super) const ROWS: &[Row] = &[
    Row {
        errno: libc::ENOSPC,
        meaning: "the completion queue is full, or completions have overflowed it",
        answer: Answer::MakeRoom,
        unproved: None,
    },
    Row {
        errno: libc::ENOMEM,
        meaning: "the kernel had to copy payload and found no free buffer for the copy (or the area is a dmabuf); the NIC may \
                  still have buffers",
        answer: Answer::FindBuffers,
        unproved: None,
    },
    Row {
        errno: libc::EFAULT,
        meaning: "the payload lies in buffers of another queue or memory provider: the flow is steered to the wrong queue",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::EPROTONOSUPPORT,
        meaning: "the socket is not a plain TCP socket: UDP, kTLS, sockmap",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::EINVAL,
        meaning: "the kernel does not support the request, the request is not multishot, or it names no queue of the ring",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::ENOTSOCK,
        meaning: "the descriptor is not a socket",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::ENOTCONN,
        meaning: "the socket is not connected",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::ECANCELED,
        meaning: "cancelled by zcrxd itself",
        answer: Answer::Expected,
        unproved: None,
    },
    Row { errno: libc::ECONNRESET, meaning: "reset by the peer", answer: Answer::Close, unproved: None },
    Row {
        errno: libc::ETIMEDOUT,
        meaning: "the peer does not answer keepalive probes; the host's `net.ipv4.tcp_keepalive_*` set their times",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::EAGAIN,
        meaning: "no data was available",
        answer: Answer::ArmAgain,
        unproved: Some(
            "not reachable: the kernel waits for data instead, even on a non-blocking socket (`refused-receives`)",
        ),
    },
    Row {
        errno: libc::EINTR,
        meaning: "interrupted",
        answer: Answer::ArmAgain,
        unproved: Some(
            "not reachable: a multishot receive never sleeps in the kernel, so no signal can interrupt it; the errno exists in the kernel's source",
        ),
    },
];

/// What to do about a positive errno. What is not known ends the connection.
pub(super) fn answer(errno: i32) -> Answer {
    ROWS.iter().find(|row| row.errno == errno).map_or(Answer::Close, |row| row.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_one_row_and_a_name() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(zcrx_uapi::errno::name(row.errno).is_some(), "{row:?}");
            assert!(ROWS[..index].iter().all(|earlier| earlier.errno != row.errno), "{row:?}");
        }
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for errno in 0..200 {
            let again = matches!(errno, libc::ENOSPC | libc::ENOMEM | libc::EAGAIN | libc::EINTR);
            let own = errno == libc::ECANCELED;
            assert_eq!(answer(errno) != Answer::Close, again || own, "{errno}");
        }
    }
}
