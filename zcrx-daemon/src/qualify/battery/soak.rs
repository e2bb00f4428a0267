//! Transfers of random sizes for as long as the operator wants.

use std::time::Instant;

use super::{Battery, LARGE, Step, judge, skips_for_steering};
use crate::qualify::report::QualifyReport;
use crate::receive::SinkConfig;

impl Battery<'_> {
    /// Verified transfers, one after the other, of 1 byte to 16 MiB.
    pub(super) fn soak(&mut self, report: &mut QualifyReport) -> Step {
        const NAME: &str = "soak";
        let Some(limit) = self.target.soak else { return Ok(()) };
        if skips_for_steering(report, NAME) {
            return Ok(());
        }
        let receiver = self.receive(&SinkConfig::Verify)?;
        let (begun, mut seed, mut total) = (Instant::now(), 0_u64, 0);
        while begun.elapsed() < limit {
            seed += 1;
            let bytes = size(seed);
            self.transfer(bytes, seed, true)?;
            total += bytes;
        }
        let sample = self.settle(&receiver)?;
        drop(receiver);
        let note = format!(", in {seed} transfers within {} s", begun.elapsed().as_secs());
        judge(report, NAME, &sample, total, &note);
        Ok(())
    }
}

/// Size of a transfer: small and large ones are as frequent, by orders of magnitude.
fn size(seed: u64) -> u64 {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let most = LARGE >> ((mixed >> 32) % 24);
    1 + (mixed ^ (mixed >> 29)) % most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_of_every_order() {
        let sizes: Vec<u64> = (1..1000).map(size).collect();
        assert!(sizes.iter().all(|size| (1..=LARGE).contains(size)));
        let below = |limit: u64| sizes.iter().filter(|size| **size < limit).count();
        assert!(below(100) > 100 && below(1 << 20) < 950, "{} {}", below(100), below(1 << 20));
    }
}
