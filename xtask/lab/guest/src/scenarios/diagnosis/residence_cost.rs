//! What sampling residence costs, counted in instructions.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::Nic;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::{Scenario, Skip};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[COST];

/// What is sent at a time.
const BYTES: usize = 16 << 20;

/// Transfers of each kind. The first of them warms up, and does not count.
const TRANSFERS: usize = 4;

/// Where a machine's clock counts instructions.
const COST: Scenario = Scenario {
    name: "residence-cost",
    about: "instructions that a completion takes another program, which does not look at its data: nothing sampled, one buffer \
            in 64, every buffer, by trampolines and by kprobes (lab run --count-instructions)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 1500,
    default: false,
    run: || {
        // Machines that count have one processor, the others have two.
        if available_parallelism().is_ok_and(|processors| processors.get() > 1) {
            return Err(Skip(
                "the machine does not count instructions: lab run --count-instructions".to_owned(),
            )
            .into());
        }
        let nic = Nic::pair()?;
        for (one_in, mechanism, what) in [
            ("0", "fexit", "nothing sampled"),
            ("64", "fexit", "one buffer in 64"),
            ("1", "fexit", "every buffer"),
            ("0", "kretprobe", "nothing sampled, kprobes"),
            ("64", "kretprobe", "one buffer in 64, kprobes"),
        ] {
            let arguments = ["--probe-residence", one_in, "--probe-mechanism", mechanism];
            let daemon = Daemon::start(&nic.rx, &arguments)?;
            let per_completion = measure(&nic)?;
            println!("{what}: {per_completion:?} instructions per completion");
            daemon.stop()?;
        }
        Ok(())
    },
};

/// Instructions per completion, of each transfer that counts.
fn measure(nic: &Nic) -> Result<Vec<u64>> {
    let listen = Nic::address();
    let mut foreign = Foreign::on_nic(nic, &["--area-buffers", "8192", "--blind"])?;
    let mut measured = Vec::new();
    for _ in 0..TRANSFERS {
        let before = foreign.truth()?;
        let pid = number(&before, "pid")?;
        let begun = instructions(pid)?;
        nic.tx.enter(|| send(&listen))?;
        let taken = instructions(pid)? - begun;
        let completions = number(&foreign.truth()?, "delivered")? - number(&before, "delivered")?;
        measured.push(taken.checked_div(completions).context("nothing was received")?);
    }
    foreign.quit()?;
    measured.remove(0);
    Ok(measured)
}

/// Sends, and waits until the other end has taken everything and closes: it does not look at it, and has no verdict.
fn send(to: &str) -> Result<()> {
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_read_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a read")?;
    stream.set_write_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a write")?;
    stream.write_all(&vec![0; BYTES]).context("cannot send")?;
    stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
    stream.read_to_end(&mut Vec::new()).context("the other end does not close").map(drop)
}

/// What a process has run for: nanoseconds, each of them an instruction.
fn instructions(pid: u64) -> Result<u64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
    first.with_context(|| format!("{path} is odd: {text}"))
}
