//! What the service manager is told: systemd's notification protocol. Without a service manager it is told to nobody.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// All that was configured is up; `status` is what `systemctl status` shows.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A new configuration is being applied. [`ready`] ends it.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading, NotifyState::Status("applying a new configuration")];
    // With Type=notify-reload, the clock tells the manager that this answers its own request. Without a clock it is
    // told nothing, and waits in vain: no Linux lacks it.
    states.extend(NotifyState::monotonic_usec_now());
    tell(&states);
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Everything makes progress.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Within which time the manager expects to hear [`alive`] again; `None` if it does not.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told");
    }
}
