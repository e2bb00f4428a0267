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
                "has the kernel consume the refill ring if entries wait there (at most once a millisecond), else adds \
                 an area if `area_max` allows, and arms the receive again; if nothing helps, tries after pauses from \
                 1 to 256 ms and gives the connection up (`zcrxd_receiver_given_up_connections_total`) after 64 attempts during which it \
                 received nothing and sinks held less than half of the area; other connections' data does not count"
            }
            Self::Expected => {
                "nothing by itself: a receive is cancelled when its connection is paused for the sake of a slow sink, and \
                 armed again once that has caught up, or when the queue stops"
            }
            Self::Close => "logs it with the peer, counts it, and ends the connection",
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
        meaning: "the completion queue is full, or completions wait outside of it for room",
        answer: Answer::MakeRoom,
        unproved: None,
    },
    Row {
        errno: libc::ENOMEM,
        meaning: "payload had to be copied, and there was no free buffer to copy to (or the area is a dmabuf); the NIC \
                  may have plenty",
        answer: Answer::FindBuffers,
        unproved: None,
    },
    Row {
        errno: libc::EFAULT,
        meaning: "the payload lies in buffers of another queue or memory provider: the flow is steered to the wrong one",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::EPROTONOSUPPORT,
        meaning: "the socket is no plain TCP: UDP, kTLS, sockmap",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::EINVAL,
        meaning: "the kernel does not know the request, it is not multishot, or it names no queue of the ring",
        answer: Answer::Close,
        unproved: None,
    },
    Row { errno: libc::ENOTSOCK, meaning: "no socket", answer: Answer::Close, unproved: None },
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
        meaning: "the peer does not answer any more: keepalive is on, and the host's `net.ipv4.tcp_keepalive_*` say when it asks",
        answer: Answer::Close,
        unproved: None,
    },
    Row {
        errno: libc::EAGAIN,
        meaning: "nothing to receive after all",
        answer: Answer::ArmAgain,
        unproved: Some(
            "not reachable here: the kernel waits for data instead, even on a non-blocking socket (`refused-receives`)",
        ),
    },
    Row {
        errno: libc::EINTR,
        meaning: "interrupted",
        answer: Answer::ArmAgain,
        unproved: Some(
            "not reachable here: a multishot receive never sleeps in the kernel, so no signal can interrupt it; the kernel's source has the errno all the same",
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
