//! What zcrxd recommends, applied.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::harness::daemon::Daemon;
use crate::harness::diagnosis::{NEEDS, answer, close, episodes, named, named_in_the_end, watching};
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[AREA, REFILL_RING];

/// The load: so much on each of so many connections.
const BYTES: u64 = 24 << 20;
const CONNECTIONS: [&str; 2] = ["--connections", "4"];

/// What each socket may hold: fixed, so that it is the same load both times.
const RECEIVE_BUFFER: u64 = 64 << 10;

/// How long a queue is looked at after the load to say that nothing came of it: episodes begin within two samples.
const AFTERWARDS: Duration = Duration::from_secs(4);

/// Sizes that zcrxd recommends for its queue.
pub(super) struct Sizes {
    pub(super) area_buffers: u64,
    area_bytes: u64,
    pub(super) refill_entries: u64,
    /// A queue that loses packets does not show how much more it would take.
    pub(super) at_least: bool,
}

/// How often larger sizes may be recommended until they carry the load.
const ROUNDS: usize = 4;

/// An area that cannot fill the NIC's ring.
const AREA: Scenario = Scenario {
    name: "sizes-end-starvation-area",
    about: "zcrxd's local queue starves for its area of 64 buffers; with the sizes that zcrxd recommends, or those that it \
            recommends when it has seen these not suffice, the same load goes through without a failed allocation",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        nic.receive_buffers(RECEIVE_BUFFER, RECEIVE_BUFFER)?;
        let daemon = own(&nic, "256KiB", "64")?;
        let traffic = load(&nic)?;
        named(&daemon, "area_too_small")?;
        let mut sizes = recommended(&daemon)?;
        traffic.abandon()?;
        close(daemon)?;

        for _ in 0..ROUNDS {
            let (area, entries) = (sizes.area_bytes.to_string(), sizes.refill_entries.to_string());
            let daemon = own(&nic, &area, &entries)?;
            let carried = carries(&nic, &daemon);
            if carried.is_ok() {
                return close(daemon);
            }
            println!("not enough: {carried:?}");
            ensure!(sizes.at_least, "sizes that were said to suffice do not");
            let more = recommended(&daemon)?;
            ensure!(more.area_bytes > sizes.area_bytes, "no more is recommended than what did not suffice");
            sizes = more;
            close(daemon)?;
        }
        bail!("{ROUNDS} recommendations did not end it")
    },
};

/// A refill ring that cannot take what is returned, and an application that drops what does not fit.
const REFILL_RING: Scenario = Scenario {
    name: "sizes-end-starvation-refill-ring",
    about: "a foreign program starves for its refill ring of 8 entries; with the sizes that zcrxd recommends the same load goes \
            through without a failed allocation",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        nic.receive_buffers(RECEIVE_BUFFER, RECEIVE_BUFFER)?;
        let foreign = dropping(&nic, "2048", "8")?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = load(&nic)?;
        named_in_the_end(&daemon, "refill_ring_full")?;
        let sizes = recommended(&daemon)?;
        traffic.abandon()?;
        foreign.quit()?;
        close(daemon)?;

        let mut foreign = dropping(&nic, &sizes.area_buffers.to_string(), &sizes.refill_entries.to_string())?;
        let daemon = watching(&nic.rx, &[])?;
        carries(&nic, &daemon)?;
        let truth = foreign.truth()?;
        ensure!(number(&truth, "dropped")? == 0, "returns were dropped: {truth}");
        foreign.quit()?;
        close(daemon)
    },
};

fn load(nic: &Nic) -> Result<Traffic> {
    Traffic::start(&nic.tx, &Nic::address(), BYTES, &CONNECTIONS)
}

/// zcrxd with a queue of its own of these sizes.
fn own<'a>(nic: &'a Nic, area: &str, refill_entries: &str) -> Result<Daemon<'a>> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device", "--sink", "verify", "--area", area]);
    arguments.extend(["--refill-entries", refill_entries]);
    watching(&nic.rx, &arguments)
}

/// A foreign program that drops what does not fit into its refill ring.
fn dropping(nic: &Nic, area_buffers: &str, refill_entries: &str) -> Result<Foreign> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut arguments = vec!["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
    arguments.extend(["--area-buffers", area_buffers, "--refill-entries", refill_entries]);
    arguments.extend(["--fault", "ring-overflow", "--fault-after", "1000000"]);
    Foreign::start(&nic.rx, &arguments)
}

/// What is recommended for the queue that starves.
pub(super) fn recommended(daemon: &Daemon<'_>) -> Result<Sizes> {
    let sizes = eventually("sizes are recommended", STEP_LIMIT, || {
        let answer = answer(daemon)?;
        let sizes = answer["queues"].get(0).map(|queue| &queue["forecast"]["sizes"]);
        Ok(sizes.map(|sizes| &sizes["known"]).filter(|known| known.is_object()).cloned())
    })?;
    println!("recommended: {sizes}");
    let size = |name: &str| sizes[name].as_u64().with_context(|| format!("no {name} in {sizes}"));
    Ok(Sizes {
        area_buffers: size("area_buffers")?,
        area_bytes: size("area_bytes")?,
        refill_entries: size("refill_entries")?,
        at_least: sizes["at_least"].as_bool().context("at_least is not said")?,
    })
}

/// The load goes through, verified, and neither does an allocation fail nor an episode begin.
fn carries(nic: &Nic, daemon: &Daemon<'_>) -> Result<()> {
    let (failed, dropped) = (nic.stat("rx1_alloc_fail")?, nic.stat("rx1_drop_no_buffer")?);
    load(nic)?.finish(TRANSFER_LIMIT)?;
    std::thread::sleep(AFTERWARDS);
    let episodes: Vec<Value> = episodes(&answer(daemon)?);
    let (failed, dropped) = (nic.stat("rx1_alloc_fail")? - failed, nic.stat("rx1_drop_no_buffer")? - dropped);
    println!(
        "with these sizes {failed} allocations failed and {dropped} packets were dropped because no buffer was free"
    );
    ensure!(failed == 0, "{failed} allocations failed");
    ensure!(dropped == 0, "{dropped} packets found no buffer");
    ensure!(episodes.is_empty(), "there are episodes: {episodes:?}");
    Ok(())
}
