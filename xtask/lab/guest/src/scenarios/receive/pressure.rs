//! zcrxd's receive path with too few buffers, with a slow sink, and when it is stopped under load.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::STEP_LIMIT;
use crate::harness::daemon::Daemon;
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, settled};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] =
    &[WANT_DEVICE, WANT_NODEV, SLOW_DEVICE, SLOW_NODEV, STOP_DEVICE, STOP_NODEV];

/// More bytes than area and sockets hold.
const BYTES: usize = 16 << 20;

const ON_NIC: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
const WITHOUT: &[Need] = &[Need::Zcrx, Need::Nodev];

macro_rules! both {
    ($device:ident, $nodev:ident, $name:literal, $about:literal, $run:ident) => {
        const $device: Scenario = Scenario {
            name: concat!($name, "-device"),
            about: $about,
            needs: ON_NIC,
            proves: &[],
            limit: 300,
            default: false,
            run: || {
                // The NIC's ring takes a small part of the area.
                let nic = Nic::with("ring_size=64")?;
                $run(&Place { receiver: &nic.rx, sender: &nic.tx, listen: Nic::address(), backend: "device" })
            },
        };
        const $nodev: Scenario = Scenario {
            name: concat!($name, "-nodev"),
            about: $about,
            needs: WITHOUT,
            proves: &[],
            limit: 300,
            default: false,
            run: || {
                let host = Namespace::create()?;
                let listen = "127.0.0.1:9999".to_owned();
                $run(&Place { receiver: &host, sender: &host, listen, backend: "nodev" })
            },
        };
    };
}

both!(
    WANT_DEVICE,
    WANT_NODEV,
    "want",
    "20 connections with few buffers, a refill ring of 64 entries and a small completion queue: every byte verified",
    want
);
both!(
    SLOW_DEVICE,
    SLOW_NODEV,
    "slow-destination",
    "a destination that does not read holds the buffers; when it reads, all that was sent arrives in order",
    slow_destination
);
both!(STOP_DEVICE, STOP_NODEV, "stop", "stopped under load, zcrxd ends in good order", stop);

/// Source and destination of the traffic.
struct Place<'a> {
    receiver: &'a Namespace,
    sender: &'a Namespace,
    listen: String,
    backend: &'static str,
}

impl<'a> Place<'a> {
    fn daemon(&self, further: &[&str]) -> Result<Daemon<'a>> {
        let queue = nic::QUEUE.to_string();
        let mut arguments = vec!["--listen", &self.listen, "--backend", self.backend, "--no-probes"];
        if self.backend == "device" {
            arguments.extend(["--interface", nic::RX, "--queue", &queue]);
        }
        arguments.extend(further);
        Daemon::start(self.receiver, &arguments)
    }

    fn connect(&self) -> Result<TcpStream> {
        self.sender.enter(|| TcpStream::connect(&self.listen).context("zcrxd does not listen"))
    }
}

fn want(place: &Place<'_>) -> Result<()> {
    const EACH: u64 = 1_000_000;
    let small = ["--sink", "verify", "--area", "1MiB", "--refill-entries", "64", "--cq-entries", "256"];
    let mut daemon = place.daemon(&small)?;
    Traffic::start(place.sender, &place.listen, EACH, &["--connections", "20"])?.finish(TRANSFER_LIMIT)?;
    expect(&settled(&mut daemon)?, place.backend, 20 * EACH)?;
    daemon.stop().map(drop)
}

fn slow_destination(place: &Place<'_>) -> Result<()> {
    let destination =
        place.receiver.enter(|| TcpListener::bind("127.0.0.1:0").context("no port for the destination"))?;
    let sink = format!("forward:{}", destination.local_addr().context("a listener has an address")?);
    let mut daemon = place.daemon(&["--sink", &sink, "--area", "2MiB", "--hold-limit", "2MiB"])?;
    let sent: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let mut source = place.connect()?;
    let data = sent.clone();
    // The source closes once everything is written.
    let sender = thread::spawn(move || source.write_all(&data));
    let (mut slow, _) = destination.accept().context("zcrxd does not connect to the destination")?;
    daemon.until("the destination's slowness holds buffers", STEP_LIMIT, |metrics| {
        let held = metrics.sum("zcrxd_receiver_held_buffers").unwrap_or(0.0);
        metrics.sum("zcrxd_receiver_area_buffers").is_some_and(|buffers| held > buffers / 4.0)
    })?;
    let mut received = Vec::new();
    slow.read_to_end(&mut received).context("the destination cannot read")?;
    sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("the sender cannot send")?;
    ensure!(received == sent, "{} of {BYTES} bytes arrived, or others", received.len());
    settled(&mut daemon)?;
    daemon.stop().map(drop)
}

fn stop(place: &Place<'_>) -> Result<()> {
    let mut daemon = place.daemon(&["--sink", "discard"])?;
    let mut source = place.connect()?;
    // A receiver that is gone must not keep the scenario waiting.
    source.set_write_timeout(Some(Duration::from_secs(2))).context("cannot limit a write")?;
    let sender = thread::spawn(move || while source.write_all(&[7; 16384]).is_ok() {});
    daemon.until("data flows", STEP_LIMIT, |metrics| {
        metrics.sum("zcrxd_receiver_received_bytes_total").is_some_and(|bytes| bytes > 4_194_304.0)
    })?;
    daemon.stop()?;
    sender.join().map_err(|_| anyhow!("the sender panicked"))
}
