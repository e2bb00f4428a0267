//! The state of the NAPI instance that polls a queue, against what sysfs has for its interface.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::Scenario;
use crate::harness::{STEP_LIMIT, eventually};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[NAPI];

const NAPI: Scenario = Scenario {
    name: "napi-state",
    about: "`zcrxd diagnose` shows the NAPI instance of another program's queue: not scheduled while no packet comes, in a kernel \
            thread exactly while the interface is set to that",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 200,
    default: true,
    run: || {
        let nic = Nic::into_this_host()?;
        let foreign = Foreign::on_nic(&nic, &[])?;
        let daemon = Daemon::start(&nic.rx, &[])?;
        for threaded in [false, true, false] {
            let path = format!("/sys/class/net/{}/threaded", nic::RX);
            fs::write(&path, if threaded { "1" } else { "0" })
                .with_context(|| format!("cannot write {path}"))?;
            let mut last = Value::Null;
            let shown = eventually("zcrxd shows it", STEP_LIMIT, || {
                last = napi(&daemon)?;
                Ok((last["threaded"] == threaded).then_some(()))
            });
            shown.with_context(|| format!("threaded is {threaded}, zcrxd shows {last}"))?;
        }
        let idle = napi(&daemon)?;
        ensure!(idle["scheduled"] == false && idle["disabled"] == false, "no packet comes: {idle}");
        ensure!(idle["irq_suspend"]["secs"] == 0, "no program may suspend interrupts: {idle}");
        daemon.stop()?;
        foreign.quit()
    },
};

/// The instance of the only queue.
fn napi(daemon: &Daemon<'_>) -> Result<Value> {
    let report = daemon.diagnose_json()?;
    let queues = report["queues"].as_array().context("no list of queues")?;
    ensure!(queues.len() == 1, "{} queues", queues.len());
    Ok(queues[0]["report"]["napi"].clone())
}
