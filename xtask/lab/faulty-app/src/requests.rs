//! Requests that cannot bring data, and what the kernel completes them with.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use io_uring::{opcode, squeue, types};
use serde_json::{Map, Value};
use zcrx_uapi::errno;

use crate::queue::{Queue, QueueArgs, Ring, new_ring};

/// On which queue to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct RequestsArgs {
    #[command(flatten)]
    queue: QueueArgs,
}

/// Hard stop for a request that does not complete.
const LIMIT: Duration = Duration::from_secs(20);
/// `user_data` of the request in question, and of what cancels it.
const REQUEST: u64 = 1;
const CANCEL: u64 = 2;

/// Registers, asks, and prints an object: what was asked for, and the errno it ended with.
pub(crate) fn run(args: &RequestsArgs) -> anyhow::Result<()> {
    let mut ring = new_ring(args.queue.cq_entries).context("setting up the ring")?;
    let queue = Queue::register(&ring, &args.queue)?;
    let receive = |fd: RawFd| opcode::RecvZc::new(types::Fd(fd), 0).ifq(queue.zcrx_id).build();
    let mut said = Map::new();
    let mut say = |what: &str, result: i32| {
        let name = errno::name(-result).map_or_else(|| Value::from(result), Value::from);
        said.insert(what.to_owned(), name);
    };

    let (pipe, _writes) = io::pipe().context("a pipe")?;
    say("pipe", complete(&mut ring, &receive(pipe.as_raw_fd()))?);
    let udp = UdpSocket::bind("127.0.0.1:0").context("a UDP socket")?;
    say("udp", complete(&mut ring, &receive(udp.as_raw_fd()))?);
    let unconnected = tcp_socket()?;
    say("unconnected", complete(&mut ring, &receive(unconnected.as_raw_fd()))?);
    let listener = TcpListener::bind("127.0.0.1:0").context("a listener")?;
    say("listening", complete(&mut ring, &receive(listener.as_raw_fd()))?);

    let address = listener.local_addr().context("a listener has an address")?;
    let _peer = TcpStream::connect(address).context("connecting")?;
    let (stream, _) = listener.accept().context("accepting")?;
    say("not-multishot", complete(&mut ring, &once(receive(stream.as_raw_fd())))?);
    let elsewhere = opcode::RecvZc::new(types::Fd(stream.as_raw_fd()), 0).ifq(queue.zcrx_id + 1).build();
    say("unknown-queue", complete(&mut ring, &elsewhere)?);
    say("cancelled", complete(&mut ring, &receive(stream.as_raw_fd()))?);
    stream.set_nonblocking(true).context("fcntl")?;
    say("nothing-there", complete(&mut ring, &receive(stream.as_raw_fd()))?);

    println!("{}", Value::Object(said));
    drop(ring);
    drop(queue);
    Ok(())
}

/// The same request, asked for one completion only. The crate makes none such, because no kernel takes it.
fn once(mut entry: squeue::Entry) -> squeue::Entry {
    const IOPRIO: usize = 2;
    // SAFETY: an entry is a `struct io_uring_sqe` and nothing else, whose `ioprio` is two bytes at that offset.
    unsafe { (&raw mut entry).cast::<u8>().add(IOPRIO).cast::<u16>().write_unaligned(0) };
    entry
}

/// A TCP socket that is neither connected nor listening.
fn tcp_socket() -> anyhow::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("a TCP socket");
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Submits a request and then cancels it: how it ended. One that could not be ended before was waiting for data.
fn complete(ring: &mut Ring, entry: &squeue::Entry) -> anyhow::Result<i32> {
    push(ring, &entry.clone().user_data(REQUEST))?;
    ring.submit().context("submitting")?;
    push(ring, &opcode::AsyncCancel::new(REQUEST).build().user_data(CANCEL))?;
    wait(ring)
}

fn push(ring: &mut Ring, entry: &squeue::Entry) -> anyhow::Result<()> {
    // SAFETY: the entry points to no memory; the file it names stays open until its request has ended.
    unsafe { ring.submission().push(entry) }.context("the submission queue is full")
}

fn wait(ring: &mut Ring) -> anyhow::Result<i32> {
    let timeout = types::Timespec::from(LIMIT);
    let args = types::SubmitArgs::new().timespec(&timeout);
    loop {
        ring.submitter().submit_with_args(1, &args).context("waiting for a completion")?;
        while let Some(completion) = ring.completion().next() {
            if completion.user_data() == REQUEST {
                if io_uring::cqueue::more(completion.flags()) {
                    bail!("a request that cannot bring data goes on: {}", completion.result());
                }
                return Ok(completion.result());
            }
        }
    }
}
