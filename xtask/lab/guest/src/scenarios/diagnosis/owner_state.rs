//! What the thread of a starving queue does, seen from outside: its scheduler state and its kernel stack.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::diagnosis::{answer, causes, episodes};
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::Nic;
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[OWNER_STATES];

/// More than the area holds.
const BYTES: u64 = 64 << 20;
/// The cgroup whose processes get little CPU time.
const THROTTLED: &str = "/sys/fs/cgroup/throttled";

/// Lets a process have so many microseconds of CPU time in each tenth of a second.
pub(super) fn throttle(pid: u32, microseconds: u32) -> Result<()> {
    let write = |path: &str, text: &str| {
        fs::write(path, text).with_context(|| format!("cannot write {text} to {path}"))
    };
    write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu")?;
    fs::create_dir_all(THROTTLED).context("cannot make a cgroup")?;
    write(&format!("{THROTTLED}/cpu.max"), &format!("{microseconds} 100000"))?;
    write(&format!("{THROTTLED}/cgroup.procs"), &pid.to_string())
}

/// One way in which an owner does not run.
struct Case {
    name: &'static str,
    /// Brings the owner into the state.
    enter: fn(&mut Foreign) -> Result<()>,
    /// States that the scheduler may then show.
    run: &'static [&'static str],
    /// A kernel function that the thread is in; `None` where it runs now and then.
    within: Option<&'static str>,
    /// The cause that is named first.
    cause: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "stopped by SIGSTOP",
        enter: |owner| owner.signal(libc::SIGSTOP),
        run: &["stopped"],
        within: Some("do_signal_stop"),
        cause: "owner_not_running",
    },
    Case {
        name: "in uninterruptible sleep",
        enter: |owner| owner.order("block-uninterruptibly"),
        run: &["uninterruptible"],
        within: Some("kernel_clone"),
        cause: "owner_not_running",
    },
    Case {
        name: "blocked in write(2)",
        enter: |owner| owner.order("block-in-write"),
        run: &["sleeping"],
        within: Some("pipe_write"),
        // It sleeps as any thread does that waits for work, and reads nothing.
        cause: "slow_consumer",
    },
    Case {
        name: "throttled by cpu.max",
        enter: |owner| throttle(owner.pid(), 1000),
        run: &["running", "sleeping"],
        within: None,
        cause: "owner_not_running",
    },
];

const OWNER_STATES: Scenario = Scenario {
    name: "owner-states",
    about: "of a starving queue of another program whose thread is stopped, in uninterruptible sleep, blocked in write(2) or \
            throttled by cpu.max, `zcrxd diagnose --format json` has state and kernel stack of that thread, and names \
            the cause first",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Causes(&["owner_not_running"])],
    limit: 600,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        // What the owner does not take waits in sockets, which have room for the whole area.
        nic.receive_buffers(64 << 20, 64 << 20)?;
        let mut daemon = Daemon::start(&nic.rx, &[])?;
        for case in &CASES {
            show(&nic, &mut daemon, case).with_context(|| case.name)?;
        }
        daemon.stop().map(drop)
    },
};

fn show(nic: &Nic, daemon: &mut Daemon<'_>, case: &Case) -> Result<()> {
    let listen = Nic::address();
    let mut owner = Foreign::on_nic(nic, &["--area-buffers", "1024"])?;
    let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
    owner.until("it receives", STEP_LIMIT, |truth| {
        number(truth, "received_bytes").is_ok_and(|bytes| bytes > 0)
    })?;
    (case.enter)(&mut owner)?;
    daemon.until("the queue starves", STEP_LIMIT, |metrics| {
        metrics.sum("zcrx_queue_starving").is_some_and(|n| n > 0.0)
    })?;
    let pid = u64::from(owner.pid());
    let mut last = Value::Null;
    let shown = eventually("state and stack are shown", STEP_LIMIT, || {
        // The diagnosis is made once a second: it may not know the queue yet.
        let Some(task) = consumer(&daemon.diagnose_json()?, pid) else { return Ok(None) };
        last = task;
        let stack = last["kernel_stack"].as_array();
        let within = |function: &str| {
            let mut lines = stack.into_iter().flatten().filter_map(Value::as_str);
            lines.any(|line| line.contains(function))
        };
        let throttled = last["throttled"]["secs"].as_u64().zip(last["throttled"]["nanos"].as_u64());
        let right = match case.within {
            Some(function) => within(function),
            None => stack.is_some() && throttled.is_some_and(|time| time > (0, 0)),
        };
        let in_state = last["run"].as_str().is_some_and(|run| case.run.contains(&run));
        Ok((right && in_state).then_some(()))
    });
    shown.with_context(|| format!("the thread is shown as {last}"))?;
    println!("{}: {last}", case.name);
    ensure!(last["pid"].as_u64() == Some(pid), "the thread of another process is shown: {last}");
    let mut named = Vec::new();
    let right = eventually("the cause is named first", STEP_LIMIT, || {
        // The episodes of the cases before are over and still listed.
        let episodes = episodes(&answer(daemon)?);
        let episode = episodes.into_iter().find(|episode| episode["owner"]["pid"].as_u64() == Some(pid));
        named = episode.as_ref().map(causes).unwrap_or_default();
        Ok(named.first().is_some_and(|first| first == case.cause).then_some(()))
    });
    right.with_context(|| format!("the causes named are {named:?}"))?;
    owner.kill()?;
    traffic.abandon()?;
    daemon
        .until("the queue is gone", STEP_LIMIT, |metrics| metrics.of("zcrx_queue_info").next().is_none())
        .map(drop)
}

/// The consuming thread of the first ring that a process holds.
fn consumer(report: &Value, pid: u64) -> Option<Value> {
    let queues = report["queues"].as_array()?;
    let rings = queues.iter().flat_map(|queue| queue["report"]["rings"].as_array().into_iter().flatten());
    let mut tasks = rings.map(|ring| &ring["consumer"]);
    tasks.find(|task| task["pid"].as_u64() == Some(pid)).cloned()
}
