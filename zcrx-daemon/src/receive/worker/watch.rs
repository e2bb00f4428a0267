//! Looks, now and then, after what never says so by itself: an interface that is gone, connections that have ended.

use std::time::Duration;

use nix::net::if_::if_nametoindex;

use super::retry::Timer;
use super::session::Session;
use crate::receive::ReceiveError;
use crate::receive::config::QueueConfig;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Begins to look.
    pub(super) fn watch(&mut self) {
        self.timers.after(PERIOD, Timer::Watch);
    }

    /// Looks for connections that have ended in silence. Fails if the interface is another than when the queue was registered: gone, back, or a new one of that name, as
    /// after its driver was loaded again. The queue is then registered anew, on what there is.
    pub(super) fn look(&mut self) -> Result<(), ReceiveError> {
        let now = ifindex(&self.plan.config);
        // Each thread looks after its own connections, and the one that registered the queue after the interface.
        if self.has_joined() || now == self.ifindex {
            self.look_for_ends()?;
            self.watch();
            return Ok(());
        }
        let interface = self.plan.config.interface.clone().unwrap_or_default();
        Err(ReceiveError::InterfaceChanged { interface, gone: now.is_none() })
    }
}

/// The index of the queue's interface; `None` if it has none, or that is gone.
pub(super) fn ifindex(config: &QueueConfig) -> Option<u32> {
    if_nametoindex(config.interface.as_deref()?).ok()
}
