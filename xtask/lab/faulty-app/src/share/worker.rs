//! A thread with a ring of its own, connections, and tasks from the main thread.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use io_uring::{cqueue, opcode, types};
use serde::Serialize;
use zcrx_uapi::{ZcrxCtrl, register, zcrx};

use super::state::Shared;
use crate::many::allow_files;
use crate::queue::{EVENT_USER_DATA, Queue, QueueArgs};
use crate::raw::{Completion, RawRing};
use crate::receive::connection::Connection;

/// How long the thread sleeps at most.
const TICK: Duration = Duration::from_millis(5);
/// `user_data` of requests that do nothing.
const NOP: u64 = u64::MAX - 1;
/// Files of the program beside duplicates of rings.
const OTHER_FILES: u64 = 1024;
/// Pause before a receive that found no buffer or no room is armed again.
const REARM_PAUSE: Duration = Duration::from_millis(20);

/// What a ring is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Completions of 32 bytes.
    Plain,
    /// Completions of both sizes.
    Mixed,
    /// Registered with its thread, without a file descriptor.
    Hidden,
}

/// What the main thread asks for.
pub(super) enum Task {
    Dup(u32),
    Export,
    AddArea(u32),
    Nops(u32, u32),
    Stall(bool),
    Report,
}

/// The answer to a task.
pub(super) enum Answer {
    Done,
    Exported(OwnedFd),
    Truth(RingTruth),
}

/// What a thread says of its ring.
#[derive(Serialize)]
pub(super) struct RingTruth {
    tid: i32,
    zcrx_id: u32,
    mixed: bool,
    hidden: bool,
    stalled: bool,
    cq_entries: u32,
    cq_unread: usize,
    connections: usize,
    completions: u64,
    received_bytes: u64,
    mismatched_bytes: u64,
}

impl RingTruth {
    pub(super) const fn unread(&self) -> usize {
        self.cq_unread
    }
}

type Message = (Task, Sender<anyhow::Result<Answer>>);

/// The main thread's end.
pub(super) struct WorkerHandle {
    tasks: Sender<Message>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl WorkerHandle {
    /// Starts a thread that registers the queue, or imports it, and waits until it has.
    pub(super) fn start(
        shared: &Arc<Shared>,
        args: &QueueArgs,
        listen: SocketAddr,
        kind: Kind,
        import: Option<OwnedFd>,
    ) -> anyhow::Result<Self> {
        let (tasks, inbox) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let (shared, args) = (Arc::clone(shared), args.clone());
        let thread = thread::spawn(move || {
            let made = Worker::new(shared, &args, listen, kind, import);
            let (mut worker, said) = match made {
                Ok(worker) => (Some(worker), Ok(())),
                Err(error) => (None, Err(error)),
            };
            ready.send(said).ok();
            worker.as_mut().map_or(Ok(()), |worker| worker.run(&inbox))
        });
        is_ready.recv().context("a thread ended before its ring was there")??;
        Ok(Self { tasks, thread })
    }

    /// Has the thread do something and waits for the answer.
    pub(super) fn call(&self, task: Task) -> anyhow::Result<Answer> {
        let (answer, answered) = mpsc::channel();
        self.tasks.send((task, answer)).map_err(|_| anyhow!("the thread of a ring has ended"))?;
        answered.recv().context("the thread of a ring ended")?
    }

    /// Ends the thread, which closes the ring.
    pub(super) fn end(self) -> anyhow::Result<()> {
        drop(self.tasks);
        self.thread.join().map_err(|_| anyhow!("the thread of a ring panicked"))?
    }
}

struct Worker {
    // Declared first: the ring's teardown begins before all else goes.
    ring: RawRing,
    duplicates: Vec<OwnedFd>,
    zcrx_id: u32,
    shared: Arc<Shared>,
    flushes: bool,
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    next_connection: u64,
    stalled: bool,
    completions: u64,
    received_bytes: u64,
    mismatched_bytes: u64,
}

impl Worker {
    fn new(
        shared: Arc<Shared>,
        args: &QueueArgs,
        listen: SocketAddr,
        kind: Kind,
        import: Option<OwnedFd>,
    ) -> anyhow::Result<Self> {
        let mut ring = RawRing::new(args.cq_entries, kind == Kind::Mixed).context("setting up a ring")?;
        let zcrx_id = {
            let file = ring.file().context("a new ring has a file")?;
            if let Some(queue) = import {
                register::zcrx_import(file, queue.as_fd()).context("importing the queue")?
            } else {
                let queue = Queue::register(&file, args)?;
                let id = queue.zcrx_id;
                shared.lock().registered(queue);
                id
            }
        };
        if kind == Kind::Hidden {
            ring.hide().context("registering the ring with its thread")?;
        }
        let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
        listener.set_nonblocking(true).context("listening")?;
        Ok(Self {
            ring,
            duplicates: Vec::new(),
            zcrx_id,
            shared,
            flushes: args.interface.is_none(),
            listener,
            connections: HashMap::new(),
            next_connection: 0,
            stalled: false,
            completions: 0,
            received_bytes: 0,
            mismatched_bytes: 0,
        })
    }

    fn run(&mut self, inbox: &Receiver<Message>) -> anyhow::Result<()> {
        loop {
            match inbox.try_recv() {
                Ok((task, answer)) => {
                    let done = self.perform(&task);
                    answer.send(done).ok();
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            self.accept()?;
            self.arm()?;
            self.settle()?;
            if self.stalled {
                // A completion queue that is not empty would let the wait return at once.
                thread::sleep(TICK);
                self.ring.wait(Duration::ZERO).context("entering the kernel")?;
                continue;
            }
            self.ring.wait(TICK).context("waiting for completions")?;
            for completion in self.ring.reap() {
                self.complete(completion)?;
            }
        }
    }

    fn perform(&mut self, task: &Task) -> anyhow::Result<Answer> {
        match *task {
            Task::Dup(0) => self.duplicates.clear(),
            Task::Dup(count) => {
                let file = self.ring.file().context("a hidden ring has no file descriptor")?;
                allow_files(self.duplicates.len() as u64 + u64::from(count) + OTHER_FILES)?;
                for _ in 0..count {
                    self.duplicates.push(file.try_clone_to_owned().context("duplicating a descriptor")?);
                }
            }
            Task::Export => {
                let mut control = ZcrxCtrl::export(self.zcrx_id);
                // SAFETY: this operation points to nothing.
                unsafe { self.ring.register(zcrx::IORING_REGISTER_ZCRX_CTRL, &mut control, 0) }
                    .context("exporting the queue")?;
                // SAFETY: the kernel has just opened the descriptor for this call.
                return Ok(Answer::Exported(unsafe { OwnedFd::from_raw_fd(control.exported_fd()) }));
            }
            Task::AddArea(buffers) => {
                let mut shared = self.shared.lock();
                let (queue, ledger) = shared.queue()?;
                queue.add_area(buffers, |area| {
                    let address = (&raw mut *area).expose_provenance() as u64;
                    let mut control = ZcrxCtrl::add_area(self.zcrx_id, address);
                    // SAFETY: the area's memory is kept by the queue, which all rings outlive.
                    unsafe { self.ring.register(zcrx::IORING_REGISTER_ZCRX_CTRL, &mut control, 0) }
                })?;
                ledger.extend(buffers);
            }
            Task::Nops(small, large) => {
                for _ in 0..small {
                    self.ring.submit(&opcode::Nop::new().build().user_data(NOP)).context("submitting")?;
                }
                for _ in 0..large {
                    self.ring.submit(&large_nop()).context("submitting")?;
                }
            }
            Task::Stall(stalled) => self.stalled = stalled,
            Task::Report => {
                return Ok(Answer::Truth(RingTruth {
                    tid: rustix::thread::gettid().as_raw_nonzero().get(),
                    zcrx_id: self.zcrx_id,
                    mixed: self.ring.is_mixed(),
                    hidden: self.ring.file().is_none(),
                    stalled: self.stalled,
                    cq_entries: self.ring.cq_entries(),
                    cq_unread: self.ring.unread(),
                    connections: self.connections.len(),
                    completions: self.completions,
                    received_bytes: self.received_bytes,
                    mismatched_bytes: self.mismatched_bytes,
                }));
            }
        }
        Ok(Answer::Done)
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.connections.insert(self.next_connection, Connection::new(stream));
                    self.next_connection += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            }
        }
    }

    fn arm(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for (id, connection) in &mut self.connections {
            if connection.wants_arming(now) {
                let entry = opcode::RecvZc::new(types::Fd(connection.fd()), 0).ifq(self.zcrx_id).build();
                self.ring.submit(&entry.user_data(*id)).context("arming a receive")?;
                connection.arm();
            }
        }
        Ok(())
    }

    /// Returns what may be returned, and without a device lets the kernel take it.
    fn settle(&mut self) -> anyhow::Result<()> {
        let mut shared = self.shared.lock();
        shared.return_kept()?;
        let pending = shared.queue()?.0.refill.pending();
        if self.flushes && pending > 0 {
            let mut control = ZcrxCtrl::flush_rq(self.zcrx_id);
            // SAFETY: this operation points to nothing.
            unsafe { self.ring.register(zcrx::IORING_REGISTER_ZCRX_CTRL, &mut control, 0) }
                .context("flushing the refill ring")?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> anyhow::Result<()> {
        if matches!(completion.user_data, NOP | EVENT_USER_DATA) {
            return Ok(());
        }
        let id = completion.user_data;
        let connection = self.connections.get_mut(&id).context("a completion for no connection")?;
        if let Ok(bytes @ 1..) = u32::try_from(completion.result) {
            self.completions += 1;
            self.received_bytes += u64::from(bytes);
            let mismatched = &mut self.mismatched_bytes;
            self.shared
                .lock()
                .deliver(completion.off, bytes, |data| *mismatched += connection.receive(data))?;
        }
        if cqueue::more(completion.flags) {
            return Ok(());
        }
        match -completion.result {
            libc::ENOMEM | libc::ENOSPC => connection.disarm_until(Instant::now() + REARM_PAUSE),
            errno if errno < 0 => connection.disarm_until(Instant::now()),
            0 => {
                if let Some(connection) = self.connections.remove(&id) {
                    connection.close(true);
                }
            }
            errno => bail!("a receive ended with errno {errno}"),
        }
        Ok(())
    }
}

/// A request that does nothing and completes with 32 bytes. Linux 6.18.
fn large_nop() -> io_uring::squeue::Entry {
    /// `IORING_NOP_CQE32`
    const CQE32: u32 = 1 << 5;
    const NOP_FLAGS: usize = 28;
    let mut entry = opcode::Nop::new().build().user_data(NOP);
    // SAFETY: an entry is a `struct io_uring_sqe` and nothing else, whose flags of a no-operation are 4 bytes at that offset.
    unsafe { (&raw mut entry).cast::<u8>().add(NOP_FLAGS).cast::<u32>().write_unaligned(CQE32) };
    entry
}
