//! Refill starvation of a zcrx queue, made by each fault that an application can have.

use anyhow::{Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] =
    &[NEVER_RETURN, SLOW, NOT_READING, CQ_STALL, RING_OVERFLOW, BAD_TOKEN];

/// What is sent in each: more than the area holds.
const BYTES: u64 = 16 << 20;

/// Whether the application can remedy itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// After `resume` all buffers are back and the transfer ends well.
    Heals,
    /// Buffers are lost for good: only the end of the application frees them.
    Lost,
}

macro_rules! starvation {
    ($constant:ident, $name:literal, $fault:literal, $about:literal, $default:literal, $end:expr, $signature:expr) => {
        const $constant: Scenario = Scenario {
            name: $name,
            about: $about,
            needs: &[Need::Guest, Need::Zcrx, Need::Nic],
            proves: &[],
            limit: 240,
            default: $default,
            run: || starve($fault, $end, $signature),
        };
    };
}

starvation!(
    NEVER_RETURN,
    "starved-by-leak",
    "never-return",
    "an application that returns nothing runs its queue dry; returning all heals it",
    true,
    End::Heals,
    |truth| Ok(number(truth, "held")? > 0)
);
starvation!(
    SLOW,
    "starved-by-slow-consumer",
    "slow=2000",
    "an application that holds each buffer for two seconds runs its queue dry; catching up heals it",
    false,
    End::Heals,
    |truth| Ok(number(truth, "held")? > 0)
);
starvation!(
    NOT_READING,
    "starved-by-unread-socket",
    "not-reading",
    "an application that does not arm its receive leaves the buffers in the socket; arming it heals",
    false,
    End::Heals,
    |truth| Ok(number(truth, "held")? == 0 && number(truth, "cq_ready")? == 0)
);
starvation!(
    CQ_STALL,
    "starved-by-unreaped-completions",
    "cq-stall",
    "an application that reaps no completions leaves the buffers in the ring; reaping heals",
    false,
    End::Heals,
    |truth| Ok(number(truth, "cq_ready")? > 0)
);
starvation!(
    RING_OVERFLOW,
    "starved-by-dropped-returns",
    "ring-overflow",
    "an application that drops returns when its refill ring is full loses buffers for good",
    false,
    End::Lost,
    |truth| Ok(number(truth, "dropped")? > 0)
);
starvation!(
    BAD_TOKEN,
    "starved-by-bad-entries",
    "bad-token=2",
    "refill entries that name no area are consumed without effect: their buffers are missing until returned rightly",
    false,
    End::Heals,
    |truth| Ok(number(truth, "bad")? > 0 && number(truth, "held")? > 0)
);

/// Makes the fault, waits until the NIC finds no buffer, checks the application's own account, ends the fault.
fn starve(fault: &str, end: End, signature: fn(&Value) -> Result<bool>) -> Result<()> {
    let nic = Nic::pair()?;
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    // An armed receive goes on by itself: this fault must be there before the first is armed.
    let after = if fault == "not-reading" { "0" } else { "1000000" };
    if fault == "not-reading" {
        // The socket must take more than the area has from the start (it grows only for those who read), or TCP's
        // window ends the flow before the buffers do.
        nic.receive_buffers(4 * BYTES, 4 * BYTES)?;
    }
    let mut arguments = vec!["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
    arguments.extend(["--area-buffers", "1024", "--fault", fault, "--fault-after", after]);
    if fault == "ring-overflow" {
        // So small that each batch of completions overflows it, however soon the kernel takes what is in it.
        arguments.extend(["--refill-entries", "8"]);
    }
    let mut foreign = Foreign::start(&nic.rx, &arguments)?;
    let bytes = if end == End::Lost { 8 * BYTES } else { BYTES };
    let traffic = Traffic::start(&nic.tx, &listen, bytes, &[])?;
    eventually(
        "the NIC finds no buffer",
        STEP_LIMIT,
        || Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(())),
    )?;
    let truth = foreign.until("the fault shows", STEP_LIMIT, |truth| signature(truth).unwrap_or(false))?;
    let (delivered, returned) = (number(&truth, "delivered")?, number(&truth, "returned")?);
    ensure!(
        number(&truth, "held")? == delivered - returned,
        "the application's account does not add up: {truth}"
    );
    match end {
        End::Heals => {
            foreign.order("resume")?;
            traffic.finish(TRANSFER_LIMIT)?;
            foreign.settle_and_quit()
        }
        End::Lost => {
            traffic.abandon()?;
            foreign.order("resume")?;
            let truth = foreign.truth()?;
            let lost = number(&truth, "dropped")?;
            ensure!(number(&truth, "held")? >= lost, "{lost} dropped, yet fewer are held: {truth}");
            foreign.quit()
        }
    }
}
