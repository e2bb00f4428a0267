//! Which layout the maps have that outlive a restart of zcrxd: the next one may be of another version.

/// Differs between two versions of zcrxd whose counts of queues may differ in layout or meaning: a hash (FNV-1a) of the source text.
/// A comment changes it too; then counts begin at zero once more than they have to.
pub const LAYOUT: u64 = hash(hash(BASIS, include_bytes!("allocation.rs")), include_bytes!("event.rs"));

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

const fn hash(mut hash: u64, text: &[u8]) -> u64 {
    let mut place = 0;
    while place < text.len() {
        hash = (hash ^ text[place] as u64).wrapping_mul(PRIME);
        place += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{BASIS, hash};

    /// The values that the authors of the hash give.
    #[test]
    fn hashes_are_those_of_fnv_1a() {
        assert_eq!(hash(BASIS, b""), BASIS);
        assert_eq!(hash(BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(BASIS, b"foobar"), 0x8594_4171_f739_67e8);
    }
}
