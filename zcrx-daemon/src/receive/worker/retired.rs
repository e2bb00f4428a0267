//! Memory of rings whose requests did not end.

use std::mem;
use std::time::{Duration, Instant};

use crate::receive::backend::AnyBackend;
use crate::receive::connections::table::Table;
use crate::receive::pool::Pool;

/// Time for which the kernel may use memory after the ring was closed. The kernel cancels requests in flight some time after
/// the close, and does not report when it has finished.
const KEPT: Duration = Duration::from_secs(10);

/// Memory and sockets that requests in flight point to.
pub(super) struct RetiredRing {
    pub(super) backend: AnyBackend,
    pub(super) pool: Pool,
    pub(super) connections: Table,
}

/// Rings that were closed recently.
#[derive(Default)]
pub(super) struct RetiredRings {
    rings: Vec<(Instant, RetiredRing)>,
}

impl RetiredRings {
    /// Keeps the memory of a ring that was closed just now.
    pub(super) fn keep(&mut self, ring: Option<RetiredRing>) {
        self.rings.extend(ring.map(|ring| (Instant::now(), ring)));
    }

    /// Frees memory that was kept long enough.
    pub(super) fn free_expired(&mut self) {
        self.rings.retain(|(closed, _)| closed.elapsed() < KEPT);
    }
}

impl Drop for RetiredRings {
    fn drop(&mut self) {
        self.free_expired();
        #[expect(
            clippy::mem_forget,
            reason = "the kernel may still use this memory: better lost than reused"
        )]
        for (_, ring) in self.rings.drain(..) {
            // The sockets have been shut down; only the memory must stay.
            let RetiredRing { backend, pool, connections } = ring;
            mem::forget(backend);
            mem::forget(pool);
            mem::forget(connections);
        }
    }
}
