//! `docs/causes.md`: the rules as a page.

use std::fmt::Write;

use super::causes::RULES;
use super::rule::{Produced, Rule};
use crate::model::Cause;
use crate::proofs;

const HEAD: &str = "\
# Causes of starvation

The causes that zcrxd can name, each with its signature and its remedy. This page is generated from the rules of the
diagnosis (`zcrx-daemon/src/diagnose/causes`, one file each): change those, then regenerate with

    cargo xtask regenerate

Several causes can hold at once. zcrxd names them in the order of their contribution, weighted by confidence: high counts
in full, medium six tenths, low a quarter. If this host does not report a figure that a cause needs, zcrxd leaves the cause
out and names the figure.

The column Named says with which sample after the begin of an episode zcrxd names the cause first. The kernel's time stamp
is the begin. zcrxd takes a sample every second (`interval`), or less often if one takes longer. The first sample may come a
moment after the begin; the second shows that the problem lasts. The scenarios check these times.

The last column says which scenarios of the [lab](../xtask/lab/README.md) produce the cause, each run by
`cargo xtask lab run --scenario NAME`, or why there is none.

| | Name | Cause | What it looks like | What to do | Named | Produced |
|---|---|---|---|---|---|---|
";

const BY_SECOND: &str = "by the second sample";

const TAIL: &str = "
## On zcrxd's queues

The lab produces A, C and I on zcrxd's queues too (`diagnosed-own-*`). zcrxd is built to avoid most of the others, on the kernels
that the software NIC is built for (Linux 7.2 and 7.3). It arms a receive on every connection, or reports that it paused the
connection (B). It flushes a full refill ring and stashes entries that do not fit (D). It accounts for each buffer and returns it
once (E, G). It flushes the ring of a queue without a device (L). It raises a completion queue of 8 entries to 256; after an
occasional ENOSPC it drains the queue and arms the receive again: three in a minute, and no episode (J). F and H depend on the
kernel and the NIC, not on the owner. K and M have scenarios of their own (`diagnosed-own-missteered_flow`,
`diagnosed-own-pinned_after_teardown`).

## What zcrxd does not name

These conditions can starve a queue or slow it down. zcrxd raises no alarm of their own for them:

* **Receive ring larger than the area**: zcrxd says so with the first sample of the queue, in `zcrxd diagnose`, in `zcrxd top` and on
  the page, and raises no alarm. Once packets are lost because of that, it is C.
* **Pause frames**: a NIC that sends them stops its link partner while a queue starves, so that packets for all other queues of the
  port wait and no drop is counted. The verdict of a starving queue says so where `ethtool -a` shows TX on.
* **Small packets**: each takes a whole buffer. zcrxd names what keeps the buffers (A, B or C), and B's evidence says how few bytes a
  buffer holds.
* **TCP memory pressure**: the kernel then drops queued data and shrinks receive windows. It counts that for a whole network
  namespace, not for a queue, so that zcrxd cannot tell which queue it hits: `nstat -az TcpExtTCPMemoryPressures TcpExtPruneCalled TcpExtTCPRcvCollapsed`.
* **NAPI without CPU time** (softirqs deferred to ksoftirqd): the NIC drops packets although buffers are free, so that no queue
  starves and zcrxd raises no alarm. The third column of `/proc/net/softnet_stat` rises. zcrxd counts no NAPI polls, because a
  probe there costs too much.
* **NUMA distance**: buffers on another node than the NIC slow the owner down, and zcrxd names A at most. Compare
  `/sys/class/net/IF/device/numa_node` with the node of the owner's memory in `/proc/PID/numa_maps`. The lab's machine has one node,
  so that nothing shows there how much slower an owner gets.
* **Driver reset or link flap**: the queue stays one queue with its history, and the verdict says how often the driver restarted it.
  A reset takes less than 2.5 s and is no alarm; a longer one is `interface_down`, which ends by itself.
";

/// The table of causes, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for rule in RULES {
        let letter = rule.letter.map(String::from).unwrap_or_default();
        let name = rule.cause.name();
        let (title, signature, remedy) = (rule.title, rule.signature, rule.remedy);
        let produced = produced(rule);
        let named = rule.late.map_or_else(|| BY_SECOND.to_owned(), |why| format!("later: {why}"));
        writeln!(page, "| {letter} | `{name}` | {title} | {signature} | {remedy} | {named} | {produced} |")
            .expect("writing to a String cannot fail");
    }
    page.push_str(TAIL);
    page
}

/// Returns a page on one cause for the runbook: its signature and its remedy.
pub fn explain(cause: Cause) -> String {
    let letter = cause.letter().map(|letter| format!(", cause {letter}")).unwrap_or_default();
    let head = format!("# {} ({}{letter})\n", super::title(cause), cause.name());
    let rule = RULES.iter().find(|rule| rule.cause == cause);
    let body = rule.map(|rule| {
        format!("\n## What it looks like\n\n{}\n\n## What to do\n\n{}\n", rule.signature, rule.remedy)
    });
    head + &body.unwrap_or_default()
}

fn produced(rule: &Rule) -> String {
    match rule.produced {
        Produced::Lab { how, kernels } => {
            let scenarios = proofs::markdown(&format!("cause {}", rule.cause.name()));
            format!("{how}: {scenarios} (Linux {kernels})")
        }
        Produced::Not(why) => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_proved_by_a_scenario_exactly_if_the_lab_produces_it() {
        for rule in RULES {
            let proved = proofs::statements("cause").any(|name| name == rule.cause.name());
            assert_eq!(proved, matches!(rule.produced, Produced::Lab { .. }), "{}", rule.title);
        }
        for name in proofs::statements("cause") {
            assert!(RULES.iter().any(|rule| rule.cause.name() == name), "there is no cause {name}");
        }
    }

    #[test]
    fn causes_are_current() -> std::io::Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/causes.md");
        let current = reference();
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            std::fs::write(path, &current)?;
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == current, "docs/causes.md is stale: cargo xtask regenerate");
        Ok(())
    }
}
