//! What a completion belongs to, packed into its `user_data`.

use crate::receive::backend::EVENT_USER_DATA;

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Someone wants the thread's attention.
    Wake,
    /// Connections on the listener with this index.
    Accept(u32),
    /// Data on the connection with this index.
    Receive(u32),
    /// Data from the connection with this index to its sink's socket.
    Write(u32),
    /// The connection's sink connects.
    Connect(u32),
    /// A cancellation.
    Cancel,
    /// No request, but an event of the kernel's.
    Event,
}

impl Op {
    /// Kind in the upper half, index in the lower.
    pub(super) const fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Wake => (0, 0),
            Self::Accept(index) => (1, index),
            Self::Receive(index) => (2, index),
            Self::Write(index) => (3, index),
            Self::Connect(index) => (4, index),
            Self::Cancel => (5, 0),
            Self::Event => return EVENT_USER_DATA,
        };
        (kind as u64) << 32 | index as u64
    }

    /// `None` for what [`Self::encode`] never makes.
    pub(super) const fn decode(user_data: u64) -> Option<Self> {
        if user_data == EVENT_USER_DATA {
            return Some(Self::Event);
        }
        let index = user_data as u32;
        match user_data >> 32 {
            0 => Some(Self::Wake),
            1 => Some(Self::Accept(index)),
            2 => Some(Self::Receive(index)),
            3 => Some(Self::Write(index)),
            4 => Some(Self::Connect(index)),
            5 => Some(Self::Cancel),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for op in [
            Op::Wake,
            Op::Accept(1),
            Op::Receive(u32::MAX),
            Op::Write(0),
            Op::Connect(77),
            Op::Cancel,
            Op::Event,
        ] {
            assert_eq!(Op::decode(op.encode()), Some(op));
        }
        assert_eq!(Op::decode(u64::MAX), None);
    }
}
