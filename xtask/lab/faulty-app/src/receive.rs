//! The receive loop: one thread, one queue, any number of connections.

pub(crate) mod connection;
mod returns;
mod truth;

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use io_uring::{cqueue, opcode, types};
use zcrx_uapi::{errno, register, zcrx};

use crate::control::{self, Control, Order};
use crate::fault::Fault;
use crate::queue::{EVENT_USER_DATA, Queue, QueueArgs, Ring, new_ring};
use connection::Connection;
use returns::Returns;
use truth::Truth;

/// How long the loop sleeps at most: it also looks for orders, new connections and due buffers.
const TICK: Duration = Duration::from_millis(10);
/// `user_data` of cancellations.
const CANCEL_USER_DATA: u64 = EVENT_USER_DATA - 1;
/// Pause before a receive that ended with ENOMEM or ENOSPC is armed again.
const REARM_PAUSE: Duration = Duration::from_millis(20);

/// How to receive.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Where to accept connections; each is answered with a verdict on the test pattern.
    #[arg(long, default_value = "[::]:9999")]
    listen: SocketAddr,
    /// A fault: slow=MS, slow-and-dropping=MS, slow-at-first=MS, never-return, return-twice=N, bad-token=N, bad-offset=N, fragments=N (N: every Nth
    /// completion), fragments-apart=N (N: buffers), ring-overflow, not-reading, cq-stall, small-area, wrong-queue.
    #[arg(long)]
    fault: Option<Fault>,
    /// Begin the fault once that many bytes were received; before and after, `hold` and `resume` on standard input
    /// begin and end it.
    #[arg(long, default_value_t = 0)]
    fault_after: u64,
    /// Make a file descriptor of the queue, as if another ring were to share it, and keep it. Linux 6.19.
    #[arg(long)]
    export: bool,
    /// Bytes that each receive takes before it ends and is armed again; fewer than a buffer has, and buffers are delivered
    /// in fragments. 0: as many as come.
    #[arg(long, default_value_t = 0)]
    receive_bytes: u32,
    /// Without a device: do not make the kernel look at the refill ring.
    #[arg(long)]
    no_flush: bool,
    /// Do not look at the data: senders get no verdict that is worth anything.
    #[arg(long)]
    blind: bool,
}

impl ReceiveArgs {
    /// The queue to register, as the fault wants it.
    fn faulty_queue(&self) -> QueueArgs {
        let mut queue = self.queue.clone();
        match self.fault {
            Some(Fault::SmallArea) => queue.area_buffers = queue.area_buffers.or(Some(64)),
            Some(Fault::RingOverflow) => queue.refill_entries = queue.refill_entries.or(Some(64)),
            Some(Fault::WrongQueue) => queue.queue ^= 1,
            _ => {}
        }
        queue
    }
}

/// The program's state.
struct Receiver {
    // The ring is declared first: its teardown begins before the queue's memory is unmapped.
    ring: Ring,
    queue: Queue,
    _exported: Option<OwnedFd>,
    returns: Returns,
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    next_connection: u64,
    accepted: u64,
    /// Whether the refill ring must be flushed, and is.
    flushes: bool,
    /// Bytes that a receive takes; 0: no limit.
    receive_bytes: u32,
    blind: bool,
    fault: Option<Fault>,
    fault_after: Option<u64>,
    active: bool,
    received_bytes: u64,
    mismatched_bytes: u64,
    rearmed: u64,
    /// How receives ended: "EOF" at the end of the stream, "CAP" with all bytes that it was to take, "DATA" with data but
    /// no longer armed, or the errno.
    endings: BTreeMap<String, u64>,
    alloc_fail_events: u64,
    copy_events: u64,
    asked: u64,
    started: Instant,
}

/// Receives until the order `quit`.
pub(crate) fn run(args: &ReceiveArgs) -> anyhow::Result<()> {
    let mut control = Control::new()?;
    let queue_args = args.faulty_queue();
    let ring = new_ring(queue_args.cq_entries).context("setting up the ring")?;
    let queue = Queue::register(&ring, &queue_args)?;
    let exported = args.export.then(|| queue.export(&ring)).transpose()?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    listener.set_nonblocking(true).context("listening")?;

    let mut receiver = Receiver {
        returns: Returns::new(queue.buffers),
        ring,
        queue,
        _exported: exported,
        listener,
        connections: HashMap::new(),
        next_connection: 0,
        accepted: 0,
        flushes: queue_args.interface.is_none() && !args.no_flush,
        receive_bytes: args.receive_bytes,
        blind: args.blind,
        fault: args.fault,
        fault_after: args.fault.map(|_| args.fault_after),
        active: false,
        received_bytes: 0,
        mismatched_bytes: 0,
        rearmed: 0,
        endings: BTreeMap::new(),
        alloc_fail_events: 0,
        copy_events: 0,
        asked: 0,
        started: Instant::now(),
    };
    let mut next_report = Instant::now();
    loop {
        receiver.begin_fault_when_due()?;
        while let Some(order) = control.poll()? {
            match order {
                Order::Hold => receiver.hold()?,
                Order::Resume => receiver.resume(),
                Order::BlockInWrite => control::block_in_write()?,
                Order::BlockUninterruptibly => control::block_uninterruptibly()?,
                Order::Report => {
                    receiver.asked += 1;
                    next_report = Instant::now();
                }
                Order::Quit => {
                    receiver.report();
                    return Ok(());
                }
            }
        }
        receiver.accept()?;
        receiver.arm()?;
        receiver.returns.progress(&mut receiver.queue, Instant::now());
        receiver.flush()?;
        receiver.wait()?;
        receiver.reap()?;
        if Instant::now() >= next_report {
            receiver.report();
            next_report += Duration::from_secs(1);
        }
    }
}

impl Receiver {
    /// The fault, while it is active.
    fn active_fault(&self) -> Option<Fault> {
        self.fault.filter(|_| self.active)
    }

    fn begin_fault_when_due(&mut self) -> anyhow::Result<()> {
        if self.fault_after.is_some_and(|after| self.received_bytes >= after) {
            self.hold()?;
        }
        Ok(())
    }

    /// Begins the fault; without one chosen, buffers are simply held.
    fn hold(&mut self) -> anyhow::Result<()> {
        self.fault_after = None;
        self.active = true;
        if *self.fault.get_or_insert(Fault::NeverReturn) == Fault::NotReading {
            self.cancel_receives()?;
        }
        Ok(())
    }

    /// Ends all armed receives; each completes with ECANCELED.
    fn cancel_receives(&mut self) -> anyhow::Result<()> {
        for id in self.connections.iter().filter_map(|(id, connection)| connection.is_armed().then_some(*id))
        {
            let entry = opcode::AsyncCancel::new(id).build().user_data(CANCEL_USER_DATA);
            // SAFETY: the entry points to no memory.
            while unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.ring.submit().context("submitting")?;
            }
        }
        Ok(())
    }

    fn resume(&mut self) {
        self.active = false;
        self.fault_after = None;
        self.returns.release_all(&mut self.queue);
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.connections.insert(self.next_connection, Connection::new(stream));
                    self.next_connection += 1;
                    self.accepted += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            }
        }
    }

    /// Arms the receive of every connection that has none and may have one.
    fn arm(&mut self) -> anyhow::Result<()> {
        if self.active_fault() == Some(Fault::NotReading) {
            return Ok(());
        }
        let now = Instant::now();
        for (id, connection) in &mut self.connections {
            if !connection.wants_arming(now) {
                continue;
            }
            let entry = opcode::RecvZc::new(types::Fd(connection.fd()), self.receive_bytes)
                .ifq(self.queue.zcrx_id)
                .build()
                .user_data(*id);
            // SAFETY: the entry points to no memory; the socket stays open until the receive has ended.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.ring.submit().context("submitting")?;
                break; // The next round arms the rest.
            }
            self.rearmed += u64::from(connection.arm());
        }
        Ok(())
    }

    /// Without a device only this program makes the kernel consume the refill ring. With one, not flushing is part of
    /// being an ordinary application: few do.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.flushes && self.queue.refill.pending() > 0 {
            register::zcrx_flush_rq(self.ring.as_fd(), self.queue.zcrx_id)
                .context("flushing the refill ring")?;
        }
        Ok(())
    }

    /// Submits, lets the kernel post completions, and sleeps until there is one, at most a tick.
    fn wait(&mut self) -> anyhow::Result<()> {
        let stalled = self.active_fault() == Some(Fault::CqStall);
        // A stalled queue is not empty, so that waiting for one more completion would be spinning.
        if stalled {
            std::thread::sleep(TICK);
        }
        let timeout = types::Timespec::from(if stalled { Duration::ZERO } else { TICK });
        let args = types::SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error).context("waiting for completions"),
        }
    }

    fn reap(&mut self) -> anyhow::Result<()> {
        if self.active_fault() == Some(Fault::CqStall) {
            return Ok(());
        }
        let completions: Vec<cqueue::Entry32> = self.ring.completion().collect();
        for completion in completions {
            self.complete(&completion)?;
        }
        Ok(())
    }

    fn complete(&mut self, completion: &cqueue::Entry32) -> anyhow::Result<()> {
        let id = completion.user_data();
        match id {
            EVENT_USER_DATA => {
                match completion.result().cast_unsigned() {
                    zcrx::ZCRX_EVENT_ALLOC_FAIL => self.alloc_fail_events += 1,
                    zcrx::ZCRX_EVENT_COPY => self.copy_events += 1,
                    other => anyhow::bail!("the kernel posted event {other}, which was not asked for"),
                }
                return Ok(());
            }
            CANCEL_USER_DATA => return Ok(()),
            _ => {}
        }
        let connection = self.connections.get_mut(&id).context("a completion for no connection")?;
        if let Ok(bytes @ 1..) = u32::try_from(completion.result()) {
            let off = completion.big_cqe()[0];
            self.received_bytes += u64::from(bytes);
            if self.blind {
                connection.took(u64::from(bytes));
            } else {
                self.mismatched_bytes += connection.receive(self.queue.data(off, bytes as usize)?);
            }
            let fault = self.active_fault();
            self.returns.done_with(&mut self.queue, off, bytes, fault);
        }
        if !cqueue::more(completion.flags()) {
            self.end_of_receive(id, completion.result());
        }
        Ok(())
    }

    /// A receive ended. Data, the cap, lack of room and our own cancellation are no end of the stream; all else is.
    fn end_of_receive(&mut self, id: u64, result: i32) {
        // The kernel's answer to a receive that has taken its bytes is that of the end of the stream.
        let taken = self.connections.get(&id).map_or(0, Connection::since_armed);
        let capped = self.receive_bytes > 0 && taken >= u64::from(self.receive_bytes);
        let (reason, rearm_at) = match result {
            0 if capped => ("CAP".to_owned(), Some(Instant::now())),
            0 => ("EOF".to_owned(), None),
            1.. => ("DATA".to_owned(), Some(Instant::now())),
            _ => {
                let reason = errno::name(-result).map_or_else(|| result.to_string(), str::to_owned);
                let goes_on = matches!(-result, libc::ENOMEM | libc::ENOSPC | libc::ECANCELED);
                (reason, goes_on.then(|| Instant::now() + REARM_PAUSE))
            }
        };
        *self.endings.entry(reason).or_default() += 1;
        if let Some(at) = rearm_at {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.disarm_until(at);
            }
        } else if let Some(connection) = self.connections.remove(&id) {
            connection.close(result == 0);
        }
    }

    fn report(&mut self) {
        Truth::of(self).print();
    }
}
