//! How long buffers of another program are out, held against how long that program keeps them.

use anyhow::{Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::STEP_LIMIT;
use crate::harness::counts::agree;
use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::metrics::{Metrics, Sample};
use crate::harness::nic::Nic;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::traffic::Traffic;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[RESIDENCE, RESIDENCE_KRETPROBE, RESIDENCE_SHARE];

/// What is sent at a time: far fewer buffers than there are, so that nothing starves.
const BYTES: u64 = 1 << 20;

/// How long the program keeps each buffer, seconds.
const KEPT: u64 = 2;

/// Residence, sampled.
const RESIDENCE: Scenario = Scenario {
    name: "residence",
    about: "buffers that another program keeps for two seconds are out for no less; those that are out are the ones it has, each \
            is counted once, and none is remembered when they are gone",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || every_buffer(&Nic::pair()?, "auto"),
};

/// Residence of a share.
const RESIDENCE_SHARE: Scenario = Scenario {
    name: "residence-share",
    about: "of one buffer in eight: few are sampled, and some",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 300,
    default: false,
    run: || one_in_eight(&Nic::pair()?),
};

/// The same by breakpoints.
const RESIDENCE_KRETPROBE: Scenario = Scenario {
    name: "residence-kretprobe",
    about: "the same, by kprobes",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: false,
    run: || every_buffer(&Nic::pair()?, "kretprobe"),
};

/// Every buffer is sampled: then all that are out are known one by one.
fn every_buffer(nic: &Nic, mechanism: &str) -> Result<()> {
    let mut daemon = Daemon::start(&nic.rx, &["--probe-mechanism", mechanism, "--probe-residence", "1"])?;
    let metrics = daemon.metrics()?;
    let mut ways = metrics.of("zcrxd_probe_info").filter(|sample| sample.has("probe", "residence"));
    if ways.all(|way| !way.has("state", "attached")) {
        return Err(Skip("the residence probe cannot be attached here".to_owned()).into());
    }
    // One function can be traced like the other.
    ensure!(
        way(&metrics, "residence") == way(&metrics, "allocation"),
        "attached in another way than the rest"
    );
    let mut foreign = keeper(nic)?;
    let listen = Nic::address();
    Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    foreign.until("all is returned", STEP_LIMIT, |truth| {
        truth["delivered"].as_u64() > Some(0) && truth["delivered"] == truth["returned"]
    })?;
    // The kernel takes back what was returned when the NIC needs buffers again.
    Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    agree(&mut foreign, &daemon, |metrics, truth| {
        let [sampled, unseen, seen] = counts(metrics)?;
        // Entries that gave no buffer: its packet was not freed yet, and brought it back later, unseen.
        let by_ring = metrics.count("zcrx_queue_allocated_buffers_total")?
            - metrics.count("zcrx_queue_freelist_buffers_total")?;
        let late = metrics.count("zcrx_queue_consumed_refill_entries_total")? - by_ring;
        Ok(vec![
            ("seen to come back", seen, by_ring),
            ("sampled buffers that are out", sampled - seen, number(truth, "referenced_buffers")? + late),
            ("unseen beyond those that were late", unseen.saturating_sub(late), 0),
            ("copied", metrics.count("zcrx_queue_copied_buffers_total")?, 0),
        ])
    })?;
    let (metrics, truth) = (daemon.metrics()?, foreign.truth()?);
    let [sampled, _, seen] = counts(&metrics)?;
    let delivered = number(&truth, "delivered")?;
    ensure!(seen > 0, "no buffer was seen to come back");
    ensure!(sampled <= delivered, "{sampled} buffers sampled, and {delivered} delivered");
    ensure!(
        seen <= metrics.count("zcrx_queue_consumed_refill_entries_total")?,
        "more came back than was returned"
    );
    let soon = metrics.one("zcrx_queue_residence_seconds_bucket", &[("le", "1")])?.count();
    ensure!(
        soon == 0,
        "{soon} of {seen} buffers were out for no more than a second, and each is kept for {KEPT}"
    );
    let sum = metrics.need("zcrx_queue_residence_seconds_sum")?;
    ensure!(
        sum >= (seen * KEPT) as f64,
        "{seen} buffers were out for {sum} s together, and each is kept for {KEPT}"
    );
    ensure!(metrics.sum("zcrxd_probe_lost_events_total") == Some(0.0), "something was lost");
    ensure!(metrics.sum("zcrxd_probe_program_missed_runs_total") == Some(0.0), "runs were missed");
    println!("{delivered} delivered, {sampled} sampled, {seen} seen to come back, out for {sum} s together");

    foreign.quit()?;
    daemon.until("the queue and its buffers are forgotten", STEP_LIMIT, |metrics| {
        entries(metrics, "residences") == Some(0) && entries(metrics, "residents") == Some(0)
    })?;
    daemon.stop().map(drop)
}

/// One buffer in eight is sampled.
fn one_in_eight(nic: &Nic) -> Result<()> {
    let daemon = Daemon::start(&nic.rx, &["--probe-residence", "8"])?;
    let mut foreign = keeper(nic)?;
    Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    let delivered = number(&foreign.truth()?, "delivered")?;
    let [sampled, ..] = counts(&daemon.metrics()?)?;
    ensure!(sampled > 0, "nothing is sampled of {delivered} buffers");
    ensure!(sampled <= delivered / 4, "one in eight is to be sampled, and {sampled} of {delivered} are");
    foreign.quit()?;
    daemon.stop().map(drop)
}

/// A program that keeps each buffer for a while.
fn keeper(nic: &Nic) -> Result<Foreign> {
    let fault = format!("slow={}", KEPT * 1000);
    Foreign::on_nic(nic, &["--area-buffers", "2048", "--fault", &fault])
}

/// The mechanism that a probe is attached by.
fn way<'m>(metrics: &'m Metrics, probe: &str) -> Option<&'m str> {
    let mut ways = metrics.of("zcrxd_probe_info").filter(|sample| sample.has("probe", probe));
    ways.find(|way| way.has("state", "attached")).map(|way| way.label("mechanism"))
}

/// Sampled, of these unseen, of these seen to come back.
fn counts(metrics: &Metrics) -> Result<[u64; 3]> {
    Ok([
        metrics.count("zcrx_queue_residence_sampled_buffers_total")?,
        metrics.count("zcrx_queue_residence_unseen_buffers_total")?,
        metrics.count("zcrx_queue_residence_seconds_count")?,
    ])
}

fn entries(metrics: &Metrics, map: &str) -> Option<u64> {
    metrics.one("zcrxd_probe_map_entries", &[("map", map)]).ok().map(Sample::count)
}
