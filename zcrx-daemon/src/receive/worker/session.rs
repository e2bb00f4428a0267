//! The life of one ring: from its registration to the last completion.

use std::mem::{self, MaybeUninit};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};
use slab::Slab;
use tracing::{debug, error, warn};

use super::Plan;
use super::connection::{Connection, Receive, Sink};
use super::op::Op;
use super::retry::{Timer, Timers, Waiting};
use crate::model::Selection;
use crate::receive::ReceiveError;
use crate::receive::backend::{Backend, Completion, Selected, select};
use crate::receive::error::errno_name;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::refill::RingMemory;
use crate::receive::ring::{REAP_AT_ONCE, Reaped, Ring};
use crate::receive::stats::Counters;

/// How long cancelled requests are waited for at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(700);

/// One ring with its registered queue.
///
/// The ring is the first field, so it is dropped before the memory that its requests point to; [`Session::close`]
/// sees to it that there are none by then.
pub(super) struct Session<'p> {
    pub(super) ring: Ring,
    backend: Box<dyn Backend>,
    pub(super) pool: Pool,
    pub(super) connections: Slab<Connection>,
    pub(super) plan: &'p Plan,
    selection: Selection,
    pub(super) counters: Counters,
    /// Counters at the begin of this session, for those that pool and backend count anew.
    before: Counters,
    /// Errnos since the last publication.
    pub(super) errors: Vec<i32>,
    /// Receives that wait for a buffer.
    waiting: Waiting,
    /// Receives that wait for room in the completion queue: armed again once it is empty.
    crowded_out: Vec<u32>,
    pub(super) timers: Timers,
    /// Requests in flight, multishot ones included.
    in_flight: usize,
    /// The ring's count of lost completions as last seen.
    lost: u32,
    pub(super) stopping: bool,
}

impl<'p> Session<'p> {
    /// Makes a ring and registers a queue on it. `before` goes on being counted from.
    pub(super) fn open(plan: &'p Plan, before: Counters) -> Result<Self, ReceiveError> {
        let ring = Ring::new(plan.config.cq_entries)?;
        let Selected { backend, pool, selection } = select(&ring, &plan.config)?;
        plan.stats.registered(&selection, &pool, pool.refill_memory().entries(), ring.cq_entries());
        let mut session = Self {
            ring,
            backend,
            pool,
            connections: Slab::new(),
            plan,
            selection,
            counters: before,
            before,
            errors: Vec::new(),
            waiting: Waiting::default(),
            crowded_out: Vec::new(),
            timers: Timers::default(),
            in_flight: 0,
            lost: 0,
            stopping: false,
        };
        session.publish();
        Ok(session)
    }

    /// The backend in use and the ones refused.
    pub(super) const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Receives until told to stop. An error means that the ring does not work any more.
    pub(super) fn run(&mut self) -> Result<(), ReceiveError> {
        let wake = opcode::PollAdd::new(types::Fd(self.plan.wake.fd()), libc::POLLIN as u32).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(wake, Op::Wake) }?;
        for index in 0..self.plan.listeners.len() {
            self.accept(index as u32)?;
        }
        let mut reaped = [const { MaybeUninit::uninit() }; REAP_AT_ONCE];
        while !self.plan.wake.stopped() {
            self.ring.wait(self.timers.next())?;
            self.batch(&mut reaped)?;
        }
        Ok(())
    }

    /// Ends every connection, takes every completion that is still to come, and gives all buffers back.
    pub(super) fn close(mut self) -> Counters {
        self.stopping = true;
        let drained = self.drain();
        if let Err(error) = &drained {
            error!(queue = self.plan.name, %error, "could not end the ring's requests");
        }
        self.counters.connections = 0;
        self.publish();
        let mut counters = self.counters;
        if self.in_flight > 0 {
            // The kernel may still read or write what the requests point to: better lost than reused.
            error!(
                queue = self.plan.name,
                requests = self.in_flight,
                "requests do not end: leaving their memory"
            );
            self.abandon();
        }
        // What was held is gone with the queue: nobody can give it back any more, and nobody holds it.
        counters.returned = counters.dispensed;
        counters.stashed = 0;
        counters
    }

    /// Everything that waits in the ring, and then what is due once per batch.
    fn batch(&mut self, reaped: &mut Reaped) -> Result<(), ReceiveError> {
        self.plan.stats.cq_depth(self.ring.cq_depth());
        if self.ring.cq_overflows_now() {
            self.counters.cq_overflows += 1;
        }
        loop {
            let cqes = self.ring.reap(reaped);
            if cqes.is_empty() {
                break;
            }
            for cqe in cqes {
                self.completion(cqe)?;
            }
        }
        let lost = self.ring.cq_lost();
        self.counters.cq_overflows += u64::from(lost.wrapping_sub(mem::replace(&mut self.lost, lost)));
        for index in mem::take(&mut self.crowded_out) {
            self.receive_again(index)?;
        }
        self.settle()?;
        while let Some(timer) = self.timers.due() {
            self.timer(timer)?;
        }
        self.publish();
        self.plan.stats.cq_depth(0);
        Ok(())
    }

    fn completion(&mut self, cqe: &cqueue::Entry32) -> Result<(), ReceiveError> {
        let more = cqueue::more(cqe.flags());
        let Some(op) = Op::decode(cqe.user_data()) else {
            error!(
                queue = self.plan.name,
                user_data = cqe.user_data(),
                "a completion that belongs to nothing"
            );
            return Ok(());
        };
        if !more {
            self.in_flight -= 1;
        }
        match op {
            // The loop looks at what it was woken for.
            Op::Wake | Op::Cancel => Ok(()),
            Op::Accept(listener) => self.accepted(listener, cqe.result(), more),
            Op::Receive(index) => self.received(index, cqe, more),
            Op::Write(index) => {
                self.ended_one(index);
                self.written(index, cqe.result())
            }
            Op::Connect(index) => {
                self.ended_one(index);
                self.connected(index, cqe.result())
            }
        }
    }

    fn received(&mut self, index: u32, cqe: &cqueue::Entry32, more: bool) -> Result<(), ReceiveError> {
        let completion = self.backend.completion(cqe, &mut self.pool);
        let Some(connection) = self.connections.get_mut(index as usize) else {
            error!(queue = self.plan.name, index, "a receive completed on no connection");
            return Ok(());
        };
        if !more {
            connection.in_flight -= 1;
            connection.receive = Receive::Waiting;
        }
        let closing = connection.closing;
        let mut retry = Retry::Now;
        match completion {
            Completion::Data(buffer) => {
                self.counters.completions += 1;
                self.counters.bytes += buffer.len() as u64;
                self.waiting.progress();
                if closing {
                    self.pool.give_back(buffer);
                } else {
                    self.consume(index, buffer)?;
                }
            }
            // A closing connection's errors are of our own making.
            _ if closing => {}
            Completion::Nothing => {}
            Completion::End => return self.stream_ended(index),
            Completion::QueueFull => {
                self.errors.push(libc::ENOSPC);
                retry = Retry::WithRoom;
            }
            Completion::NoBuffers(errno) => {
                self.errors.push(errno);
                retry = Retry::WithBuffer;
            }
            Completion::Failed(errno) => {
                self.errors.push(errno);
                let peer = connection.peer();
                let (errno, means) = (errno_name(errno), meaning(errno));
                warn!(queue = self.plan.name, peer, errno, "connection failed: {means}");
                return self.close_connection(index);
            }
        }
        if more || self.forget_if_closed(index) {
            return Ok(());
        }
        match retry {
            Retry::Now => return self.receive_again(index),
            Retry::WithRoom => self.crowded_out.push(index),
            Retry::WithBuffer => self.waiting.push(index),
        }
        Ok(())
    }

    /// Arms a connection's first receive.
    pub(super) fn receive(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        if self.stopping || connection.closing {
            return Ok(());
        }
        connection.receive = Receive::Armed;
        connection.in_flight += 1;
        let entry = self.backend.receive(connection.socket.as_raw_fd());
        // SAFETY: what a receive writes to is the area, which outlives the ring's requests.
        unsafe { self.push(entry, Op::Receive(index)) }
    }

    fn receive_again(&mut self, index: u32) -> Result<(), ReceiveError> {
        let waits = |connection: &Connection| connection.receive == Receive::Waiting && !connection.closing;
        if self.connections.get(index as usize).is_some_and(waits) {
            self.counters.rearms += 1;
            self.receive(index)?;
        }
        Ok(())
    }

    /// Publishes what was given back, and lets those try again that wait for it.
    fn settle(&mut self) -> Result<(), ReceiveError> {
        self.pool.publish();
        let ready = self.backend.settle(&self.ring, &mut self.pool, self.waiting.len())?;
        for _ in 0..ready {
            let Some(index) = self.waiting.pop() else { break };
            self.receive_again(index)?;
        }
        // Whoever nobody wakes looks again after a while: receives without a buffer where the kernel does not tell
        // of free ones, and stashed entries, for which the kernel makes room when it pleases.
        let waiting = self.waiting.len() > 0 && self.backend.retries_by_time();
        if (waiting || self.pool.stashed() > 0)
            && let Some(pause) = self.waiting.pause()
        {
            self.timers.after(pause, Timer::Receives);
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer) -> Result<(), ReceiveError> {
        match timer {
            Timer::Accept(listener) => self.accept(listener),
            Timer::Connect(index) => self.connect(index),
            Timer::Receives => {
                let user_holds = self.pool.dispensed() > self.pool.returned();
                let go_on = self.waiting.pause_over(user_holds);
                let by_time = if self.backend.retries_by_time() { self.waiting.len() } else { 0 };
                for _ in 0..by_time {
                    let Some(index) = self.waiting.pop() else { break };
                    if go_on {
                        self.receive_again(index)?;
                    } else {
                        warn!(
                            queue = self.plan.name,
                            "no buffer to copy into for too long: giving a connection up; its data comes by another \
                             queue than this one, or area_bytes is less than the NIC's ring takes"
                        );
                        self.close_connection(index)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Ends a connection: at once, or when the requests that name it have ended.
    pub(super) fn close_connection(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        connection.closing = true;
        self.forget_if_closed(index);
        // Still there if requests name it: they are made to end.
        self.interrupt(index)
    }

    /// Makes the requests of a closing connection end.
    fn interrupt(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get(index as usize) else { return Ok(()) };
        // Shutting down fails where the peer has been quicker: then the requests end as well.
        let _gone = connection.socket.shutdown(std::net::Shutdown::Both);
        if let Sink::Forward(forward) = &connection.sink {
            let _gone = forward.socket().shutdown(std::net::Shutdown::Both);
            if forward.is_connecting() {
                let connect = Op::Connect(index).encode();
                let cancel = opcode::AsyncCancel::new(connect).build();
                // SAFETY: the request points to nothing.
                unsafe { self.push(cancel, Op::Cancel) }?;
            }
        }
        Ok(())
    }

    /// Forgets a closing connection if no request names it any more. Says whether it is closing.
    pub(super) fn forget_if_closed(&mut self, index: u32) -> bool {
        let Some(connection) = self.connections.get(index as usize) else { return true };
        if connection.closing && connection.in_flight == 0 {
            let mut connection = self.connections.remove(index as usize);
            if connection.receive == Receive::Waiting {
                self.waiting.remove(index);
            }
            if let Sink::Forward(forward) = &mut connection.sink {
                forward.give_up(&mut self.pool);
            }
            self.counters.connections -= 1;
            debug!(queue = self.plan.name, "connection closed");
            return true;
        }
        connection.closing
    }

    /// Gives a buffer to the connection's sink.
    fn consume(&mut self, index: u32, buffer: Buffer) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else {
            self.pool.give_back(buffer);
            return Ok(());
        };
        match &mut connection.sink {
            Sink::Discard => self.pool.give_back(buffer),
            Sink::Verify(verify) => {
                let checked = verify.verifier.update(self.pool.bytes(&buffer));
                self.counters.verified_bytes += checked.compared;
                self.counters.mismatched_bytes += checked.mismatched;
                self.pool.give_back(buffer);
            }
            Sink::Forward(forward) => {
                forward.queue(buffer);
                return self.send(index);
            }
        }
        Ok(())
    }

    /// Queues a request that belongs to a connection.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push_for(
        &mut self,
        index: u32,
        entry: squeue::Entry,
        op: Op,
    ) -> Result<(), ReceiveError> {
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.in_flight += 1;
        }
        // SAFETY: the caller vouches for the request.
        unsafe { self.push(entry, op) }
    }

    /// Queues a request.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, op: Op) -> Result<(), ReceiveError> {
        // SAFETY: the caller vouches for the request.
        unsafe { self.ring.push(&entry.user_data(op.encode())) }?;
        self.in_flight += 1;
        Ok(())
    }

    fn ended_one(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.in_flight -= 1;
        }
    }

    /// Cancels everything and takes completions until nothing is in flight, or time is up.
    fn drain(&mut self) -> Result<(), ReceiveError> {
        let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(cancel, Op::Cancel) }?;
        let open: Vec<u32> = self.connections.iter().map(|(index, _)| index as u32).collect();
        for index in open {
            self.close_connection(index)?;
        }
        let end = Instant::now() + DRAIN_TIMEOUT;
        let mut reaped = [const { MaybeUninit::uninit() }; REAP_AT_ONCE];
        while self.in_flight > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.ring.wait(Some(left))?;
            self.batch(&mut reaped)?;
        }
        self.pool.publish();
        Ok(())
    }

    /// Leaves behind what requests in flight may point to.
    fn abandon(self) {
        let Self { ring, backend, pool, connections, .. } = self;
        drop(ring);
        #[expect(clippy::mem_forget, reason = "the kernel may still use this memory")]
        {
            mem::forget(backend);
            mem::forget(pool);
            mem::forget(connections);
        }
    }

    fn publish(&mut self) {
        let counters = &mut self.counters;
        counters.dispensed = self.before.dispensed + self.pool.dispensed();
        counters.returned = self.before.returned + self.pool.returned();
        counters.stashed = self.pool.stashed();
        let received = counters.bytes - self.before.bytes;
        let sum = |before: Option<u64>, now: Option<u64>| Some(before.unwrap_or(0) + now?);
        counters.copied_bytes = sum(self.before.copied_bytes, self.backend.copied_bytes(received));
        counters.starvations = sum(self.before.starvations, self.backend.starvations());
        counters.starving = counters.starvations.map(|_| self.backend.starving());
        self.plan.stats.publish(counters, &mut self.errors);
    }
}

/// When a receive whose multishot ended tries again.
enum Retry {
    Now,
    WithRoom,
    WithBuffer,
}

/// What an errno of a receive means, where it says more than its name.
fn meaning(errno: i32) -> &'static str {
    match errno {
        libc::EFAULT => "its data lies in another queue's buffers: the flow is steered to the wrong queue",
        libc::EPROTONOSUPPORT => "not plain TCP (kTLS and sockmap cannot be received with zero copy)",
        libc::ECONNRESET => "reset by the peer",
        libc::ETIMEDOUT => "the peer does not answer",
        libc::EINVAL => "the kernel does not know the request",
        _ => "it cannot be received from",
    }
}
