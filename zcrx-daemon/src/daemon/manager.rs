//! What the service manager is told: systemd's notification protocol. Without a service manager it is told to nobody.
//!
//! The manager may be slow to read, and this is said from the loop that deals with signals and scrapes: so nothing here
//! waits. What the manager has no room for is kept, and said again until it has.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::Notify;
use tracing::{info, warn};

/// How long it is given until it is told again.
const PAUSE: Duration = Duration::from_millis(200);

/// Messages that are kept at most; then the oldest is forgotten, since a later one says what holds now.
const MOST_UNSAID: usize = 8;

/// The service manager.
pub(super) struct Manager {
    /// The path of its socket, or its abstract name behind an `@`; `None` if there is no manager.
    socket: Option<OsString>,
    unsaid: Mutex<VecDeque<String>>,
    refused: Notify,
}

impl Manager {
    /// The manager that the environment names.
    pub(super) fn find() -> Arc<Self> {
        Arc::new(Self::at(std::env::var_os("NOTIFY_SOCKET")))
    }

    fn at(socket: Option<OsString>) -> Self {
        Self { socket, unsaid: Mutex::default(), refused: Notify::new() }
    }

    /// All that was configured is up; `status` is what `systemctl status` shows.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A new configuration is being applied. [`Manager::ready`] ends it.
    pub(super) fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading, NotifyState::Status("applying a new configuration")];
        // With Type=notify-reload, the clock tells the manager that this answers its own request. Without a clock it is
        // told nothing, and waits in vain: no Linux lacks it.
        states.extend(NotifyState::monotonic_usec_now());
        self.tell(&states);
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Everything makes progress. Not kept if there is no room for it: it is true of this moment only.
    pub(super) fn alive(&self) {
        let Some(socket) = &self.socket else { return };
        let mut unsaid = self.unsaid();
        if say(socket, &mut unsaid).is_ok() && unsaid.is_empty() {
            say(socket, &mut VecDeque::from([message(&[NotifyState::Watchdog])])).ok();
        }
    }

    /// Says what was kept, until it is dropped.
    pub(super) async fn say_again(self: Arc<Self>) {
        let Some(socket) = &self.socket else { return };
        loop {
            self.refused.notified().await;
            warn!("the service manager has no room for what it is told; it is told again until it has");
            loop {
                tokio::time::sleep(PAUSE).await;
                let mut unsaid = self.unsaid();
                if let Err(error) = say(socket, &mut unsaid) {
                    warn!(%error, "the service manager cannot be told");
                    unsaid.clear();
                }
                if unsaid.is_empty() {
                    break;
                }
            }
            info!("the service manager has been told all");
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let mut unsaid = self.unsaid();
        let first = unsaid.is_empty();
        if unsaid.len() == MOST_UNSAID {
            unsaid.pop_front();
        }
        unsaid.push_back(message(states));
        match say(socket, &mut unsaid) {
            Ok(()) if first && !unsaid.is_empty() => self.refused.notify_one(),
            Ok(()) => {}
            Err(error) => {
                warn!(%error, "the service manager cannot be told");
                unsaid.clear();
            }
        }
    }

    fn unsaid(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Within which time the manager expects to hear [`Manager::alive`] again; `None` if it does not.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// As it goes over the socket.
fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().fold(String::new(), |mut text, state| {
        // A string takes everything.
        writeln!(text, "{state}").ok();
        text
    })
}

/// Sends one message after the other, and leaves those for which there is no room now. The socket is looked for each
/// time: another manager may have taken its place.
fn say(socket: &OsStr, messages: &mut VecDeque<String>) -> io::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    while let Some(message) = messages.front() {
        match socket.send(message.as_bytes()) {
            Ok(_) => messages.pop_front(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn hear(socket: &UnixDatagram) -> io::Result<String> {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// A manager that does not read, until its socket takes no more.
    fn deaf(name: &str) -> Result<(Manager, UnixDatagram), Box<dyn Error>> {
        let name = format!("zcrxd-manager-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        let other = UnixDatagram::unbound()?;
        other.set_nonblocking(true)?;
        other.connect_addr(&SocketAddr::from_abstract_name(&name)?)?;
        while other.send(b"X_OTHER=1\n").is_ok() {}
        Ok((Manager::at(Some(format!("@{name}").into())), socket))
    }

    #[test]
    fn what_a_manager_has_no_room_for_is_kept_in_order_and_no_more_than_a_few() -> Result<(), Box<dyn Error>>
    {
        let (manager, socket) = deaf("kept")?;
        manager.alive();
        for _ in 0..MOST_UNSAID {
            manager.reloading();
        }
        manager.ready("all is well");
        manager.alive();
        while let Ok(message) = hear(&socket) {
            assert_eq!(message, "X_OTHER=1\n");
        }
        // Now there is room for this, and for what was kept before it.
        manager.alive();
        let mut heard = Vec::new();
        while let Ok(message) = hear(&socket) {
            heard.push(message.lines().next().unwrap_or_default().to_owned());
        }
        let expected: Vec<_> = std::iter::repeat_n("RELOADING=1", MOST_UNSAID - 1)
            .chain(["READY=1", "WATCHDOG=1"])
            .map(str::to_owned)
            .collect();
        assert_eq!(heard, expected);
        Ok(())
    }

    #[tokio::test]
    async fn it_is_told_again_without_being_asked() -> Result<(), Box<dyn Error>> {
        let (manager, socket) = deaf("again")?;
        let manager = Arc::new(manager);
        let task = tokio::spawn(Arc::clone(&manager).say_again());
        manager.ready("all is well");
        while hear(&socket).is_ok() {}
        let heard = loop {
            match hear(&socket) {
                Ok(heard) => break heard,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert_eq!(heard, "READY=1\nSTATUS=all is well\n");
        task.abort();
        Ok(())
    }

    #[test]
    fn without_a_manager_nothing_is_kept() {
        let manager = Manager::at(None);
        manager.ready("all is well");
        manager.alive();
        assert!(manager.unsaid().is_empty());
    }
}
