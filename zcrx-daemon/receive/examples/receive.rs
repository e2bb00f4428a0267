//! Receives TCP payload with zero copy and counts it: `receive INTERFACE QUEUE PORT [BYTES]`, until so many bytes have come.

use std::collections::HashMap;
use std::ffi::CString;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use zcrx_receive::{Completion, Options, Queue};

const ACCEPT: u64 = u64::MAX;
/// Completions after which buffers are published.
const BATCH: usize = 128;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, queue, port, rest @ ..] = &arguments[..] else {
        return Err("usage: receive INTERFACE QUEUE PORT [BYTES]".into());
    };
    let enough: u64 = rest.first().map_or(Ok(u64::MAX), |bytes| bytes.parse())?;
    let name = CString::new(interface.as_str())?;
    // SAFETY: the name lives longer than the call. Without such an interface this is 0, which the registration refuses.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let options = Options {
        ifindex,
        rx_queue: queue.parse()?,
        area_bytes: 64 << 20,
        refill_entries: 16384,
        nodev: false,
    };
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry32>::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(8192);
    let mut ring = builder.build(256)?;
    // SAFETY: the ring is open as long as its descriptor is used here.
    let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
    let mut zcrx = Queue::register(fd, &options)?;
    let listener = TcpListener::bind(("::", port.parse()?))?;
    let accept = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).build().user_data(ACCEPT);
    let mut requests = vec![accept];
    let mut connections = HashMap::new();
    let (mut bytes, mut completions) = (0_u64, 0_u64);
    while bytes < enough || !connections.is_empty() {
        for request in requests.drain(..) {
            // SAFETY: no request points to memory of this program but the area, which outlives the ring's requests.
            while unsafe { ring.submission().push(&request) }.is_err() {
                ring.submit()?;
            }
        }
        ring.submit_and_wait(1)?;
        for (number, cqe) in ring.completion().enumerate() {
            let (socket, more) = (cqe.user_data() as i32, cqueue::more(cqe.flags()));
            if cqe.user_data() == ACCEPT {
                if cqe.result() >= 0 {
                    // SAFETY: the kernel gave the descriptor to this completion alone.
                    connections.insert(cqe.result(), unsafe { OwnedFd::from_raw_fd(cqe.result()) });
                    requests.push(zcrx.receive(cqe.result()).user_data(cqe.result() as u64));
                }
                continue;
            }
            match zcrx.completion(&cqe) {
                Completion::Payload(buffer) => {
                    (bytes, completions) = (bytes + zcrx.bytes(&buffer).len() as u64, completions + 1);
                    zcrx.give_back(buffer);
                }
                Completion::Again(_) => {}
                Completion::End | Completion::Failed(_) => drop(connections.remove(&socket)),
            }
            if !more && connections.contains_key(&socket) {
                requests.push(zcrx.receive(socket).user_data(socket as u64));
            }
            if number % BATCH == BATCH - 1 {
                zcrx.publish();
            }
        }
        zcrx.publish();
    }
    println!("received {bytes} bytes in {completions} completions");
    drop(ring);
    Ok(())
}
