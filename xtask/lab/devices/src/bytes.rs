//! Fixed-width numbers in descriptors, messages and frames.
//!
//! The guest chooses these bytes, so every function here is total: bytes beyond the end read as zero.

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    let present = bytes.get(at..).unwrap_or_default();
    let length = present.len().min(N);
    field[..length].copy_from_slice(&present[..length]);
    field
}

/// Reads a big-endian 16-bit number.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

/// Reads a big-endian 32-bit number.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// Reads a big-endian 64-bit number.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// Reads a little-endian 16-bit number.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// Reads a little-endian 32-bit number.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Reads a little-endian 64-bit number.
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Overwrites bytes at an offset; what lies beyond the end is left out.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..) {
        let length = place.len().min(value.len());
        place[..length].copy_from_slice(&value[..length]);
    }
}
