//! A connection of the random scenarios: what is sent follows from its number, and so does how both ends behave.
//!
//! The stream is the test pattern of `zcrxd send` (a header of magic and seed, then words from the seed), so each kind of sink
//! takes every connection. The seed holds the connection's number: a destination knows from the stream how to behave.

use crate::harness::random::{Random, splitmix64};

const MAGIC: [u8; 8] = *b"zcrxpat1";
/// Length of the header, bytes.
pub(super) const HEADER_BYTES: u64 = 16;

/// How a connection's sender ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Half-closes and waits for zcrxd's end.
    Close,
    /// Resets once everything is acknowledged.
    ResetAcknowledged,
    /// Resets with data under way.
    Reset,
}

/// How a connection's destination behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Fast,
    /// Pauses after each read.
    Slow,
    /// Writes while it reads.
    Replies,
    /// Sends its FIN before it reads.
    HalfCloses,
    /// Resets the connection after this number of bytes.
    Dies(u64),
}

/// Behaviour of both ends of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) number: u64,
    /// Index of the queue.
    pub(super) queue: u16,
    /// Bytes, the header included.
    pub(super) bytes: u64,
    pub(super) end: End,
    pub(super) behaviour: Behaviour,
    /// The sender pauses once after this number of bytes.
    pub(super) pause_at: Option<u64>,
}

impl Plan {
    /// The plan of a connection with this number, of a run with this seed.
    pub(super) fn of(seed: u64, number: u64, queues: u16) -> Self {
        let mut random = Random::new(splitmix64(seed) ^ splitmix64(number));
        let largest = 640 << random.below(11);
        let bytes = HEADER_BYTES + u64::from(random.below(largest));
        let end = match random.below(10) {
            0 => End::Reset,
            1 | 2 => End::ResetAcknowledged,
            _ => End::Close,
        };
        let part = HEADER_BYTES + u64::from(random.below(bytes as u32));
        let behaviour = match random.below(12) {
            0..=3 => Behaviour::Fast,
            4 | 5 => Behaviour::Slow,
            6 | 7 => Behaviour::Replies,
            8 | 9 => Behaviour::HalfCloses,
            _ => Behaviour::Dies(part),
        };
        let pause_at = random.once_in(4).then(|| u64::from(random.below(bytes as u32)));
        let queue = random.below(u32::from(queues)) as u16;
        Self { number, queue, bytes, end, behaviour, pause_at }
    }
}

/// Fills `into` with the stream of a connection from byte `offset` on.
pub(super) fn fill(number: u64, offset: u64, into: &mut [u8]) {
    for (byte, expected) in into.iter_mut().zip(bytes_from(number, offset)) {
        *byte = expected;
    }
}

/// The offset of the first byte that is not the stream's.
pub(super) fn first_difference(number: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    let different =
        bytes.iter().zip(bytes_from(number, offset)).position(|(byte, expected)| *byte != expected);
    different.map(|at| offset + at as u64)
}

/// The number in a header.
pub(super) fn number_in(header: &[u8]) -> Option<u64> {
    let (magic, seed) = header.get(..HEADER_BYTES as usize)?.split_at(MAGIC.len());
    let seed: [u8; 8] = seed.try_into().ok()?;
    (magic == MAGIC).then(|| u64::from_le_bytes(seed) >> 32)
}

/// The bytes of a stream from byte `offset` on.
fn bytes_from(number: u64, offset: u64) -> impl Iterator<Item = u8> {
    (offset / 8..).flat_map(move |index| word(number, index)).skip((offset % 8) as usize)
}

fn word(number: u64, index: u64) -> [u8; 8] {
    // Neighbouring streams have no word in common.
    let seed = number << 32;
    match index {
        0 => MAGIC,
        1 => seed.to_le_bytes(),
        index => splitmix64(seed.wrapping_add(index - 2)).to_le_bytes(),
    }
}
