//! A driver's own counters, as `ethtool -S` shows them.

use super::NetError;
use super::ioctl::Ethtool;

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETH_SS_STATS: u32 = 1;
/// `ETH_GSTRING_LEN`.
const NAME_BYTES: usize = 32;
/// Words of `struct ethtool_gstrings` and of `struct ethtool_stats` before their arrays.
const STRINGS_HEADER: usize = 3;
const STATS_HEADER: usize = 2;
/// Counters that may appear between the calls that ask for their number, names and values: more than any driver adds when
/// another program changes its channels.
const SPARE: usize = 1 << 15;

/// Reads the counters of an interface, by the kernel's name of it, in the driver's order.
pub fn statistics(name: &str) -> Result<Vec<(String, u64)>, NetError> {
    let ethtool = Ethtool::open(name)?;
    // Newer kernels return nothing if the request names another number of counters than the driver has.
    let count = ethtool.statistics_count()?;
    let room = count as usize + SPARE;

    let mut strings = vec![0_u32; STRINGS_HEADER + room * NAME_BYTES / 4];
    strings[0] = ETHTOOL_GSTRINGS;
    strings[1] = ETH_SS_STATS;
    strings[2] = count;
    // SAFETY: the kernel writes the header and `NAME_BYTES` for each counter; there is room for the counters that the driver
    // reported and `SPARE` more.
    unsafe { ethtool.call("read names of counters", strings.as_mut_ptr().cast()) }?;
    let named = (strings[2] as usize).min(room);

    // Values have 64 bits and begin after two 32-bit words.
    let mut words = vec![0_u64; 1 + room];
    words[0] = pair(ETHTOOL_GSTATS, count);
    // SAFETY: the kernel writes the header, which is one 64-bit word, and one word for each counter; room as above.
    unsafe { ethtool.call("read counters", words.as_mut_ptr().cast()) }?;
    const { assert!(STATS_HEADER * size_of::<u32>() == size_of::<u64>()) };
    let valued = (second(words[0]) as usize).min(room);

    let bytes: Vec<u8> = strings[STRINGS_HEADER..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let names = bytes.chunks_exact(NAME_BYTES).take(named.min(valued)).map(super::ioctl::text);
    Ok(names.zip(words[1..].iter().copied()).collect())
}

/// Two 32-bit words, in the order of memory.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// The second of them.
fn second(words: u64) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&words.to_ne_bytes()[4..]);
    u32::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_order_in_memory() {
        assert_eq!(second(pair(1, 7)), 7);
        assert_eq!(pair(1, 7).to_ne_bytes()[..4], 1_u32.to_ne_bytes());
    }

    #[test]
    fn missing_interface_has_no_counters() {
        assert!(statistics("no-such-if").is_err());
    }
}
