//! Every completion that can end a receive, and how zcrxd handles it.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, errors, kernel_agrees, on_device, settled};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::steal::{self, Sockmap};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, output, program, work};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[REQUESTS, ENDS, ELSEWHERE];

/// Receive requests that the kernel refuses and that zcrxd never makes.
const REQUESTS: Scenario = Scenario {
    name: "refused-receives",
    about: "receives from what is no connected TCP socket, or not asked for as the kernel wants it, end with the documented \
            errno",
    needs: &[Need::Zcrx, Need::Nodev],
    proves: &[Proof::Completions(&["EPROTONOSUPPORT", "EINVAL", "ENOTSOCK", "ENOTCONN", "ECANCELED"])],
    limit: 120,
    default: true,
    run: || {
        let said = output(Command::new(program("faulty-app")).arg("requests"))?;
        let said: Value = serde_json::from_str(&said).context("the foreign program speaks no JSON")?;
        for (what, errno) in [
            ("pipe", "ENOTSOCK"),
            ("udp", "EPROTONOSUPPORT"),
            ("unconnected", "ENOTCONN"),
            ("listening", "ENOTCONN"),
            ("not-multishot", "EINVAL"),
            ("unknown-queue", "EINVAL"),
            ("cancelled", "ECANCELED"),
            // The receive waited, although the socket is non-blocking.
            ("nothing-there", "ECANCELED"),
        ] {
            ensure!(said[what] == errno, "{what} should end with {errno}: {said}");
        }
        Ok(())
    },
};

/// Connections of zcrxd that end in different ways.
const ENDS: Scenario = Scenario {
    name: "ends-of-receives",
    about: "connections that are reset, dead, taken by a sockmap, or whose completions find no room: zcrxd says which, ends \
            the ones that must end and no other, and loses no buffer",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Completions(&["ENOSPC", "EPROTONOSUPPORT", "ECONNRESET", "ETIMEDOUT"])],
    limit: 400,
    default: true,
    run: || {
        const EACH: u64 = 2 << 20;
        let nic = Nic::pair()?;
        for (name, value) in [("time", "2"), ("intvl", "1"), ("probes", "2")] {
            let path = format!("/proc/sys/net/ipv4/tcp_keepalive_{name}");
            nic.rx.enter(|| std::fs::write(&path, value).with_context(|| format!("cannot set {path}")))?;
        }
        // Each socket takes 512 KiB from its first byte on: more waits for eight of them than the completion queue has room for.
        nic.rx.enter(|| {
            std::fs::write("/proc/sys/net/ipv4/tcp_rmem", "4096 1048576 6291456")
                .context("cannot set tcp_rmem")
        })?;
        let mut daemon = on_device(&nic, &["--cq-entries", "256"])?;

        let verified = overflow(&nic, &mut daemon)?;
        let metrics = settled(&mut daemon)?;
        let counted = metrics.count("zcrxd_receiver_verified_bytes_total")?;
        ensure!(counted == verified, "{counted} bytes of {verified} were verified after the queue was full");

        // A connection that stays open: the ends of others must not affect it.
        let mut bystander = connect(&nic, &mut daemon)?;
        let reset = connect(&nic, &mut daemon)?;
        // Linger enabled, with a timeout of 0: the close sends a reset.
        steal::set(&reset, libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0])?;
        drop(reset);
        ends_with(&mut daemon, "ECONNRESET")?;

        let mut mapped = connect(&nic, &mut daemon)?;
        let address = mapped.local_addr().context("a socket has an address")?;
        let socket = steal::connection(daemon.process().id(), address)?
            .context("zcrxd has no socket for its connection")?;
        let map = Sockmap::with(&socket)?;
        mapped.write_all(b"more").context("cannot send")?;
        ends_with(&mut daemon, "EPROTONOSUPPORT")?;
        drop((map, socket, mapped));

        let before = daemon.metrics()?.count("zcrxd_receiver_received_bytes_total")?;
        bystander.write_all(&[0; 64]).context("the bystander's connection is gone")?;
        daemon.until("the bystander's bytes arrive", STEP_LIMIT, |metrics| {
            metrics.count("zcrxd_receiver_received_bytes_total").is_ok_and(|bytes| bytes == before + 64)
        })?;
        drop(bystander);

        // The peer stops answering. Its link-layer address stays known, so that only the answer is missing.
        let dead = connect(&nic, &mut daemon)?;
        remember_neighbour(&nic)?;
        nic.knob("drop_every", "1")?;
        ends_with(&mut daemon, "ETIMEDOUT")?;
        nic.knob("drop_every", "0")?;
        drop(dead);

        Traffic::start(&nic.tx, &Nic::address(), EACH, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        let delivered = metrics.count("zcrxd_receiver_delivered_buffers_total")?;
        let returned = metrics.count("zcrxd_receiver_returned_buffers_total")?;
        ensure!(delivered == returned, "{delivered} buffers were delivered, {returned} returned");
        kernel_agrees(&mut daemon)?;
        let log = daemon.stop()?;
        for said in ["reset by the peer", "not plain TCP", "the peer does not answer"] {
            ensure!(log.contains(said), "the log does not say {said:?}: {log}");
        }
        Ok(())
    },
};

/// Payload in another provider's buffers.
const ELSEWHERE: Scenario = Scenario {
    name: "another-queues-buffers",
    about: "a flow that is steered to another zcrx queue than its listener's, which may not have it: zcrxd says so and ends \
            the connection, and both queues go on",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Completions(&["EFAULT"])],
    limit: 300,
    default: true,
    run: || {
        const BYTES: u64 = 1 << 20;
        let nic = Nic::pair()?;
        let mut text = String::new();
        // The queues have different sinks, so zcrxd cannot hand the connection over.
        for (queue, port, sink) in [(nic::QUEUE, nic::PORT, "verify"), (2, 9002, "discard")] {
            write!(
                text,
                "[[queue]]\ninterface = {:?}\nqueue = {queue}\nbackend = \"device\"\nlisten = [\"{}:{port}\"]\n\
                 sink = \"{sink}\"\n",
                nic::RX,
                nic::RX_ADDRESS
            )?;
        }
        let file = work().join("zcrxd.toml");
        std::fs::write(&file, text).context("cannot write the configuration")?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", file.to_str().context("no text")?])?;
        nic.steer("2")?;
        let mut stray =
            nic.tx.enter(|| TcpStream::connect(Nic::address()).context("zcrxd does not listen"))?;
        stray.write_all(&[7; 8192]).context("cannot send")?;
        ends_with(&mut daemon, "EFAULT")?;
        nic.steer("1")?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        let verified = metrics.count("zcrxd_receiver_verified_bytes_total")?;
        ensure!(verified == BYTES, "{verified} bytes were verified");
        kernel_agrees(&mut daemon)?;
        let log = daemon.stop()?;
        ensure!(log.contains("steered to the wrong queue"), "the log does not say why: {log}");
        Ok(())
    },
};

/// Stops zcrxd while senders are at work until the NIC has nothing more to write, and lets it go on; again with twice as much
/// until its completion queue was full. Returns the payload sent.
fn overflow(nic: &Nic, daemon: &mut Daemon<'_>) -> Result<u64> {
    const CONNECTIONS: u64 = 8;
    /// Longer than the pause between two segments of a sender.
    const QUIET: Duration = Duration::from_secs(1);
    let (mut sent, mut accepted) = (0, 0);
    for each in [2 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20] {
        sent += CONNECTIONS * each;
        let senders = Traffic::start(&nic.tx, &Nic::address(), each, &["--connections", "8"])?;
        accepted += CONNECTIONS;
        daemon.until("the senders are connected", STEP_LIMIT, |metrics| {
            metrics.sum("zcrxd_receiver_accepted_connections_total") == Some(accepted as f64)
        })?;
        daemon.process().signal(libc::SIGSTOP)?;
        let (mut seen, mut since) = (nic.stat("rx1_niov_bytes")?, Instant::now());
        let quiet = eventually("the NIC has nothing more to write", STEP_LIMIT, || {
            let now = nic.stat("rx1_niov_bytes")?;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            Ok((since.elapsed() > QUIET).then_some(()))
        });
        daemon.process().signal(libc::SIGCONT)?;
        quiet?;
        senders.finish(TRANSFER_LIMIT)?;
        if errors(&settled(daemon)?, "ENOSPC") > 0 {
            return Ok(sent);
        }
    }
    Err(anyhow!("the completion queue was never full"))
}

fn ends_with(daemon: &mut Daemon<'_>, errno: &str) -> Result<()> {
    daemon
        .until(&format!("a receive ends with {errno}"), STEP_LIMIT, |metrics| errors(metrics, errno) > 0)
        .map(drop)
}

/// Opens a connection and waits until zcrxd has received a byte from it.
fn connect(nic: &Nic, daemon: &mut Daemon<'_>) -> Result<TcpStream> {
    let before = daemon.metrics()?.count("zcrxd_receiver_received_bytes_total")?;
    let to: SocketAddr = Nic::address().parse().context("an address is an address")?;
    let mut stream = nic.tx.enter(|| TcpStream::connect(to).context("zcrxd does not listen"))?;
    stream.write_all(&[0; 64]).context("cannot send")?;
    daemon.until("the connection's first bytes arrive", STEP_LIMIT, |metrics| {
        metrics.count("zcrxd_receiver_received_bytes_total").is_ok_and(|bytes| bytes > before)
    })?;
    Ok(stream)
}

/// Makes the sending end's link-layer address permanent on the receiving end.
fn remember_neighbour(nic: &Nic) -> Result<()> {
    let link = nic.tx.run("ip", &["link", "show", "dev", nic::TX])?;
    let mut words = link.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    let mac = words.next().context("the NIC has no address")?;
    let peer = nic::TX_ADDRESS;
    nic.rx.run("ip", &["neigh", "replace", peer, "lladdr", mac, "dev", nic::RX, "nud", "permanent"]).map(drop)
}
