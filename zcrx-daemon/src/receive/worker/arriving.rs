//! New connections: from listeners, from other threads, and after a helper has read the host's queues.

use io_uring::{opcode, types};
use socket2::Socket;
use tracing::{debug, warn};

use super::op::Op;
use super::state::{Ended, Phase, State};
use super::timers::Timer;
use crate::model::BackendKind;
use crate::receive::connections::accept::{self, Accepted, Rearm};
use crate::receive::connections::close::refuse;
use crate::receive::connections::placement::read_queues;
use crate::receive::connections::{Connection, peer};
use crate::receive::error::errno_name;
use crate::receive::inbox::Answer;
use crate::receive::sinks::AnySink;
use crate::receive::stats::Failed;

impl State<'_> {
    pub(super) fn accepted(&mut self, listener: u32, result: i32, more: bool) {
        let (accepted, rearm) = accept::accepted(result, more);
        if !more {
            self.accepting -= 1;
        }
        match accepted {
            Accepted::Connection(socket) => self.place(socket),
            Accepted::Failed(errno) if self.phase == Phase::Running => {
                self.reporter.failed(Failed::Accept, errno);
                warn!(queue = self.plan.name, errno = errno_name(errno), "cannot accept a connection");
            }
            Accepted::Failed(_) => {}
        }
        match rearm {
            Rearm::NotNeeded => {}
            Rearm::Now => self.accept(listener),
            Rearm::After(pause) => self.timers.after(pause, Timer::Accept(listener)),
        }
    }

    pub(super) fn accept(&mut self, listener: u32) {
        if self.phase == Phase::Running {
            self.accepting += usize::from(accept::arm(&self.plan.listeners, listener, &mut self.requests));
        }
    }

    /// Whether the queue is a hardware queue.
    pub(super) fn on_device(&self) -> bool {
        self.selection.backend == Some(BackendKind::Device)
    }

    /// Takes an accepted connection, or hands it to the thread of the queue on which it arrives.
    pub(super) fn place(&mut self, socket: Socket) {
        if self.phase != Phase::Running {
            self.deal(socket);
            return;
        }
        let device = self.ifindex.filter(|_| self.on_device());
        let placed = self.acceptor.place(socket, self.plan, device, &mut self.reporter.counters);
        match placed {
            Some(socket) => self.deal(socket),
            None => self.reporter.urgent(),
        }
        if self.acceptor.wants_queues() {
            self.plan.inbox.offload("queues", || Answer::Queues(read_queues()));
        }
    }

    /// Takes a connection, or hands it to another thread of the queue.
    pub(super) fn deal(&mut self, socket: Socket) {
        let leader = self.plan.slot.as_ref().filter(|slot| slot.leads());
        let kept = match leader {
            Some(slot) if self.phase == Phase::Running => slot.deal(socket),
            _ => Some(socket),
        };
        if let Some(socket) = kept {
            self.welcome(socket);
        }
    }

    /// Starts to receive from a connection.
    pub(super) fn welcome(&mut self, socket: Socket) {
        if let Some(limit) = self.connections.limit()
            && !self.connections.has_room()
        {
            self.reporter.counters.ring.refused_connections += 1;
            self.acceptor.log_refused(self.plan, &socket, limit);
            self.reporter.counters.ring.lost_bytes += refuse(&self.plan.name, &socket);
            return;
        }
        let peer = peer(&socket);
        let sink = AnySink::new(&self.plan.config.sink, &peer, self.addresses.as_ref());
        let connection = Connection::new(socket, peer, sink);
        if self.phase.ends_connections() {
            connection.cut();
        }
        let index = self.connections.insert(connection);
        self.reporter.counters.accepted += 1;
        self.reporter.urgent();
        debug!(queue = self.plan.name, index, "connection accepted");
        self.receive(index);
        self.drive(index);
    }

    pub(super) fn listen_for_wake(&mut self) {
        let wake = opcode::PollAdd::new(types::Fd(self.plan.wake.fd()), libc::POLLIN as u32).build();
        // SAFETY: the request points to nothing.
        unsafe { self.requests.push(wake, Op::Wake) };
    }

    /// Sends a heartbeat, and takes connections and results that other threads left in the inbox.
    pub(super) fn woken(&mut self, result: i32) {
        if self.phase.ends_requests() || result < 0 {
            return;
        }
        self.plan.wake.answer();
        self.spoil |= self.plan.wake.breaks_ring();
        self.listen_for_wake();
        self.look_around();
        self.take_handed();
    }

    pub(super) fn take_handed(&mut self) {
        for socket in self.plan.inbox.take() {
            self.deal(socket);
        }
    }

    /// Ends the loop if the other threads of the queue have ended theirs.
    pub(super) fn look_around(&mut self) {
        let Some(slot) = &self.plan.slot else { return };
        match slot.goes_on(self.joined) {
            Ok(true) => {}
            Ok(false) => self.ended = Some(Ended::Left),
            Err(why) => self.ended = Some(Ended::Failed(std::io::Error::other(why).into())),
        }
    }
}
