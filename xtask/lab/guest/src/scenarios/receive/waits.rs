//! Waits for completions: how many system calls a transfer takes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

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

/// Calls of io_uring_enter besides those that wait for [`MIN_WAIT`]: to begin and end a connection, and for timers.
const OTHER_ENTERS: u64 = 100;

/// Waits that gather completions.
const GATHER: Scenario = Scenario {
    name: "min-wait",
    about: "with min_wait the receiver enters the kernel once per that time and not once per message, by the kernel's count; all \
            bytes arrive, every buffer is returned",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let (alone, taken_alone) = receive(&nic, &[], None)?;
        let (gathered, taken) = receive(&nic, &["--min-wait", "10ms"], Some(MIN_WAIT.as_secs_f64()))?;
        println!("{alone} enters in {taken_alone:?} without min_wait; {gathered} in {taken:?} with it");
        // A slow machine takes longer and may enter the kernel more often; half of the waits end early, by a timer.
        let most = 3 * (taken.as_micros() / MIN_WAIT.as_micros()) as u64 / 2 + OTHER_ENTERS;
        ensure!(gathered < most, "{gathered} enters in {taken:?}, {alone} without min_wait");
        Ok(())
    },
};

/// Receives the messages. Returns the number of calls of io_uring_enter in the whole machine, and the time that they took. `waits`
/// is the shortest wait that zcrxd must report, seconds.
fn receive(nic: &Nic, arguments: &[&str], waits: Option<f64>) -> Result<(u64, Duration)> {
    let mut daemon = on_device(nic, &[&["--no-probes"], arguments].concat())?;
    let function =
        if cfg!(target_arch = "aarch64") { "__arm64_sys_io_uring_enter" } else { "__x64_sys_io_uring_enter" };
    let enters = Kprobe::count(function).context("the kernel does not count io_uring_enter")?;
    let begun = Instant::now();
    nic.tx.enter(|| send(&Nic::address()))?;
    let (enters, taken) = (enters.hits()?, begun.elapsed());
    let metrics = settled(&mut daemon)?;
    let received = metrics.count("zcrxd_receiver_received_bytes_total")?;
    ensure!(received == u64::from(MESSAGES) * MESSAGE as u64, "{received} bytes were received");
    let reported = metrics.sum("zcrxd_receiver_min_wait_seconds");
    ensure!(reported == waits, "zcrxd reports a shortest wait of {reported:?} s and not {waits:?} s");
    daemon.stop()?;
    Ok((enters, taken))
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
