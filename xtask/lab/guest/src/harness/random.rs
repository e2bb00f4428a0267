//! Random choices from a seed: the same seed gives the same choices everywhere.

/// A sequence of choices (`SplitMix64`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts a sequence from any seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        let mixed = splitmix64(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mixed % u64::from(limit.max(1))) as u32
    }

    /// True once in `every` times.
    pub(crate) fn once_in(&mut self, every: u32) -> bool {
        self.below(every) == 0
    }

    /// One of the choices, of which there is at least one.
    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u32) as usize]
    }
}

/// One output of the generator from this state.
pub(crate) const fn splitmix64(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The seed that the environment in which the lab was started asks for, else 1.
pub(crate) fn seed() -> u64 {
    asked("ZCRX_LAB_SEED").unwrap_or(1)
}

/// How many steps it asks for, else `usual`.
pub(crate) fn steps(usual: u32) -> u32 {
    asked("ZCRX_LAB_STEPS").and_then(|steps| steps.try_into().ok()).unwrap_or(usual)
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
