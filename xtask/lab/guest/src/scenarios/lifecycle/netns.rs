//! Queues in a network namespace that is not zcrxd's own, as a container's are.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::eventually;
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::Scenario;
use crate::harness::{STEP_LIMIT, output, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[NAMESPACE];

const CAP_SYS_ADMIN: libc::c_ulong = 21;

/// What is known of them, with and without the right to look.
const NAMESPACE: Scenario = Scenario {
    name: "other-namespace",
    about: "zcrxd reports the NIC's own figures of a queue in another network namespace; without CAP_SYS_ADMIN it says \
            that it cannot",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let queue = nic::QUEUE.to_string();
        let on_queue = ["--interface", nic::RX, "--queue", &queue];
        let foreign = Foreign::start(&nic.rx, &[&on_queue[..], &["--area-buffers", "64"]].concat())?;
        // A small area does not fill the NIC's ring.
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(()))
        })?;
        let privileged = queues(&mut nic.tx.command(program("zcrxd")))?;
        ensure!(privileged["nic_unknown"].is_null(), "it could not look: {privileged:#}");
        eventually("zcrxd and the NIC agree on failed allocations", STEP_LIMIT, || {
            let before = nic.stat("rx1_alloc_fail")?;
            let reported = queues(&mut nic.tx.command(program("zcrxd")))?["nic"]["alloc_fail"].as_u64();
            Ok((reported == Some(before) && before == nic.stat("rx1_alloc_fail")?).then_some(()))
        })?;
        ensure!(privileged["nic"]["ring"].is_u64(), "the receive ring's size is missing: {privileged:#}");

        let mut command = nic.tx.command(program("zcrxd"));
        // SAFETY: between fork and exec only prctl is called, which is a plain system call.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let barred = queues(&mut command)?;
        let reason = barred["nic_unknown"].as_str().unwrap_or_default();
        ensure!(reason.contains("CAP_SYS_ADMIN"), "no reason is given: {barred:#}");
        ensure!(
            barred["nic"]["alloc_fail"].is_null() && barred["owner"]["comm"] == "faulty-app",
            "{barred:#}"
        );
        foreign.quit()
    },
};

/// The one queue that `zcrxd queues` shows.
fn queues(command: &mut Command) -> Result<Value> {
    let text = output(command.args(["queues", "--format", "json"]))?;
    let queues: Vec<Value> = serde_json::from_str(&text).context("`zcrxd queues` printed no list")?;
    let [queue] = queues.as_slice() else { anyhow::bail!("{} queues are shown", queues.len()) };
    Ok(queue.clone())
}
