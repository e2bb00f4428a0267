//! Events that the kernel tells of its own accord (Linux 7.2).

use std::time::Duration;

use super::retry::Timer;
use super::session::Session;
use crate::receive::ReceiveError;
use crate::receive::backend::Arm;

/// How long an event stays disarmed when what it told of goes on: a starving NIC asks again at once, and a queue without
/// a device copies everything.
const ARM_PAUSE: Duration = Duration::from_millis(100);

impl Session<'_> {
    /// An event's completion.
    pub(super) fn event(&mut self, result: i32) -> Result<(), ReceiveError> {
        let Ok(event) = u32::try_from(result) else { return Ok(()) };
        match self.backend.event(&self.ring, &mut self.pool, event)? {
            Arm::Now => self.arm(event),
            Arm::Later => {
                self.timers.after(ARM_PAUSE, Timer::Arm(event));
                Ok(())
            }
        }
    }

    /// Lets the kernel tell an event again.
    pub(super) fn arm(&mut self, event: u32) -> Result<(), ReceiveError> {
        if self.stopping {
            return Ok(());
        }
        Ok(self.backend.arm(&self.ring, event)?)
    }
}
