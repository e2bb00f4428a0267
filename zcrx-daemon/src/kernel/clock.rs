//! The kernel's clocks, which stamp the events of probes and the answers of netlink.
//!
//! A time namespace (`unshare --time`, some container runtimes) shifts the clocks that a process reads, but not those of the
//! kernel. These functions return the kernel's, in every time namespace.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time namespaces have a file of their own since Linux 5.6.
const OFFSETS: &str = "/proc/self/timens_offsets";

const NANOSECONDS: i128 = 1_000_000_000;

/// Returns `CLOCK_MONOTONIC` as `bpf_ktime_get_ns` reads it.
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC, offsets().monotonic)
}

/// Returns `CLOCK_BOOTTIME` as the kernel reads it.
pub fn boottime() -> Duration {
    read(ClockId::CLOCK_BOOTTIME, offsets().boottime)
}

/// Nanoseconds that the time namespace of this process adds to the kernel's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offsets {
    monotonic: i128,
    boottime: i128,
}

/// The offsets of a process never change while it has threads.
fn offsets() -> Offsets {
    static OFFSETS_OF_THIS_PROCESS: OnceLock<Offsets> = OnceLock::new();
    *OFFSETS_OF_THIS_PROCESS
        .get_or_init(|| fs::read_to_string(OFFSETS).map(|text| parse(&text)).unwrap_or_default())
}

/// Parses lines such as `monotonic   100000   0`: clock, seconds, nanoseconds.
fn parse(text: &str) -> Offsets {
    let mut offsets = Offsets::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let clock = words.next();
        let mut number = || words.next().and_then(|word| word.parse::<i128>().ok()).unwrap_or(0);
        let offset = number() * NANOSECONDS + number();
        match clock {
            Some("monotonic") => offsets.monotonic = offset,
            Some("boottime") => offsets.boottime = offset,
            _ => {}
        }
    }
    offsets
}

fn read(clock: ClockId, offset: i128) -> Duration {
    let here = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let there = here.as_nanos().cast_signed() - offset;
    Duration::from_nanos(u64::try_from(there).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_both_signs_are_read() {
        let text = "monotonic      100000         5\nboottime          -7         500000000\n";
        let expected = Offsets { monotonic: 100_000 * NANOSECONDS + 5, boottime: -6_500_000_000 };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(""), Offsets::default());
    }

    #[test]
    fn clocks_are_those_of_the_kernel_without_an_offset() {
        let before = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        let kernel = read(ClockId::CLOCK_MONOTONIC, 0);
        assert!(kernel >= before);
        assert!(read(ClockId::CLOCK_MONOTONIC, -NANOSECONDS) >= before + Duration::from_secs(1));
        assert_eq!(read(ClockId::CLOCK_MONOTONIC, i128::from(u64::MAX)), Duration::ZERO);
    }
}
