//! Waits for completions: how many system calls a transfer takes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::kprobe::Kprobe;
use crate::harness::nic::Nic;
use crate::harness::receiver::{TRANSFER_LIMIT, on_device, settled};
use crate::harness::scenario::Scenario;

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[GATHER];

/// Messages of a transfer, and their size in bytes.
const MESSAGES: u32 = 4000;
const MESSAGE: usize = 1024;

const MIN_WAIT: Duration = Duration::from_millis(10);

/// Waits that gather completions.
const GATHER: Scenario = Scenario {
    name: "min-wait",
    about: "with min_wait the receiver enters the kernel less than half as often for the same messages, by the kernel's count; all \
            bytes arrive, every buffer is returned",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let alone = receive(&nic, &[], None)?;
        let gathered = receive(&nic, &["--min-wait", "10ms"], Some(MIN_WAIT.as_secs_f64()))?;
        println!("{alone} enters without min_wait, {gathered} with it");
        ensure!(gathered * 2 < alone, "{gathered} enters, {alone} without min_wait");
        Ok(())
    },
};

/// Receives the messages. Returns the number of calls of io_uring_enter in the whole machine. `waits` is the shortest wait that
/// zcrxd must report, seconds.
fn receive(nic: &Nic, arguments: &[&str], waits: Option<f64>) -> Result<u64> {
    let mut daemon = on_device(nic, &[&["--no-probes"], arguments].concat())?;
    let function =
        if cfg!(target_arch = "aarch64") { "__arm64_sys_io_uring_enter" } else { "__x64_sys_io_uring_enter" };
    let enters = Kprobe::count(function).context("the kernel does not count io_uring_enter")?;
    nic.tx.enter(|| send(&Nic::address()))?;
    let enters = enters.hits()?;
    let metrics = settled(&mut daemon)?;
    let received = metrics.count("zcrxd_receiver_received_bytes_total")?;
    ensure!(received == u64::from(MESSAGES) * MESSAGE as u64, "{received} bytes were received");
    let reported = metrics.sum("zcrxd_receiver_min_wait_seconds");
    ensure!(reported == waits, "zcrxd reports a shortest wait of {reported:?} s and not {waits:?} s");
    daemon.stop()?;
    Ok(enters)
}

/// Sends the messages and waits until the receiver closes the connection.
fn send(to: &str) -> Result<()> {
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_nodelay(true).context("cannot send small segments")?;
    stream.set_read_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a read")?;
    for _ in 0..MESSAGES {
        stream.write_all(&[0; MESSAGE]).context("cannot send")?;
    }
    stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
    stream.read_to_end(&mut Vec::new()).context("the other end does not close").map(drop)
}
