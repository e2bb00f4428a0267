//! Cost of zcrxd's receive loop in instructions.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::{Scenario, Skip};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[COST];

/// Bytes of each connection of a transfer.
const BYTES: usize = 32 << 20;

/// Transfers of each kind. The first one warms up and does not count.
const TRANSFERS: usize = 4;

/// Instructions per completion; needs a machine whose clock counts instructions.
const COST: Scenario = Scenario {
    name: "receive-cost",
    about: "instructions per completion of zcrxd's receive thread, user and kernel, with zero copy and the sink discard: one \
            connection and sixteen (lab run --count-instructions)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 1500,
    default: false,
    run: || {
        // A machine that counts instructions has one processor, others have two.
        if available_parallelism().is_ok_and(|processors| processors.get() > 1) {
            return Err(Skip(
                "the machine does not count instructions: lab run --count-instructions".to_owned(),
            )
            .into());
        }
        let nic = Nic::pair()?;
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
        arguments.extend(["--backend", "device", "--area", "64MiB", "--sink", "discard", "--no-probes"]);
        let mut daemon = Daemon::start(&nic.rx, &arguments)?;
        for connections in [1, 16] {
            let measured = measure(&nic, &mut daemon, &listen, connections)?;
            println!("{connections} connections: {measured:?} instructions per completion");
        }
        daemon.stop().map(drop)
    },
};

/// Instructions per completion for each transfer that counts.
fn measure(nic: &Nic, daemon: &mut Daemon<'_>, listen: &str, connections: usize) -> Result<Vec<u64>> {
    let mut measured = Vec::new();
    for _ in 0..TRANSFERS {
        let thread = receive_thread(daemon.process().id())?;
        let completed = daemon.metrics()?.count("zcrxd_receiver_completions_total")?;
        let begun = instructions(&thread)?;
        nic.tx.enter(|| send(listen, connections))?;
        let taken = instructions(&thread)? - begun;
        let completions = daemon.metrics()?.count("zcrxd_receiver_completions_total")? - completed;
        ensure!(completions > 0, "nothing was received");
        measured.push(taken / completions);
    }
    measured.remove(0);
    Ok(measured)
}

/// Sends on this number of connections at once, and waits until the receiver has received everything and closes.
fn send(to: &str, connections: usize) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(to).context("cannot connect")?;
        stream.set_read_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a read")?;
        stream.set_write_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a write")?;
        streams.push(stream);
    }
    let piece = vec![0; 64 << 10];
    for _ in 0..BYTES / connections / piece.len() {
        for stream in &mut streams {
            stream.write_all(&piece).context("cannot send")?;
        }
    }
    for stream in &mut streams {
        stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
        stream.read_to_end(&mut Vec::new()).context("the other end does not close")?;
    }
    Ok(())
}

/// The directory of the receive thread in /proc.
fn receive_thread(pid: u32) -> Result<String> {
    for entry in fs::read_dir(format!("/proc/{pid}/task")).context("cannot list threads")?.flatten() {
        let path = entry.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("zcrx-rx-")) {
            return Ok(path.display().to_string());
        }
    }
    anyhow::bail!("zcrxd has no receive thread")
}

/// Run time of a thread in nanoseconds, each of which is an instruction.
fn instructions(thread: &str) -> Result<u64> {
    let path = format!("{thread}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
    first.with_context(|| format!("{path} is odd: {text}"))
}
