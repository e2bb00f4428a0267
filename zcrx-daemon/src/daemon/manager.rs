//! Notifications to the service manager, by systemd's protocol. Without a service manager, nothing is sent.
//!
//! The event loop that serves signals and scrapes sends them, and the manager may read slowly, so nothing here blocks: a
//! message for which the socket is full is kept and sent later.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tracing::{info, warn};

/// Pause between two attempts to send.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Largest number of kept messages about zcrxd's state. Beyond it the oldest is dropped, since a later one has the current state.
const MOST_PENDING: usize = 8;

/// Makes systemd keep a stored descriptor whatever its state: by default it closes those that report a hang-up.
const KEEP_HUNG_UP: NotifyState<'_> = NotifyState::Custom("FDPOLL=0");

/// Asks systemd to close the descriptor that comes with it. Such a message has no other line.
const BARRIER: &str = "BARRIER=1";

/// The service manager.
pub(super) struct Manager {
    /// Path of its socket, or the abstract name after an `@`; `None` without a manager.
    socket: Option<OsString>,
    /// Number of descriptors that it keeps for zcrxd while zcrxd restarts (`FileDescriptorStoreMax=`, systemd 254).
    capacity: u32,
    pending: Mutex<VecDeque<Message>>,
    full: Notify,
}

/// A message of the protocol.
struct Message {
    text: String,
    /// Descriptor that goes with it.
    passed: Option<OwnedFd>,
    /// Whether a later message makes this one superfluous.
    droppable: bool,
}

impl Manager {
    /// Returns the manager named by `NOTIFY_SOCKET`.
    pub(super) fn find() -> Arc<Self> {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        let capacity = std::env::var("FDSTORE").ok().and_then(|number| number.parse().ok());
        Arc::new(Self::at(socket, capacity.unwrap_or(0)))
    }

    fn at(socket: Option<OsString>, capacity: u32) -> Self {
        Self { socket, capacity, pending: Mutex::default(), full: Notify::new() }
    }

    /// Reports that every configured part runs; `systemctl status` shows `status`.
    pub(super) fn ready(&self, status: &str) {
        self.report(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Reports that zcrxd applies a new configuration, until [`Manager::ready`].
    pub(super) fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading, NotifyState::Status("applying a new configuration")];
        // With Type=notify-reload the manager matches the clock with its request. Every Linux has this clock.
        states.extend(NotifyState::monotonic_usec_now());
        self.report(&states);
    }

    /// Reports that zcrxd is stopping.
    pub(super) fn stopping(&self) {
        self.report(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Whether the manager keeps descriptors while zcrxd restarts.
    pub(super) const fn stores(&self) -> bool {
        self.socket.is_some() && self.capacity > 0
    }

    /// Gives the manager a descriptor, which it keeps until [`Manager::discard`] and passes to each start of zcrxd.
    pub(super) fn store(&self, name: &str, descriptor: OwnedFd) {
        let text = message(&[NotifyState::FdStore, NotifyState::FdName(name), KEEP_HUNG_UP]);
        self.send(Message { text, passed: Some(descriptor), droppable: false });
    }

    /// Makes the manager close the descriptors that it keeps under this name.
    pub(super) fn discard(&self, name: &str) {
        let text = message(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
        self.send(Message { text, passed: None, droppable: false });
    }

    /// Waits until the manager has handled all messages so far, at most for the given time. Blocks.
    pub(super) fn wait_until_handled(&self, limit: Duration) -> io::Result<()> {
        // The manager closes its copy of the pipe's end once it comes to this message.
        let (handled, end) = pipe_with(PipeFlags::CLOEXEC)?;
        self.send(Message { text: BARRIER.to_owned(), passed: Some(end), droppable: false });
        let timeout = Timespec::try_from(limit).ok();
        match poll(&mut [PollFd::new(&handled, PollFlags::empty())], timeout.as_ref())? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Feeds the watchdog. The message is never kept, since it is valid for this moment only.
    pub(super) fn alive(&self) {
        let Some(socket) = &self.socket else { return };
        let mut pending = self.pending();
        if send_all(socket, &mut pending).is_ok() && pending.is_empty() {
            let alive = Message::report(&[NotifyState::Watchdog]);
            send_all(socket, &mut VecDeque::from([alive])).ok();
        }
    }

    /// Sends kept messages until the future is dropped.
    pub(super) async fn send_pending(self: Arc<Self>) {
        let Some(socket) = &self.socket else { return };
        loop {
            self.full.notified().await;
            warn!("systemd's notify socket is full; zcrxd retries");
            loop {
                tokio::time::sleep(RETRY_EVERY).await;
                let mut pending = self.pending();
                if let Err(error) = send_all(socket, &mut pending) {
                    warn!(%error, "cannot notify systemd; it may believe that zcrxd is still starting or hangs");
                    pending.clear();
                }
                if pending.is_empty() {
                    break;
                }
            }
            info!("systemd has read all notifications");
        }
    }

    fn report(&self, states: &[NotifyState<'_>]) {
        self.send(Message::report(states));
    }

    fn send(&self, message: Message) {
        let Some(socket) = &self.socket else { return };
        let mut pending = self.pending();
        let first = pending.is_empty();
        if pending.iter().filter(|message| message.droppable).count() >= MOST_PENDING
            && let Some(oldest) = pending.iter().position(|message| message.droppable)
        {
            pending.remove(oldest);
        }
        pending.push_back(message);
        match send_all(socket, &mut pending) {
            Ok(()) if first && !pending.is_empty() => self.full.notify_one(),
            Ok(()) => {}
            Err(error) => {
                warn!(%error, "cannot notify systemd; it may believe that zcrxd is still starting or hangs");
                pending.clear();
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Message {
    fn report(states: &[NotifyState<'_>]) -> Self {
        Self { text: message(states), passed: None, droppable: true }
    }
}

/// Interval within which the manager expects [`Manager::alive`]; `None` without a watchdog.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Formats a message of the protocol.
fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().fold(String::new(), |mut text, state| {
        // Writing to a String cannot fail.
        writeln!(text, "{state}").ok();
        text
    })
}

/// Sends messages in order and leaves those for which the socket is full. Connects each time, since another manager may have
/// taken over the address.
fn send_all(socket: &OsStr, messages: &mut VecDeque<Message>) -> io::Result<()> {
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
        match send_one(&socket, message) {
            Ok(()) => messages.pop_front(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

fn send_one(socket: &UnixDatagram, message: &Message) -> io::Result<()> {
    let passed = message.passed.as_ref().map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !passed.as_slice().is_empty() {
        // The space is as large as one descriptor needs.
        ancillary.push(SendAncillaryMessage::ScmRights(passed.as_slice()));
    }
    sendmsg(socket, &[IoSlice::new(message.text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn receive(socket: &UnixDatagram) -> io::Result<String> {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// A manager that does not read, with a full socket.
    fn full_manager(name: &str) -> Result<(Manager, UnixDatagram), Box<dyn Error>> {
        let name = format!("zcrxd-manager-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        let other = UnixDatagram::unbound()?;
        other.set_nonblocking(true)?;
        other.connect_addr(&SocketAddr::from_abstract_name(&name)?)?;
        while other.send(b"X_OTHER=1\n").is_ok() {}
        Ok((Manager::at(Some(format!("@{name}").into()), 8), socket))
    }

    #[test]
    fn messages_for_a_full_socket_are_kept_in_order_up_to_the_limit() -> Result<(), Box<dyn Error>> {
        let (manager, socket) = full_manager("kept")?;
        manager.alive();
        for _ in 0..MOST_PENDING {
            manager.reloading();
        }
        manager.ready("receiving");
        manager.alive();
        while let Ok(message) = receive(&socket) {
            assert_eq!(message, "X_OTHER=1\n");
        }
        // The socket has room again, for this message and the kept ones before it.
        manager.alive();
        let mut received = Vec::new();
        while let Ok(message) = receive(&socket) {
            received.push(message.lines().next().unwrap_or_default().to_owned());
        }
        let expected: Vec<_> = std::iter::repeat_n("RELOADING=1", MOST_PENDING - 1)
            .chain(["READY=1", "WATCHDOG=1"])
            .map(str::to_owned)
            .collect();
        assert_eq!(received, expected);
        Ok(())
    }

    #[tokio::test]
    async fn kept_messages_are_sent_without_another_call() -> Result<(), Box<dyn Error>> {
        let (manager, socket) = full_manager("again")?;
        let manager = Arc::new(manager);
        let task = tokio::spawn(Arc::clone(&manager).send_pending());
        manager.ready("receiving");
        while receive(&socket).is_ok() {}
        let received = loop {
            match receive(&socket) {
                Ok(message) => break message,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert_eq!(received, "READY=1\nSTATUS=receiving\n");
        task.abort();
        Ok(())
    }

    #[test]
    fn without_a_manager_no_message_is_kept() {
        let manager = Manager::at(None, 8);
        manager.ready("receiving");
        manager.alive();
        assert!(manager.pending().is_empty());
    }
}
