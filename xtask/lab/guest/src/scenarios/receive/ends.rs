//! Ends of connections that the kernel may not report.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::settled;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::reset;
use crate::harness::{eventually, facts};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RESETS];

/// Longest time until data arrives.
const ARRIVAL: Duration = Duration::from_mins(1);

/// Resets behind data that takes several calls to receive.
const RESETS: Scenario = Scenario {
    name: "resets-behind-data",
    about: "8 connections bring 1 to 2.75 MiB each and are reset before zcrxd takes any of it, with one thread and with \
            four: every one is found to have ended, also where the kernel reports none (a multishot receive that takes the \
            last data before a reset waits for ever)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        nic.receive_buffers(16 << 20, 16 << 20)?;
        let unreported = every_end_is_found(&nic, "1")? + every_end_is_found(&nic, "4")?;
        facts::add("reports every reset", if unreported > 0 { "no" } else { "yes" })
    },
};

/// Resets connections of a queue with this number of threads. Returns the number of ends that the kernel did not report.
fn every_end_is_found(nic: &Nic, workers: &str) -> Result<u64> {
    const CONNECTIONS: u64 = 8;
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let arguments = ["--listen", &listen, "--interface", nic::RX, "--queue", &queue, "--workers", workers];
    let further = ["--backend", "device", "--sink", "discard", "--area", "64MiB", "--no-probes"];
    let mut daemon = Daemon::start(&nic.rx, &[&arguments[..], &further].concat())?;

    // The kernel accepts connections and data for the listener while zcrxd is stopped.
    daemon.process().signal(libc::SIGSTOP)?;
    let sent: u64 = nic
        .tx
        .enter(|| (0..CONNECTIONS).map(|number| reset_behind((1 << 20) + (number << 18), &listen)).sum())?;
    daemon.process().signal(libc::SIGCONT)?;

    // Before zcrxd has accepted the connections it has none either, so the number of open connections alone does not show that all
    // have ended.
    daemon.until("every connection is accepted", ARRIVAL, |metrics| {
        metrics.sum("zcrxd_receiver_accepted_connections_total") == Some(CONNECTIONS as f64)
    })?;
    let metrics = settled(&mut daemon)?;
    let received = metrics.count("zcrxd_receiver_received_bytes_total")?;
    ensure!(received == sent, "{sent} bytes had arrived before the resets, {received} were received");
    let unreported = metrics.count("zcrxd_receiver_unreported_connection_ends_total")?;
    println!("{workers} threads: the kernel reported no end of {unreported} of {CONNECTIONS} resets");
    daemon.stop()?;
    Ok(unreported)
}

/// Sends this number of bytes, waits until they have arrived, and resets the connection.
fn reset_behind(bytes: u64, to: &str) -> Result<u64> {
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_write_timeout(Some(ARRIVAL)).context("cannot limit a write")?;
    stream.write_all(&vec![0; bytes as usize]).with_context(|| format!("cannot send {bytes} bytes"))?;
    eventually("all is acknowledged", ARRIVAL, || {
        let mut waiting: libc::c_int = 0;
        // SAFETY: TIOCOUTQ writes one int to the address, and the descriptor is open.
        let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
        if asked != 0 {
            bail!("cannot ask what is unacknowledged: {}", std::io::Error::last_os_error());
        }
        Ok((waiting == 0).then_some(()))
    })?;
    reset(stream)?;
    Ok(bytes)
}
