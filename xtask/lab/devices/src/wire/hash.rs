//! The Toeplitz hash of receive-side scaling.

/// Hashes the bytes of a flow. A key that is shorter than the input plus four bytes continues with zeroes.
pub(crate) fn toeplitz(key: &[u8], input: impl IntoIterator<Item = u8>) -> u32 {
    let byte = |at: usize| u32::from(key.get(at).copied().unwrap_or(0));
    let mut window = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
    let mut hash = 0;
    for (at, input) in input.into_iter().enumerate() {
        let next = byte(at + 4);
        for bit in (0..8).rev() {
            if input >> bit & 1 == 1 {
                hash ^= window;
            }
            window = window << 1 | (next >> bit & 1);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::toeplitz;

    /// The key and results of the verification suite in Microsoft's specification of receive-side scaling.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn hash_matches_the_published_vectors() {
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        assert_eq!(toeplitz(&KEY, addresses), 0x323e_8fc2);
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&KEY, addresses.into_iter().chain(ports)), 0x51cc_c178);
    }
}
