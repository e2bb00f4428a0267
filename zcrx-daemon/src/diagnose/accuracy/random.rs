//! Random numbers from a seed (splitmix64): the same on every machine, so that a case can be run again by its number.

/// A source of random numbers.
#[derive(Clone, Debug)]
pub(in crate::diagnose) struct Random(u64);

impl Random {
    pub(in crate::diagnose) const fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(in crate::diagnose) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1.
    pub(in crate::diagnose) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two values, as likely per factor: sizes and rates span orders of magnitude.
    pub(in crate::diagnose) fn between(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.share())
    }

    pub(in crate::diagnose) fn whole(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(in crate::diagnose) fn chance(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    pub(in crate::diagnose) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }
}
