//! A restart of zcrxd in the middle of zero-copy traffic.

use anyhow::{Context, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::crowd::{Crowd, Sink};
use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, kernel_agrees, settled};
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::service::Manager;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, area, work};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RESTART, FORWARDING];

/// Flags after each restart. Attaching the probes takes longer than the rest, so only the last zcrxd does it: they see a queue that is
/// older than they are.
const FURTHER: [&[&str]; 2] = [&["--no-probes"], &[]];

const RESTART: Scenario = Scenario {
    name: "restart-under-traffic",
    about: "zcrxd restarts twice in the middle of 200 verified zero-copy connections: the NIC's queue, the connections and the \
            listening socket go on, every byte is verified once, every buffer is accounted for",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const CONNECTIONS: &str = "200";
        const BYTES: u64 = 128 << 10;
        let nic = Nic::pair()?;
        let mut manager = Manager::new()?;
        let (listen, queue, area) = (Nic::address(), nic::QUEUE.to_string(), area(4096));
        let arguments = [
            "--listen",
            &listen,
            "--interface",
            nic::RX,
            "--queue",
            &queue,
            "--backend",
            "device",
            "--sink",
            "verify",
            "--area",
            &area,
        ];
        let mut daemon = manager.start(&nic.rx, &[&arguments[..], FURTHER[0]].concat())?;
        let exports = |metrics: &Metrics| {
            metrics
                .of("zcrxd_receiver_feature")
                .any(|sample| sample.has("feature", "export") && sample.value > 0.0)
        };
        if !exports(&daemon.metrics()?) {
            return Err(Skip("this kernel exports no queue".to_owned()).into());
        }
        let traffic = Traffic::start(&nic.tx, &Nic::address(), BYTES, &["--connections", CONNECTIONS])?;
        for further in FURTHER {
            daemon.until("payload arrives", STEP_LIMIT, |metrics| {
                metrics.count("zcrxd_receiver_received_bytes_total").is_ok_and(|bytes| bytes > 1 << 20)
            })?;
            let log = manager.end_for_restart(daemon)?;
            ensure!(log.contains("connections go on in the next zcrxd"), "the connections end: {log}");
            daemon = manager.start(&nic.rx, &[&arguments[..], further].concat())?;
            let log = daemon.process().stderr();
            ensure!(log.contains("continuing the hardware queue"), "the queue is another one: {log}");
        }
        let said = traffic.finish(TRANSFER_LIMIT)?;
        ensure!(said.contains(&format!("{CONNECTIONS} verified")), "{said}");
        let metrics = settled(&mut daemon)?;
        let used = metrics.label("zcrxd_receiver_info", "backend").context("there is no backend")?;
        ensure!(used == "device", "zcrxd receives on {used}");
        kernel_agrees(&mut daemon)?;
        manager.stop(daemon).map(drop)
    },
};

/// Payload that waits for sinks.
const FORWARDING: Scenario = Scenario {
    name: "restart-forwarding",
    about: "zcrxd restarts twice amid 60 zero-copy connections that it forwards, 20 of them to a destination that reads nothing before the \
            second restart: every byte arrives once, no connection ends, every buffer is accounted for",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const QUEUES: u16 = 1;
        const PORT: &str = "9001";
        const CONNECTIONS: u64 = 60;
        let nic = Nic::with("queues=2")?;
        nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", PORT, "action", "1"])?;
        let (socket, file) = (work().join("sink.sock"), work().join("zcrxd.toml"));
        let text = format!(
            "[[queue]]\ninterface = {:?}\nqueue = 1\nbackend = \"device\"\nlisten = [\"{}:{PORT}\"]\narea = \"{}\"\n\
             copy_out = \"1MiB\"\nsink = \"forward:unix:{}\"\n",
            nic::RX,
            nic::RX_ADDRESS,
            area(4096),
            socket.display()
        );
        std::fs::write(&file, text).context("cannot write the configuration")?;
        let arguments = ["--config", file.to_str().context("a path that is no text")?];
        let sink = Sink::listen(&socket)?;
        let mut manager = Manager::new()?;
        let mut daemon = manager.start(&nic.rx, &[&arguments[..], FURTHER[0]].concat())?;
        let laggards = Crowd::start(&nic.tx, QUEUES, 0..20, true)?;
        let paused = |metrics: &Metrics| {
            metrics.sum("zcrxd_receiver_paused_connections").is_some_and(|paused| paused > 0.0)
        };
        daemon.until("connections are paused", STEP_LIMIT, paused)?;
        let others = Crowd::start(&nic.tx, QUEUES, 20..CONNECTIONS, false)?;
        for further in FURTHER {
            let log = manager.end_for_restart(daemon)?;
            if log.contains("the queue cannot be exported") {
                return Err(Skip("this kernel exports no queue".to_owned()).into());
            }
            ensure!(log.contains("connections go on in the next zcrxd"), "the connections end: {log}");
            ensure!(!log.contains("bytes lost"), "bytes are lost: {log}");
            daemon = manager.start(&nic.rx, &[&arguments[..], further].concat())?;
            daemon.until("laggards are paused again", STEP_LIMIT, paused)?;
        }
        sink.release();
        others.finish()?;
        laggards.finish()?;
        sink.finish(CONNECTIONS)?;
        let metrics = settled(&mut daemon)?;
        let lost = metrics.need("zcrxd_receiver_lost_bytes_total")?;
        ensure!(lost == 0.0, "{lost} bytes are lost");
        kernel_agrees(&mut daemon)?;
        manager.stop(daemon).map(drop)
    },
};
