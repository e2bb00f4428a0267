//! Adds memory to a queue that runs short of buffers, up to the configured limit (Linux 7.3).

use std::io;

use tracing::{info, warn};

use super::area;
use crate::receive::mapping::Mapping;
use crate::receive::pool::Pool;
use crate::receive::ring::Ring;
use zcrx_uapi::register;

/// Largest step: small enough to be mapped soon and not to exceed the need. Larger limits take larger steps, because the
/// kernel accepts at most 1024 areas.
const STEP_BYTES: u64 = 64 << 20;
const STEPS: u64 = 512;

/// The remaining growth of a queue.
#[derive(Debug)]
pub(super) struct Growth {
    limit: u64,
    buffer_bytes: u64,
    /// Whether buffers ran short.
    wanted: bool,
    /// Whether a helper maps memory now.
    mapping: bool,
    pub(super) added: u64,
    pub(super) refused: u64,
}

impl Growth {
    /// Creates the growth of a queue up to `limit` bytes, in buffers of the given size.
    pub(super) const fn new(limit: u64, buffer_bytes: u64) -> Self {
        Self { limit, buffer_bytes, wanted: false, mapping: false, added: 0, refused: 0 }
    }

    /// Limit of all areas together, bytes.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Records that buffers ran short.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    /// Memory that a helper should map now, as (bytes, bytes of a buffer): the queue's present size, at most up to the limit.
    /// Mapping populates the memory, which takes too long for a receive thread.
    pub(super) fn wanted(&mut self, area_bytes: u64) -> Option<(u64, u64)> {
        if !std::mem::take(&mut self.wanted) || self.mapping {
            return None;
        }
        let step = step(area_bytes, self.limit, area::granule(self.buffer_bytes))?;
        self.mapping = true;
        Some((step, self.buffer_bytes))
    }

    /// Records that no helper could be started: the next shortage tries again.
    pub(super) const fn no_area(&mut self) {
        self.mapping = false;
    }

    /// Registers memory that a helper has mapped. Returns whether the queue has grown. A refusal ends the growth permanently:
    /// the limit of locked memory, for example, does not rise by itself.
    pub(super) fn add(
        &mut self,
        ring: &Ring,
        zcrx_id: u32,
        memory: io::Result<Mapping>,
        pool: &mut Pool,
    ) -> io::Result<bool> {
        self.mapping = false;
        let now = pool.area_bytes();
        let added = memory.and_then(|memory| {
            let mut reg = area::describe(&memory);
            // SAFETY: the memory stays mapped until the ring is gone: it goes to the pool, whose owner drops the ring
            // first. If the call fails, the kernel has released the memory.
            unsafe { register::zcrx_add_area(ring.fd(), zcrx_id, &mut reg) }?;
            Ok((memory, reg.rq_area_token))
        });
        match added {
            Ok((memory, token)) => {
                pool.add_area(memory, token).map_err(io::Error::other)?;
                self.added += 1;
                info!(area_bytes = pool.area_bytes(), limit = self.limit, "buffers ran short: area added");
                Ok(true)
            }
            Err(error) => {
                self.refused += 1;
                warn!(%error, area_bytes = now, limit = self.limit, "buffers run short, and no area can be added");
                self.limit = now;
                Ok(false)
            }
        }
    }
}

/// Number of bytes to add to `now` bytes, in whole `granule`s; `None` at the limit.
fn step(now: u64, limit: u64, granule: u64) -> Option<u64> {
    let most = STEP_BYTES.max(limit / STEPS);
    let step = now.min(most).min(limit.saturating_sub(now));
    let step = step - step % granule;
    (step > 0).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_doubles_up_to_the_step_and_stops_at_the_limit() {
        assert_eq!(step(1 << 20, 4 << 20, 4096), Some(1 << 20));
        assert_eq!(step(3 << 20, 4 << 20, 4096), Some(1 << 20));
        assert_eq!(step(4 << 20, 4 << 20, 4096), None);
        assert_eq!(step(4 << 20, 0, 4096), None);
        assert_eq!(step(1 << 30, 4 << 30, 4096), Some(STEP_BYTES));
        assert_eq!(step(4096, 4096 + 4095, 4096), None, "less than a page is left");
    }

    #[test]
    fn largest_limit_is_reached_with_as_many_areas_as_the_kernel_takes() {
        let (mut now, mut areas) = (4096_u64, 1);
        while let Some(step) = step(now, 1 << 40, 4096) {
            now += step;
            areas += 1;
        }
        assert_eq!(now, 1 << 40);
        assert!(areas <= 1024, "{areas}");
    }
}
