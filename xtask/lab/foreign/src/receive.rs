//! The receive loop: one thread, one queue, any number of connections.

mod connection;
mod returns;
mod truth;

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use io_uring::{cqueue, opcode, types};
use zcrx_daemon::uapi::errno;

use crate::control::{Control, Order};
use crate::fault::Fault;
use crate::queue::{EVENT_USER_DATA, Queue, QueueArgs, Ring, new_ring};
use connection::Connection;
use returns::Returns;
use truth::Truth;

/// How long the loop sleeps at most: it also looks for orders, new connections and due buffers.
const TICK: Duration = Duration::from_millis(10);
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
    /// A fault: slow=MS, never-return, return-twice=N, bad-token=N, bad-offset=N, fragments=N (N: every Nth
    /// completion), ring-overflow, not-reading, cq-stall, small-area, wrong-queue.
    #[arg(long)]
    fault: Option<Fault>,
    /// Begin the fault once that many bytes were received; before and after, `hold` and `resume` on standard input
    /// begin and end it.
    #[arg(long, default_value_t = 0)]
    fault_after: u64,
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
    returns: Returns,
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    next_connection: u64,
    accepted: u64,
    fault: Option<Fault>,
    fault_after: Option<u64>,
    active: bool,
    received_bytes: u64,
    mismatched_bytes: u64,
    rearmed: u64,
    /// Terminal results of receives, and ends of streams as "EOF".
    endings: BTreeMap<String, u64>,
    events: u64,
    started: Instant,
}

/// Receives until told to quit.
pub(crate) fn run(args: &ReceiveArgs) -> anyhow::Result<()> {
    let mut control = Control::new()?;
    let queue_args = args.faulty_queue();
    let ring = new_ring(queue_args.cq_entries).context("setting up the ring")?;
    let queue = Queue::register(&ring, &queue_args)?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    listener.set_nonblocking(true).context("listening")?;

    let mut receiver = Receiver {
        returns: Returns::new(queue.buffers),
        ring,
        queue,
        listener,
        connections: HashMap::new(),
        next_connection: 0,
        accepted: 0,
        fault: args.fault,
        fault_after: args.fault.map(|_| args.fault_after),
        active: false,
        received_bytes: 0,
        mismatched_bytes: 0,
        rearmed: 0,
        endings: BTreeMap::new(),
        events: 0,
        started: Instant::now(),
    };
    let mut next_report = Instant::now();
    loop {
        receiver.begin_fault_when_due();
        while let Some(order) = control.poll()? {
            match order {
                Order::Hold => receiver.hold(),
                Order::Resume => receiver.resume(),
                Order::Report => next_report = Instant::now(),
                Order::Quit => {
                    receiver.report();
                    return Ok(());
                }
            }
        }
        receiver.accept()?;
        receiver.arm()?;
        receiver.returns.progress(&mut receiver.queue, Instant::now());
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

    fn begin_fault_when_due(&mut self) {
        if self.fault_after.is_some_and(|after| self.received_bytes >= after) {
            self.fault_after = None;
            self.active = true;
        }
    }

    /// Begins the fault; without one chosen, buffers are simply held.
    fn hold(&mut self) {
        self.fault.get_or_insert(Fault::NeverReturn);
        self.active = true;
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
            let entry = opcode::RecvZc::new(types::Fd(connection.fd()), 0)
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
        if id == EVENT_USER_DATA {
            self.events += 1;
            return Ok(());
        }
        let connection = self.connections.get_mut(&id).context("a completion for no connection")?;
        if let Ok(bytes @ 1..) = u32::try_from(completion.result()) {
            let off = completion.big_cqe()[0];
            self.received_bytes += u64::from(bytes);
            self.mismatched_bytes += connection.receive(self.queue.data(off, bytes as usize)?);
            let fault = self.active_fault();
            self.returns.done_with(&mut self.queue, off, bytes, fault);
        }
        if !cqueue::more(completion.flags()) {
            self.end_of_receive(id, completion.result());
        }
        Ok(())
    }

    /// A receive ended. Lack of room is no end of the stream; all else is.
    fn end_of_receive(&mut self, id: u64, result: i32) {
        let reason = match result {
            0 => "EOF".to_owned(),
            1.. => "DISARMED".to_owned(),
            _ => errno::name(-result).map_or_else(|| result.to_string(), str::to_owned),
        };
        *self.endings.entry(reason).or_default() += 1;
        let rearm_at = match -result {
            libc::ENOMEM | libc::ENOSPC => Some(Instant::now() + REARM_PAUSE),
            errno if errno < 0 => Some(Instant::now()),
            _ => None,
        };
        match rearm_at {
            Some(at) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.disarm_until(at);
                }
            }
            None => {
                if let Some(connection) = self.connections.remove(&id) {
                    connection.close(result == 0);
                }
            }
        }
    }

    fn report(&mut self) {
        Truth::of(self).print();
    }
}
