//! Several threads of zcrxd, each with its own ring, on one queue.

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::STEP_LIMIT;
use crate::harness::daemon::Daemon;
use crate::harness::metrics::{Metrics, Sample};
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, kernel_agrees, on_device, settled};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::traffic::Traffic;

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[DEVICE, NODEV, ALONE];

const WORKERS: u64 = 4;
const CONNECTIONS: u64 = 32;
const EACH: u64 = 1 << 20;

/// Threads that share a hardware queue, also after a ring has failed.
const DEVICE: Scenario = Scenario {
    name: "workers",
    about: "4 threads share one queue of the NIC: 32 connections verified, every thread with completions of its own, every \
            buffer returned by the one refill ring; and all of it again after one thread's ring has failed",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Features(&["export"])],
    limit: 500,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut daemon =
            on_device(&nic, &["--workers", "4", "--cpu", "0", "--cpu", "1", "--fault", "break-ring"])?;
        let send = |daemon: &mut Daemon<'_>| -> Result<Metrics> {
            let many = ["--connections", &CONNECTIONS.to_string()];
            Traffic::start(&nic.tx, &Nic::address(), EACH, &many)?.finish(TRANSFER_LIMIT)?;
            settled(daemon)
        };
        all_receive(&mut daemon)?;
        let first = send(&mut daemon)?;
        expect(&first, "device", CONNECTIONS * EACH)?;
        let first = each_had_some(&first, &[0; WORKERS as usize])?;
        kernel_agrees(&mut daemon)?;

        daemon.process().signal(libc::SIGUSR1)?;
        daemon.until("the queue is registered again", STEP_LIMIT, |metrics| {
            metrics.sum("zcrxd_receiver_registrations_total") == Some(2.0)
        })?;
        all_receive(&mut daemon)?;
        let metrics = send(&mut daemon)?;
        each_had_some(&metrics, &first)?;
        let verified = metrics.count("zcrxd_receiver_verified_bytes_total")?;
        ensure!(verified == 2 * CONNECTIONS * EACH, "{verified} bytes were verified in the end");
        ensure!(metrics.count("zcrxd_receiver_mismatched_bytes_total")? == 0, "bytes are not what was sent");
        ensure!(metrics.sum("zcrxd_receiver_held_buffers") == Some(0.0), "buffers are held");
        kernel_agrees(&mut daemon)?;
        let log = daemon.stop()?;
        ensure!(log.contains("a ring of the queue failed"), "the log does not report the ring: {log}");
        Ok(())
    },
};

/// Threads that share a queue without a device.
const NODEV: Scenario = Scenario {
    name: "workers-nodev",
    about: "4 threads share one queue without a device: 32 connections verified, every thread with completions of its own",
    needs: &[Need::Zcrx, Need::Nodev],
    proves: &[Proof::Features(&["export"])],
    limit: 300,
    default: true,
    run: || {
        let (host, listen) = (Namespace::create()?, "127.0.0.1:9999");
        let arguments = ["--listen", listen, "--backend", "nodev", "--sink", "verify", "--workers", "4"];
        let mut daemon = Daemon::start(&host, &[&arguments[..], &["--no-probes"]].concat())?;
        all_receive(&mut daemon)?;
        Traffic::start(&host, listen, EACH, &["--connections", &CONNECTIONS.to_string()])?
            .finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "nodev", CONNECTIONS * EACH)?;
        each_had_some(&metrics, &[0; WORKERS as usize])?;
        daemon.stop().map(drop)
    },
};

/// IORING_REGISTER_QUERY, of Linux 6.18; the next is IORING_REGISTER_ZCRX_CTRL, by which queues are exported, of 6.19.
const QUERY: u32 = 35;

/// Kernels on which a ring cannot import another ring's queue.
const ALONE: Scenario = Scenario {
    name: "workers-alone",
    about: "a kernel that neither answers questions nor exports queues, as before Linux 6.18 (a filter refuses both here): of 4 \
            threads one receives and says so, every byte is verified, every buffer returned",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[Proof::Features(&["export"])],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let place = ["--listen", &listen, "--interface", nic::RX, "--queue", &queue, "--backend", "device"];
        let further = ["--sink", "verify", "--workers", "4", "--no-probes"];
        let mut daemon = Daemon::start_in_older_kernel(&nic.rx, QUERY, &[&place[..], &further].concat())?;
        Traffic::start(&nic.tx, &listen, EACH, &["--connections", &CONNECTIONS.to_string()])?
            .finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", CONNECTIONS * EACH)?;
        let receiving = metrics.sum("zcrxd_receiver_workers");
        ensure!(receiving == Some(1.0), "{receiving:?} threads receive");
        let log = daemon.stop()?;
        ensure!(log.contains("one thread instead of 4"), "the log does not say so: {log}");
        Ok(())
    },
};

fn all_receive(daemon: &mut Daemon<'_>) -> Result<()> {
    daemon
        .until("every thread receives", STEP_LIMIT, |metrics| {
            metrics.sum("zcrxd_receiver_workers") == Some(WORKERS as f64)
        })
        .map(drop)
}

/// Completions of each thread. Fails unless every thread had some since `before` and they add up to the queue's.
fn each_had_some(metrics: &Metrics, before: &[u64]) -> Result<Vec<u64>> {
    let each = (0..WORKERS).map(|worker| {
        let worker = worker.to_string();
        metrics.one("zcrxd_receiver_worker_completions_total", &[("worker", &worker)]).map(Sample::count)
    });
    let each = each.collect::<Result<Vec<_>>>().context("a thread is missing")?;
    ensure!(
        each.iter().zip(before).all(|(now, before)| now > before),
        "completions {each:?}, before {before:?}"
    );
    let all = metrics.count("zcrxd_receiver_completions_total")?;
    ensure!(each.iter().sum::<u64>() == all, "the threads had {each:?} completions, the queue {all}");
    Ok(each)
}
