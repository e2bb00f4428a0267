//! What a ring leaves behind whose requests did not end.

use std::mem;
use std::time::{Duration, Instant};

use slab::Slab;

use super::connection::Connection;
use crate::receive::backend::Backend;
use crate::receive::pool::Pool;

/// How long the kernel may go on using memory after its ring was closed. It cancels what is in flight at once, later than
/// the close itself, and gives no word when it is done.
const KEPT: Duration = Duration::from_secs(10);

/// Memory and sockets that requests in flight point to.
pub(super) struct Remains {
    pub(super) backend: Box<dyn Backend>,
    pub(super) pool: Pool,
    pub(super) connections: Slab<Connection>,
}

/// What was left behind of late. A queue that fails time and again must not keep it all.
#[derive(Default)]
pub(super) struct Graveyard {
    graves: Vec<(Instant, Remains)>,
}

impl Graveyard {
    /// Keeps what a ring left, closed just now, and frees what has been kept for long enough.
    pub(super) fn keep(&mut self, remains: Option<Remains>) {
        self.graves.retain(|(closed, _)| closed.elapsed() < KEPT);
        self.graves.extend(remains.map(|remains| (Instant::now(), remains)));
    }
}

impl Drop for Graveyard {
    fn drop(&mut self) {
        self.keep(None);
        #[expect(
            clippy::mem_forget,
            reason = "the kernel may still use this memory: better lost than reused"
        )]
        for (_, remains) in self.graves.drain(..) {
            // Their sockets have been shut down; it is the memory that must stay.
            let Remains { backend, pool, connections } = remains;
            mem::forget(backend);
            mem::forget(pool);
            mem::forget(connections);
        }
    }
}
