//! `zcrxd send`: test traffic.

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::thread;
use std::time::Instant;

use bytesize::ByteSize;

use super::{Exit, complain, print};
use crate::config::parse_size;
use crate::qualify;
use crate::receive::pattern::{self, SendError, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Destination: IP:PORT or NAME:PORT
    #[arg(long, value_name = "ADDR", value_parser = resolve, required_unless_present = "serve")]
    to: Option<SocketAddr>,
    /// Payload of each connection, for example 256MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, required_unless_present = "serve")]
    bytes: Option<u64>,
    /// Send whatever a `zcrxd qualify` on another host asks for, until it is stopped; listens on this address
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["to", "bytes", "seed", "connections", "unverified"])]
    serve: Option<SocketAddr>,
    /// Seed of the first connection's pattern; each further one adds 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Number of parallel connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Succeed without a verdict, for the sinks discard, forward and file
    #[arg(long)]
    unverified: bool,
}

/// Result of one connection.
enum Sent {
    Verified,
    Unverified,
    Failed(String),
}

/// What is sent on each connection.
#[derive(Clone, Copy)]
struct Load {
    to: SocketAddr,
    bytes: u64,
    unverified: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    if let Some(address) = args.serve {
        return serve(address);
    }
    // The command line guarantees both without --serve.
    let (Some(to), Some(bytes)) = (args.to, args.bytes) else { return Exit::Usage };
    send(args, Load { to, bytes, unverified: args.unverified })
}

/// Sends for `zcrxd qualify` until the process ends.
fn serve(address: SocketAddr) -> Exit {
    let served = TcpListener::bind(address).and_then(|listener| {
        print(&format!("sending for `zcrxd qualify --peer {}`\n", listener.local_addr()?));
        qualify::serve(&listener)
    });
    if let Err(error) = served {
        complain(&format!("cannot serve on {address}: {error}"));
    }
    Exit::Host
}

fn send(args: &Args, load: Load) -> Exit {
    let begin = Instant::now();
    let results: Vec<Sent> = thread::scope(|scope| {
        let senders: Vec<_> = (0..u64::from(args.connections))
            .map(|index| scope.spawn(move || one(load, args.seed.wrapping_add(index))))
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap_or_else(|_| Sent::Failed("the sender panicked".to_owned())))
            .collect()
    });
    let seconds = begin.elapsed().as_secs_f64();

    let verified = results.iter().filter(|result| matches!(result, Sent::Verified)).count();
    let sent = results.iter().filter(|fate| !matches!(fate, Sent::Failed(_))).count();
    let bytes = load.bytes.saturating_mul(sent as u64);
    let mut line =
        format!("sent {bytes} bytes on {sent} of {} connections in {seconds:.2} s", args.connections);
    if seconds > 0.0 {
        let rate = ByteSize::b((bytes as f64 / seconds) as u64);
        // Writing to a String cannot fail.
        write!(line, ", {}/s", rate.display().iec()).ok();
    }
    print(&format!("{line}; {verified} verified\n"));
    for result in &results {
        if let Sent::Failed(why) = result {
            complain(why);
        }
    }
    if sent == results.len() { Exit::Done } else { Exit::Bad }
}

fn one(load: Load, seed: u64) -> Sent {
    match pattern::send(load.to, load.bytes, seed) {
        Ok(Verdict::Ok { payload }) if payload == load.bytes => Sent::Verified,
        Ok(verdict) => Sent::Failed(format!(
            "seed {seed}: sent {} bytes; verdict of the receiver: {verdict}",
            load.bytes
        )),
        // The receiver took all data and gave no verdict.
        Err(SendError::Answer { .. }) if load.unverified => Sent::Unverified,
        Err(error @ SendError::Answer { .. }) => {
            Sent::Failed(format!("seed {seed}: {error}; add --unverified if the sink gives no verdict"))
        }
        Err(error) => Sent::Failed(format!("seed {seed}: {error}")),
    }
}

pub(super) fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addresses =
        text.to_socket_addrs().map_err(|error| format!("{error}; write IP:PORT or NAME:PORT"))?;
    addresses.next().ok_or_else(|| "this name has no address; check it with `getent hosts NAME`".to_owned())
}
