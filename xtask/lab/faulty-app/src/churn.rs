//! Queues and processes that come and go.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rustix::pipe::pipe;
use zcrx_uapi::errno;

use crate::queue::{Queue, QueueArgs, Ring, new_ring};

/// Pause before a queue that is still being torn down is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// How long a queue may take to become free.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How to come and go.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Queues to take in turn, from the one named on.
    #[arg(long, default_value_t = 1)]
    queues: u32,
    /// Lives: each registers a queue. Every other one is a process of its own that is killed, the rest are closed.
    #[arg(long)]
    times: u32,
}

/// Lives and dies, then says how attempts ended: by errno, "0" for those that succeeded.
pub(crate) fn run(args: &ChurnArgs) -> anyhow::Result<()> {
    let mut attempts: BTreeMap<String, u64> = BTreeMap::new();
    for life in 0..args.times {
        let queue = QueueArgs { queue: args.queue.queue + life % args.queues.max(1), ..args.queue.clone() };
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let errno = if life % 2 == 0 { closed(&queue)? } else { killed(&queue)? };
            *attempts.entry(name(errno)).or_default() += 1;
            match errno {
                0 => break,
                // The one before it has not been torn down yet.
                libc::EEXIST | libc::EBUSY if Instant::now() < deadline => std::thread::sleep(RETRY_PAUSE),
                _ => bail!("life {life}: the registration failed: {}", name(errno)),
            }
        }
    }
    println!("{}", serde_json::json!({ "lives": args.times, "attempts": attempts }));
    Ok(())
}

fn name(number: i32) -> String {
    errno::name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// Registers a queue and closes its ring; the errno, or 0.
fn closed(queue: &QueueArgs) -> anyhow::Result<i32> {
    register(queue).map(|registered| registered.map_or_else(|errno| errno, |_| 0))
}

/// The ring comes first: its teardown begins before the queue's memory is unmapped.
fn register(args: &QueueArgs) -> anyhow::Result<Result<(Ring, Queue), i32>> {
    let ring = new_ring(args.cq_entries).context("setting up the ring")?;
    match Queue::register(&ring, args) {
        Ok(queue) => Ok(Ok((ring, queue))),
        Err(error) => {
            let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            errno.map(Err).ok_or(error)
        }
    }
}

/// Has a process of its own register a queue, and kills it; the errno, or 0.
fn killed(queue: &QueueArgs) -> anyhow::Result<i32> {
    let (answer, report) = pipe().context("making a pipe")?;
    // SAFETY: this program has one thread, so the child may do whatever its parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("forking"),
        0 => {
            let registered = register(queue);
            let errno = match &registered {
                Ok(Ok(_)) => 0,
                Ok(Err(errno)) => *errno,
                Err(_) => libc::EIO,
            };
            let written = rustix::io::write(&report, &errno.to_ne_bytes());
            loop {
                // Without a reader, no process will kill this one.
                if written.is_err() {
                    // SAFETY: _exit takes no pointers and does not return.
                    unsafe { libc::_exit(1) }
                }
                std::thread::park();
            }
        }
        child => {
            drop(report);
            let mut errno = [0; 4];
            let read = rustix::io::read(&answer, &mut errno).context("reading what the child says");
            // SAFETY: kill and waitpid take no pointers here; the child has not been waited for, so its id is its own.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            if read? != errno.len() {
                bail!("the child that was to register a queue ended");
            }
            Ok(i32::from_ne_bytes(errno))
        }
    }
}
