//! What zcrxd says of a program that knows nothing of it, held against what that program and the NIC say.

use anyhow::ensure;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::metrics::Metrics;
use crate::harness::nic::Nic;
use crate::harness::scenario::{Proof, Scenario, Skip};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[LEAK, BACKLOG];

/// A leak, seen from outside.
const LEAK: Scenario = Scenario {
    name: "foreign-leak-named",
    about: "of a queue that another program had before zcrxd came: its figures are the program's own and the NIC's, \
            and its leak is named as the cause",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Causes(&["never_returned"])],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let listen = Nic::address();
        let mut foreign = Foreign::on_nic(
            &nic,
            &["--area-buffers", "1024", "--fault", "never-return", "--fault-after", "1000000"],
        )?;
        let mut daemon = Daemon::start(&nic.rx, &[])?;
        if daemon.metrics()?.sum("zcrx_queue_allocations_total").is_none() {
            return Err(Skip("the allocation probe cannot be attached here".to_owned()).into());
        }
        // What the NIC's ring was filled with, and what it had to do without, was before zcrxd's time.
        let failed_before = nic.stat("rx1_alloc_fail")?;
        let traffic = Traffic::start(&nic.tx, &listen, 16 << 20, &[])?;
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > failed_before).then_some(()))
        })?;
        let named = daemon.until("the leak is named first", STEP_LIMIT, |metrics| {
            first_cause(metrics).is_some_and(|cause| cause == "never_returned")
        })?;
        ensure!(named.need("zcrx_queue_starving")? > 0.0, "the queue starves and is not said to");
        ensure!(named.label("zcrx_queue_info", "comm") == Some("faulty-app"), "its owner is not named");

        // The sender tries again only now and then: between two attempts everything stands still.
        eventually("zcrxd and the program agree", STEP_LIMIT, || {
            let before = foreign.truth()?;
            let metrics = daemon.metrics()?;
            let after = foreign.truth()?;
            if (&before["delivered"], &before["returned"]) != (&after["delivered"], &after["returned"]) {
                return Ok(None);
            }
            let expected = [
                ("zcrx_queue_user_buffers", "held_buffers"),
                ("zcrx_queue_refill_ring_pending_entries", "refill_pending"),
            ];
            for (metric, own) in expected {
                if metrics.count(metric)? != number(&after, own)? {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;

        foreign.order("resume")?;
        traffic.finish(crate::harness::receiver::TRANSFER_LIMIT)?;
        let (failed, counted) =
            eventually("zcrxd and the NIC agree on failed allocations", STEP_LIMIT, || {
                let before = nic.stat("rx1_alloc_fail")?;
                let counted = daemon.metrics()?.count("zcrx_queue_allocation_failures_total")?;
                let failed = nic.stat("rx1_alloc_fail")? - failed_before;
                Ok((before - failed_before == failed).then_some((failed, counted)))
            })?;
        ensure!(failed == counted, "the NIC failed {failed} times to get a buffer, zcrxd counted {counted}");
        daemon.until("the queue is said to be well", STEP_LIMIT, |metrics| {
            metrics.sum("zcrx_queue_episode_active") == Some(0.0)
        })?;
        foreign.quit()?;
        daemon.until("the queue is gone", STEP_LIMIT, |metrics| {
            metrics.of("zcrx_queue_info").next().is_none()
        })?;
        daemon.stop().map(drop)
    },
};

/// Unread socket data, seen from outside.
const BACKLOG: Scenario = Scenario {
    name: "socket-backlog",
    about: "what waits in a foreign program's sockets is what its own FIONREAD says, counted only for the connections \
            that the queue feeds, and named as the cause",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Causes(&["unread_socket_data"])],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        nic.receive_buffers(64 << 20, 64 << 20)?;
        let listen = Nic::address();
        let mut foreign = Foreign::on_nic(&nic, &["--area-buffers", "1024", "--fault", "not-reading"])?;
        let mut daemon = Daemon::start(&nic.rx, &[])?;
        if daemon.metrics()?.sum("zcrx_queue_sockets").is_none() {
            return Err(Skip("the sockets cannot be read here".to_owned()).into());
        }
        // By the loopback: the program has it, and the queue has nothing to do with it.
        let aside = Traffic::start(&nic.rx, &listen, 64 << 10, &[])?;
        foreign.until("the connection aside holds data", STEP_LIMIT, |truth| {
            sum(truth, false, "unread_bytes") > 0
        })?;
        let traffic = Traffic::start(&nic.tx, &listen, 16 << 20, &[])?;
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(()))
        })?;
        let unread = eventually("zcrxd and the program agree", STEP_LIMIT, || {
            let before = foreign.truth()?;
            let metrics = daemon.metrics()?;
            let after = foreign.truth()?;
            let unread = sum(&before, true, "unread_bytes");
            let same = metrics.count("zcrx_queue_socket_unread_bytes")? == unread
                && metrics.count("zcrx_queue_socket_limit_bytes")? == sum(&before, true, "limit_bytes")
                && metrics.count("zcrx_queue_sockets")? == 1;
            Ok((same && unread > 0 && before["sockets"] == after["sockets"]).then_some(unread))
        })?;
        ensure!(unread > 1 << 20, "only {unread} bytes wait, which is too little to starve the queue");
        daemon.until("the sockets are named first", STEP_LIMIT, |metrics| {
            first_cause(metrics).is_some_and(|cause| cause == "unread_socket_data")
        })?;
        drop((traffic, aside));
        foreign.quit()?;
        daemon.stop().map(drop)
    },
};

/// A figure of the program's connections that came by a NIC, or of those that did not, added up.
fn sum(truth: &serde_json::Value, by_nic: bool, figure: &str) -> u64 {
    let sockets = truth["sockets"].as_array().into_iter().flatten();
    let those = sockets.filter(|socket| socket["napi_id"].as_i64().is_some_and(|id| (id > 0) == by_nic));
    those.filter_map(|socket| socket[figure].as_u64()).sum()
}

/// The cause that explains most, of those that zcrxd is sure of.
fn first_cause(metrics: &Metrics) -> Option<String> {
    let sure = |cause: &str| {
        let mut confidences = metrics.of("zcrx_queue_cause_confidence");
        confidences.any(|sample| sample.has("cause", cause) && sample.count() == 3)
    };
    let most = metrics
        .of("zcrx_queue_cause_contribution_ratio")
        .filter(|sample| sure(sample.label("cause")))
        .max_by(|a, b| a.value.total_cmp(&b.value))?;
    most.labels.get("cause").cloned()
}
