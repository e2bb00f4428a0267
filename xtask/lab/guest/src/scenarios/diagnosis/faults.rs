//! Faults of an application whose mark is another one than buffers that it holds.

use anyhow::{Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::foreign::{Foreign, number};
use crate::harness::kernel_release;
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[SMALL_AREA, RETURN_TWICE, WRONG_QUEUE];

const BYTES: u64 = 16 << 20;

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];

/// Less buffers than the NIC's ring has room for.
const SMALL_AREA: Scenario = Scenario {
    name: "starved-by-small-area",
    about: "an area of 64 buffers cannot fill the NIC's ring: it finds no buffer although everything is returned at once",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let (mut foreign, listen) = start(&nic, &["--fault", "small-area"])?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(()))
        })?;
        let truth = foreign.truth()?;
        ensure!(number(&truth, "buffers")? == 64, "the area is not small: {truth}");
        // Whether TCP gets all of it through such a narrow door in time is not what this is about.
        traffic.abandon()?;
        foreign.quit()
    },
};

/// Every second buffer returned twice in a row.
const RETURN_TWICE: Scenario = Scenario {
    name: "starved-by-double-returns",
    about: "double returns lose buffers on Linux 7.3, which joins the two entries and honours neither; 7.2 ignores the second",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let (mut foreign, listen) = start(&nic, &["--area-buffers", "1024", "--fault", "return-twice=2"])?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        if kernel_release().starts_with("7.2.") {
            traffic.finish(TRANSFER_LIMIT)?;
            let truth = foreign.truth()?;
            ensure!(number(&truth, "returned_twice")? > 0, "nothing was returned twice: {truth}");
            return foreign.quit();
        }
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(()))
        })?;
        let truth = foreign.until("all is returned, or more", STEP_LIMIT, |truth| {
            truth["held"] == 0 && truth["cq_ready"] == 0
        })?;
        ensure!(number(&truth, "returned_twice")? > 0, "nothing was returned twice: {truth}");
        traffic.abandon()?;
        foreign.quit()
    },
};

/// The flow goes to one queue, the program registers another.
const WRONG_QUEUE: Scenario = Scenario {
    name: "wrong-queue",
    about: "a flow that is steered to another queue than the registered one is copied, every byte of it",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let queue = nic::queue_with_a_neighbour()?;
        // More than the ring of any driver takes: what is copied needs free buffers.
        let wrong = ["--area-buffers", "2048", "--fault", "wrong-queue"];
        let (mut foreign, listen) = start_on(&nic, queue, &wrong)?;
        // The registered queue takes nothing in. The one that the flow goes to has no memory of the program's, but an emulated device
        // counts what it writes there too. Its counters outlive its driver.
        let mut counters = vec![format!("rx{}_niov_bytes", queue ^ 1)];
        if Driver::of_this_guest()? == Driver::Software {
            counters.push(format!("rx{}_niov_bytes", nic::QUEUE));
        }
        let before = counters.iter().map(|counter| nic.stat(counter)).collect::<Result<Vec<_>>>()?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        let truth = foreign.until("something is received", STEP_LIMIT, |truth| {
            number(truth, "received_bytes").is_ok_and(|bytes| bytes > 0)
        })?;
        ensure!(number(&truth, "mismatched_bytes")? == 0, "bytes are not what was sent: {truth}");
        for (counter, before) in counters.iter().zip(before) {
            let written = nic.stat(counter)?.wrapping_sub(before);
            ensure!(written == 0, "the NIC wrote {written} bytes into the area ({counter})");
        }
        traffic.abandon()?;
        foreign.quit()
    },
};

/// Starts the program on the queue that the flow is steered to. Returns the address it listens on too.
fn start(nic: &Nic, faulty: &[&str]) -> Result<(Foreign, String)> {
    start_on(nic, nic::QUEUE, faulty)
}

/// Starts the program on this queue.
fn start_on(nic: &Nic, queue: u32, faulty: &[&str]) -> Result<(Foreign, String)> {
    let (listen, queue) = (Nic::address(), queue.to_string());
    let mut arguments = vec!["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
    arguments.extend(faulty);
    Ok((Foreign::start(&nic.rx, &arguments)?, listen))
}
