//! The least loop that receives with zcrx: the yardstick for every other receive loop.
//!
//! One multishot receive a connection, all completions of a turn in one go, one publication of the refill ring per turn. It keeps no account
//! but the number of completions, looks at no data and survives no error.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, bail};
use clap::Args;
use io_uring::{cqueue, opcode, types};

use crate::queue::{Queue, QueueArgs, Ring, new_ring};

/// `user_data` of the accepting request; a connection's is its descriptor.
const ACCEPT: u64 = u64::MAX;

/// Where to receive.
#[derive(Args, Clone, Debug)]
pub(crate) struct BareArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Where to accept connections.
    #[arg(long, default_value = "[::]:9999")]
    listen: SocketAddr,
}

/// Receives until killed; prints the completions so far whenever a connection has ended.
pub(crate) fn run(args: &BareArgs) -> anyhow::Result<()> {
    let mut ring = new_ring(args.queue.cq_entries).context("setting up the ring")?;
    let mut queue = Queue::register(&ring, &args.queue)?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    let accept = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).build().user_data(ACCEPT);
    submit(&mut ring, &accept)?;
    println!("{}", serde_json::json!({ "pid": std::process::id(), "completions": 0 }));
    let mut completions = 0_u64;
    let mut to_arm: Vec<RawFd> = Vec::new();
    let mut ended: Vec<RawFd> = Vec::new();
    loop {
        ring.submit_and_wait(1).context("waiting for completions")?;
        let (token, mut batch) = queue.returns();
        for completion in ring.completion() {
            match (completion.user_data(), completion.result()) {
                (ACCEPT, fd) if fd >= 0 => to_arm.push(fd),
                (_, bytes) if cqueue::more(completion.flags()) => {
                    completions += 1;
                    if batch.push(token.entry(completion.big_cqe()[0], bytes as u32)).is_err() {
                        bail!("the refill ring is full: it needs as many entries as the area has buffers");
                    }
                }
                (fd, 0) => ended.push(fd as RawFd),
                (request, errno) => bail!("request {request} ended with {errno}"),
            }
        }
        drop(batch);
        for fd in to_arm.drain(..) {
            let receive = opcode::RecvZc::new(types::Fd(fd), 0).ifq(queue.zcrx_id).build();
            submit(&mut ring, &receive.user_data(fd as u64))?;
        }
        for fd in ended.drain(..) {
            println!("{}", serde_json::json!({ "completions": completions }));
            // SAFETY: accepted by this loop, which names the descriptor nowhere else once its receive has ended.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

fn submit(ring: &mut Ring, entry: &io_uring::squeue::Entry) -> anyhow::Result<()> {
    // SAFETY: the entry points to no memory; the descriptor it names stays open until the request has ended.
    unsafe { ring.submission().push(entry) }.context("the submission queue is full")
}
