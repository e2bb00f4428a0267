//! What a ring leaves behind whose requests did not end.

use std::mem;
use std::time::{Duration, Instant};

use crate::receive::backend::AnyBackend;
use crate::receive::connections::table::Table;
use crate::receive::pool::Pool;

/// How long the kernel may go on using memory after its ring was closed. It cancels what is in flight at once, later than
/// the close itself, and does not report when it is done.
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
    /// Keeps what a ring left that was closed just now.
    pub(super) fn keep(&mut self, ring: Option<RetiredRing>) {
        self.rings.extend(ring.map(|ring| (Instant::now(), ring)));
    }

    /// Frees what was kept long enough.
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
            // Their sockets have been shut down; it is the memory that must stay.
            let RetiredRing { backend, pool, connections } = ring;
            mem::forget(backend);
            mem::forget(pool);
            mem::forget(connections);
        }
    }
}
