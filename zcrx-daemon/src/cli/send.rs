//! `zcrxd send`: test traffic.

use std::fmt::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Instant;

use bytesize::ByteSize;

use super::{Exit, complain, print};
use crate::config::parse_size;
use crate::receive::pattern::{self, SendError, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to: IP:PORT or NAME:PORT
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    to: SocketAddr,
    /// Payload of each connection, such as 256MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes: u64,
    /// Seed of the first connection's pattern; each further one adds 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// The sink gives no verdict (discard, forward): having sent all is enough
    #[arg(long)]
    unverified: bool,
}

/// What became of one connection.
enum Fate {
    Verified,
    Sent,
    Bad(String),
}

pub(super) fn run(args: &Args) -> Exit {
    let begin = Instant::now();
    let fates: Vec<Fate> = thread::scope(|scope| {
        let senders: Vec<_> = (0..u64::from(args.connections))
            .map(|index| scope.spawn(move || one(args, args.seed.wrapping_add(index))))
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap_or_else(|_| Fate::Bad("the sender panicked".to_owned())))
            .collect()
    });
    let seconds = begin.elapsed().as_secs_f64();

    let verified = fates.iter().filter(|fate| matches!(fate, Fate::Verified)).count();
    let sent = fates.iter().filter(|fate| !matches!(fate, Fate::Bad(_))).count();
    let bytes = args.bytes.saturating_mul(sent as u64);
    let mut line =
        format!("sent {bytes} bytes on {sent} of {} connections in {seconds:.2} s", args.connections);
    if seconds > 0.0 {
        let rate = ByteSize::b((bytes as f64 / seconds) as u64);
        // Writing to a String cannot fail.
        write!(line, ", {}/s", rate.display().iec()).ok();
    }
    print(&format!("{line}; {verified} verified\n"));
    for fate in &fates {
        if let Fate::Bad(why) = fate {
            complain(why);
        }
    }
    if sent == fates.len() { Exit::Done } else { Exit::Bad }
}

fn one(args: &Args, seed: u64) -> Fate {
    match pattern::send(args.to, args.bytes, seed) {
        Ok(Verdict::Ok { payload }) if payload == args.bytes => Fate::Verified,
        Ok(verdict) => {
            Fate::Bad(format!("seed {seed}: {} bytes were sent, the verdict is: {verdict}", args.bytes))
        }
        // All was taken, nothing was said.
        Err(SendError::Answer { .. }) if args.unverified => Fate::Sent,
        Err(error @ SendError::Answer { .. }) => {
            Fate::Bad(format!("seed {seed}: {error}; --unverified does without a verdict"))
        }
        Err(error) => Fate::Bad(format!("seed {seed}: {error}")),
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addresses =
        text.to_socket_addrs().map_err(|error| format!("{error}; write IP:PORT or NAME:PORT"))?;
    addresses.next().ok_or_else(|| "the name has no address".to_owned())
}
