//! The request that a completion belongs to, encoded in `user_data`.

use crate::receive::backend::EVENT_USER_DATA;

/// A request of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receive) enum SinkOp {
    /// Sends or writes payload.
    Write,
    /// Sends payload without a copy; the slot distinguishes sends that the kernel has not finished with.
    Send(u8),
    /// Connects to the destination.
    Connect,
    /// Reads what the destination sends.
    Read,
    /// Opens the file.
    Open,
    /// Closes the file.
    Close,
}

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receive) enum Op {
    /// Another thread has woken this thread.
    Wake,
    /// Accepts connections on the listener with this index.
    Accept(u32),
    /// Receives from the connection with this index.
    Receive(u32),
    /// A request of the sink of the connection with this index.
    Sink(u32, SinkOp),
    /// The next timer.
    Timeout,
    /// A cancellation.
    Cancel,
    /// No request, but an event of the kernel's.
    Event,
}

impl Op {
    /// `user_data >> 32` of a receive.
    pub(in crate::receive) const RECEIVE: u64 = 2;

    /// `user_data >> 32` of a send in slot 0. The slot is above the lowest byte.
    const SEND: u64 = 10;

    /// Kind in the upper half, index in the lower.
    pub(in crate::receive) const fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Wake => (0, 0),
            Self::Accept(index) => (1, index),
            Self::Receive(index) => (Self::RECEIVE, index),
            Self::Sink(index, SinkOp::Write) => (3, index),
            Self::Sink(index, SinkOp::Connect) => (4, index),
            Self::Cancel => (5, 0),
            Self::Timeout => (6, 0),
            Self::Sink(index, SinkOp::Read) => (7, index),
            Self::Sink(index, SinkOp::Open) => (8, index),
            Self::Sink(index, SinkOp::Close) => (9, index),
            Self::Sink(index, SinkOp::Send(slot)) => (Self::SEND | (slot as u64) << 8, index),
            Self::Event => return EVENT_USER_DATA,
        };
        kind << 32 | index as u64
    }

    /// `None` for a value that [`Self::encode`] never returns.
    pub(in crate::receive) const fn decode(user_data: u64) -> Option<Self> {
        if user_data == EVENT_USER_DATA {
            return Some(Self::Event);
        }
        let index = user_data as u32;
        match user_data >> 32 {
            0 => Some(Self::Wake),
            1 => Some(Self::Accept(index)),
            Self::RECEIVE => Some(Self::Receive(index)),
            3 => Some(Self::Sink(index, SinkOp::Write)),
            4 => Some(Self::Sink(index, SinkOp::Connect)),
            5 => Some(Self::Cancel),
            6 => Some(Self::Timeout),
            7 => Some(Self::Sink(index, SinkOp::Read)),
            8 => Some(Self::Sink(index, SinkOp::Open)),
            9 => Some(Self::Sink(index, SinkOp::Close)),
            kind if kind & 0xff == Self::SEND && kind >> 16 == 0 => {
                Some(Self::Sink(index, SinkOp::Send((kind >> 8) as u8)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_op_survives_the_round_trip() {
        for op in [
            Op::Wake,
            Op::Accept(1),
            Op::Receive(u32::MAX),
            Op::Sink(0, SinkOp::Write),
            Op::Sink(77, SinkOp::Connect),
            Op::Sink(1, SinkOp::Read),
            Op::Sink(2, SinkOp::Open),
            Op::Sink(3, SinkOp::Close),
            Op::Sink(4, SinkOp::Send(0)),
            Op::Sink(u32::MAX, SinkOp::Send(u8::MAX)),
            Op::Timeout,
            Op::Cancel,
            Op::Event,
        ] {
            assert_eq!(Op::decode(op.encode()), Some(op));
        }
        assert_eq!(Op::decode(u64::MAX), None);
    }
}
