//! `zcrxd nic`: preparing an interface, and putting it back to the byte, as ethtool sees it.

mod steps;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use self::steps::{WANTED, by_ethtool, header_split, planned};
pub(super) use self::steps::{apply, done, killed, restore, run, split_is_lost, text, zcrxd};
use crate::harness::daemon::Daemon;
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, settled};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, program, work};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[APPLY_AND_RESTORE, KILLED, MEDDLED, REFUSED, BOUND, RUN];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
/// Kills of each sort, the first after one writing of the journal, each of the others after one more.
const KILLS: u32 = 8;

/// There and back, by zcrxd and by hand.
const APPLY_AND_RESTORE: Scenario = Scenario {
    name: "nic-apply-restore",
    about: "zcrxd nic apply does what the ethtool commands of its plan do, and restore leaves no trace",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: true,
    run: || {
        let nic = as_it_comes()?;
        there_and_back(&nic)?;
        set_by_hand(&nic)?;
        there_and_back(&nic)
    },
};

/// SIGKILL at many moments of apply and of restore.
const KILLED: Scenario = Scenario {
    name: "nic-killed",
    about: "after SIGKILL between any two steps of zcrxd nic apply or restore, restore leaves no trace",
    needs: NEEDS,
    proves: &[],
    limit: 500,
    default: false,
    run: || {
        let nic = as_it_comes()?;
        set_by_hand(&nic)?;
        let original = shown(&nic)?;
        done(apply(&nic))?;
        let prepared = shown(&nic)?;
        done(restore(&nic))?;
        let mut halfway = 0;
        for turn in 1..=KILLS {
            let died = killed(&mut apply(&nic), turn)?;
            let now = shown(&nic)?;
            halfway += u32::from(died && now != prepared && now != original);
            done(restore(&nic))?;
            same("after a killed apply", &original, &shown(&nic)?)?;
        }
        for turn in 1..=KILLS {
            done(apply(&nic))?;
            let died = killed(&mut restore(&nic), turn)?;
            let now = shown(&nic)?;
            halfway += u32::from(died && now != prepared && now != original);
            done(restore(&nic))?;
            same("after a killed restore", &original, &shown(&nic)?)?;
        }
        println!("{halfway} of {} kills left the interface halfway", 2 * KILLS);
        ensure!(halfway > 0, "no kill came halfway: this shows nothing");
        Ok(())
    },
};

/// Others work on the interface too.
const MEDDLED: Scenario = Scenario {
    name: "nic-meddled",
    about: "zcrxd nic restore reports what another program changed after apply, and leaves it alone",
    needs: NEEDS,
    proves: &[],
    limit: 120,
    default: true,
    run: || {
        let nic = as_it_comes()?;
        done(apply(&nic))?;
        nic.ethtool(&["-X", nic::RX, "weight", "1", "1", "1", "5"])?;
        nic.ethtool(&["-N", nic::RX, "flow-type", "udp4", "dst-port", "53", "action", "2", "loc", "3"])?;
        let table = nic.ethtool(&["-x", nic::RX])?;
        let output = done(restore(&nic))?;
        for what in ["RSS table", "flow rule 3"] {
            let reports_it = |line: &str| line.contains("another program") && line.contains(what);
            ensure!(output.lines().any(reports_it), "{what} is not reported: {output}");
        }
        ensure!(nic.ethtool(&["-x", nic::RX])? == table, "the RSS table of the other program is gone");
        let rules = nic.ethtool(&["-n", nic::RX])?;
        ensure!(rules.contains("Total 1 rules"), "rules beside that of the other program are left: {rules}");
        ensure!(header_split(&nic)? == (nic::SPLIT_OFF, 0), "header split is not off again");
        Ok(())
    },
};

/// What cannot be done is not begun, or is taken back.
const REFUSED: Scenario = Scenario {
    name: "nic-refused",
    about: "when zcrxd nic apply may not, cannot or fails halfway, it changes nothing and reports the reason",
    needs: NEEDS,
    proves: &[],
    limit: 120,
    default: true,
    run: || {
        const UNPRIVILEGED_USER: u32 = 65534;
        let nic = as_it_comes()?;
        set_by_hand(&nic)?;
        let original = shown(&nic)?;
        let refused = |what: &str, output: Output, words: &str| -> Result<()> {
            let said = text(&output);
            ensure!(output.status.code() == Some(3), "{what}: {} {said}", output.status);
            ensure!(said.contains(words), "{what}: {words:?} is not in {said}");
            same(what, &original, &shown(&nic)?)
        };
        let unprivileged = nic.rx.enter(|| {
            // Run from a thread inside the namespace, because its child gives root up before it could enter.
            let mut command = Command::new(program("zcrxd"));
            command.args(["nic", "apply", nic::RX]).args(WANTED).uid(UNPRIVILEGED_USER);
            command.output().context("cannot run zcrxd")
        })?;
        refused("without permission", unprivileged, "needs CAP_NET_ADMIN")?;
        let mut taken = zcrxd(&nic, "apply");
        taken.args([nic::RX, "--queues", "1", "--flow", "tcp4:80"]);
        refused("a flow with a rule", run(taken)?, "rule 5 sends it to queue 2")?;
        let mut too_many = zcrxd(&nic, "apply");
        too_many.args([nic::RX, "--queues", "99"]);
        refused("a queue there is not", run(too_many)?, "at least 100 receive queues")?;
        // Header split restarts the queues, by when the RSS table is set already.
        nic.knob("fail_queue_alloc", "1")?;
        refused("a driver that fails halfway", run(apply(&nic))?, "everything before it was taken back")?;
        ensure!(
            done(restore(&nic))?.contains("Nothing to put back"),
            "a journal is left of what was taken back"
        );
        done(apply(&nic)).map(drop)
    },
};

/// A queue in use holds the settings it depends on.
const BOUND: Scenario = Scenario {
    name: "nic-bound",
    about: "restore under a registered queue says what the kernel says, keeps its journal, and succeeds afterwards",
    needs: NEEDS,
    proves: &[],
    limit: 120,
    default: true,
    run: || {
        let nic = as_it_comes()?;
        let original = shown(&nic)?;
        done(apply(&nic))?;
        let foreign = Foreign::start(&nic.rx, &["--interface", nic::RX, "--queue", "3"])?;
        let bound = run(zcrxd(&nic, "show"))?;
        ensure!(text(&bound).contains("zcrx"), "the queue's owner is not shown: {}", text(&bound));
        let refused = run(restore(&nic))?;
        let said = text(&refused);
        ensure!(refused.status.code() == Some(3), "restore under a queue: {} {said}", refused.status);
        ensure!(said.contains("memory provider"), "the kernel's words are lost: {said}");
        foreign.quit()?;
        // The kernel lets go of the queue a little later.
        eventually("everything is back", STEP_LIMIT, || {
            Ok(run(restore(&nic))?.status.success().then_some(()))
        })?;
        same("after the queue is gone", &original, &shown(&nic)?)
    },
};

/// Applies, compares with the plan's own commands run by ethtool, and restores.
fn there_and_back(nic: &Nic) -> Result<()> {
    let original = shown(nic)?;
    let commands = planned(nic)?;
    ensure!(!commands.is_empty(), "there is nothing to prepare");
    done(apply(nic))?;
    let prepared = shown(nic)?;
    ensure!(planned(nic)?.is_empty(), "after apply the plan still has steps");
    // What it is all for.
    nic.rx.run(
        program("faulty-app").to_str().context("paths are UTF-8 here")?,
        &["register", "--interface", nic::RX, "--queue", "3"],
    )?;
    done(restore(nic))?;
    same("after restore", &original, &shown(nic)?)?;
    for command in &commands {
        by_ethtool(nic, command)?;
    }
    same("by the plan's commands", &prepared, &shown(nic)?)?;
    // The way back from there is ethtool's own affair: apply finds nothing to do, and so notes nothing.
    done(apply(nic))?;
    ensure!(done(restore(nic))?.contains("Nothing to put back"), "zcrxd put back what it had not changed");
    plain(nic)
}

/// zcrxd prepares the interface itself.
const RUN: Scenario = Scenario {
    name: "run-prepares",
    about: "zcrxd run with prepare = true sets the interface up, receives without a copy and leaves no trace, at its end or, \
            after SIGKILL, at the end of the next run; without permission it says what is to be done",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 4 << 20;
        let nic = as_it_comes()?;
        let original = shown(&nic)?;
        let listen = format!("{}:7777", nic::RX_ADDRESS);
        let arguments =
            ["--interface", nic::RX, "--queue", "1", "--prepare", "--listen", &listen, "--sink", "verify"];
        let arguments = [&arguments[..], &["--no-probes"]].concat();

        let log = Daemon::start_unprivileged(&nic.rx, &arguments)?.stop()?;
        ensure!(log.contains("ethtool -G zcn0"), "the log names no command for an unprivileged user: {log}");
        same("an ordinary user's run", &original, &shown(&nic)?)?;
        fs::remove_dir_all(work().join("run")).context("cannot remove the runtime directory")?;

        let arguments = [&arguments[..], &["--backend", "device"]].concat();
        Daemon::start(&nic.rx, &arguments)?.kill()?;
        ensure!(shown(&nic)? != original, "nothing was prepared");
        let mut daemon = Daemon::start(&nic.rx, &arguments)?;
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;
        let written = nic.stat("rx1_niov_bytes")?;
        ensure!(written >= BYTES, "the NIC wrote {written} bytes into the area");
        daemon.stop()?;
        same("a killed run and another", &original, &shown(&nic)?)
    },
};

/// The pair with the receiving end as the driver sets it up.
pub(super) fn as_it_comes() -> Result<Nic> {
    let nic = Nic::pair()?;
    plain(&nic)?;
    Ok(nic)
}

/// Undoes whatever was set.
fn plain(nic: &Nic) -> Result<()> {
    let rules = nic.ethtool(&["-n", nic::RX])?;
    for rule in rules.lines().filter_map(|line| line.strip_prefix("Filter: ")) {
        nic.ethtool(&["-N", nic::RX, "delete", rule])?;
    }
    nic.ethtool(&["-X", nic::RX, "default"])?;
    nic.header_split(false, 0)
}

/// A configuration that an administrator made by hand.
fn set_by_hand(nic: &Nic) -> Result<()> {
    nic.ethtool(&["-X", nic::RX, "weight", "3", "1", "1", "3"])?;
    nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", "80", "action", "2", "loc", "5"])?;
    nic.ethtool(&["-N", nic::RX, "flow-type", "udp6", "src-port", "53", "action", "-1", "loc", "9"])?;
    nic.ethtool(&["-K", nic::RX, "gro", "off"])?;
    nic.header_split(false, 300)
}

/// Everything ethtool shows of what zcrxd may change, and the threshold that older ethtools do not show.
pub(super) fn shown(nic: &Nic) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    for option in ["-g", "-l", "-x", "-n", "-k"] {
        shown.extend(nic.ethtool(&[option, nic::RX])?.lines().map(str::to_owned));
    }
    shown.push(format!("{:?}", header_split(nic)?));
    Ok(shown)
}

pub(super) fn same(when: &str, expected: &[String], found: &[String]) -> Result<()> {
    let differences: Vec<String> = expected
        .iter()
        .zip(found)
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("{expected:?} is {found:?}"))
        .collect();
    ensure!(differences.is_empty() && expected.len() == found.len(), "{when}: {}", differences.join("; "));
    Ok(())
}
