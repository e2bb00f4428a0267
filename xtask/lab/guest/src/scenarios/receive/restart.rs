//! A restart of zcrxd in the middle of zero-copy traffic.

use anyhow::{Context, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, kernel_agrees, settled};
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::service::Manager;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, area};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RESTART];

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
        // Attaching the probes takes longer than the rest. They see a queue that is older than they are.
        const FURTHER: [&[&str]; 2] = [&["--no-probes"], &[]];
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
