//! What Meta's fbnic driver does differently from others, and what zcrxd says and does about it.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::drivers::{leaking, only_on, pair_on};
use crate::harness::diagnosis::{answer, watching};
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, program};

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
const OBSERVED: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf];

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[CONFIGURED, RING, PAUSE];

/// Header split is always reported on.
const CONFIGURED: Scenario = Scenario {
    name: "fbnic-configured",
    about: "fbnic reports header split on before it is configured, and registrations fail: after `zcrxd nic apply` they succeed, \
            and after `zcrxd nic restore` they fail again",
    needs: NEEDS,
    proves: &[],
    limit: 200,
    default: false,
    run: || {
        only_on(Driver::Fbnic)?;
        let nic = Nic::unprepared("")?;
        let registers = || -> Result<bool> {
            let queue = nic::QUEUE.to_string();
            match Foreign::start(&nic.rx, &["--interface", nic::RX, "--queue", &queue]) {
                Ok(foreign) => foreign.quit().map(|()| true),
                Err(error) => {
                    println!("{error:#}");
                    Ok(false)
                }
            }
        };
        let reported = nic.ethtool(&["-g", nic::RX])?;
        let is_on = reported
            .lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| name == "TCP data split" && value.trim() == "on");
        ensure!(is_on, "header split is not reported on: {reported}");
        ensure!(!registers()?, "a queue can be registered before header split is configured");
        let queue = nic::QUEUE.to_string();
        let plan = zcrxd(&nic, &["nic", "plan", nic::RX, "--queues", &queue])?;
        ensure!(plan.status.code() == Some(1), "the plan has nothing to do: {}", said(&plan));
        let applied = zcrxd(&nic, &["nic", "apply", nic::RX, "--queues", &queue])?;
        ensure!(applied.status.success(), "apply: {}", said(&applied));
        ensure!(registers()?, "no queue can be registered after `nic apply`");
        let restored = zcrxd(&nic, &["nic", "restore", nic::RX])?;
        ensure!(restored.status.success(), "restore: {}", said(&restored));
        ensure!(!registers()?, "header split is still configured after `nic restore`");
        Ok(())
    },
};

/// Payload is posted in a ring of its own.
const RING: Scenario = Scenario {
    name: "fbnic-ring",
    about: "zcrxd compares the area of a queue with the ring that payload is posted in (rx-jumbo, 256) and not with `rx` (1024): \
            an area of 600 buffers is enough, one of 300 is not",
    needs: OBSERVED,
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        let nic = pair_on(Driver::Fbnic)?;
        let daemon = watching(&nic.rx, &[])?;
        for (buffers, small) in [("600", false), ("300", true)] {
            let queue = nic::QUEUE.to_string();
            let arguments = ["--interface", nic::RX, "--queue", &queue, "--area-buffers", buffers];
            let foreign = Foreign::start(&nic.rx, &arguments)?;
            eventually("zcrxd knows the queue and its ring", STEP_LIMIT, || {
                let answer = answer(&daemon)?;
                let notes = answer["queues"][0]["verdict"]["notes"].as_array();
                let Some(notes) = notes else { return Ok(None) };
                let says = notes.iter().any(|note| {
                    note.as_str().is_some_and(|note| note.starts_with("the receive ring of 256 buffers"))
                });
                Ok((says == small).then_some(()))
            })
            .with_context(|| format!("with an area of {buffers} buffers"))?;
            foreign.quit()?;
        }
        daemon.stop().map(drop)
    },
};

/// Pause frames. What the driver negotiates by itself, `ethtool -a` does not show.
const PAUSE: Scenario = Scenario {
    name: "fbnic-pause",
    about: "with pause frames switched on, zcrxd says that other queues wait while one starves, with the command that ends it, and \
            no longer says so after that command",
    needs: OBSERVED,
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        const WORDS: &str = "the NIC sends pause frames";
        let nic = pair_on(Driver::Fbnic)?;
        nic.ethtool(&["-A", nic::RX, "autoneg", "off", "tx", "on"])?;
        let mut daemon = watching(&nic.rx, &[])?;
        let foreign = leaking(&nic)?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), 64 << 20, &[])?;
        daemon.until("the starvation shows", STEP_LIMIT, |metrics| {
            metrics.sum("zcrx_queue_starving") == Some(1.0)
        })?;
        let note = || -> Result<Option<String>> {
            let answer = answer(&daemon)?;
            let mut notes = answer["queues"][0]["verdict"]["notes"].as_array().into_iter().flatten();
            Ok(notes.find_map(|note| note.as_str().filter(|note| note.contains(WORDS)).map(str::to_owned)))
        };
        let says = eventually("the verdict names pause frames", STEP_LIMIT, note)?;
        println!("{says}");
        let command = says.rsplit_once(", ethtool ").context("the note has no command")?.1;
        nic.ethtool(&command.split(' ').collect::<Vec<_>>())?;
        eventually("the verdict no longer names them", STEP_LIMIT, || Ok(note()?.is_none().then_some(())))?;
        ensure!(
            daemon.metrics()?.sum("zcrx_queue_starving") == Some(1.0),
            "the queue recovered, so the second half shows nothing"
        );
        drop(traffic);
        foreign.kill()?;
        daemon.stop().map(drop)
    },
};

fn zcrxd(nic: &Nic, arguments: &[&str]) -> Result<Output> {
    nic.rx.command(program("zcrxd")).args(arguments).output().context("cannot run zcrxd")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
