//! The test pattern on the wire: what `zcrxd send` sends and the sink `verify` checks.
//!
//! A stream begins with a header of 16 bytes: the magic `zcrxpat1`, then a seed (u64, little endian). The payload
//! follows: for the 8-byte word with index i = 0, 1, 2, ... the u64 `splitmix64(seed + i)`, little endian; the last
//! word may be cut. So any byte's right value is known from the seed and its position alone, and lost, doubled or
//! swapped data shows. At the end of the stream the verifier answers one line on the same socket and closes it:
//!
//! - `ok <payload bytes>`
//! - `bad <mismatched bytes> of <payload bytes>, first at <offset>`
//! - `bad header`, if the stream does not begin with a header; nothing was compared then.

mod send;
mod verdict;
mod verifier;

pub use send::{SendError, send};
pub use verdict::{ParseVerdictError, Verdict};
pub use verifier::{Checked, Verifier};

/// The first 8 bytes of a stream.
pub const MAGIC: [u8; 8] = *b"zcrxpat1";
/// Length of the header, bytes.
pub const HEADER_BYTES: usize = 16;

/// The header of a stream with this seed.
pub fn header(seed: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&seed.to_le_bytes());
    header
}

/// Fills `into` with the payload that begins at byte `offset`.
pub fn fill(seed: u64, offset: u64, into: &mut [u8]) {
    let mut index = offset / 8;
    let mut skip = (offset % 8) as usize;
    let mut rest = into;
    while !rest.is_empty() {
        let word = word(seed, index);
        let take = (8 - skip).min(rest.len());
        let (now, later) = rest.split_at_mut(take);
        now.copy_from_slice(&word[skip..skip + take]);
        (index, skip, rest) = (index + 1, 0, later);
    }
}

/// The payload's word with this index.
fn word(seed: u64, index: u64) -> [u8; 8] {
    splitmix64(seed.wrapping_add(index)).to_le_bytes()
}

/// One step of the generator splitmix64 from the state `state`: cheap, and no two neighbours look alike.
const fn splitmix64(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published first outputs of splitmix64 from state 0 fix the pattern for every other implementation.
    #[test]
    fn the_generator_is_splitmix64() {
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn filling_in_parts_gives_the_same_as_at_once() {
        let mut whole = [0; 100];
        fill(7, 0, &mut whole);
        for cut in 0..=whole.len() {
            let mut parts = [0; 100];
            let (left, right) = parts.split_at_mut(cut);
            fill(7, 0, left);
            fill(7, cut as u64, right);
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }
}
