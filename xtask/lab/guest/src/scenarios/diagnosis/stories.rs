//! What a diagnosis must stand beyond a single cause: two causes at once, its own death, the future.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::harness::diagnosis::{
    BYTES, NEEDS, answer, causes, close, keep_recordings, named, seconds, watching,
};
use crate::harness::foreign::Foreign;
use crate::harness::nic::Nic;
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, program, work};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[TWO_CAUSES, KILLED, FORECAST];

/// Two mistakes at once.
const TWO_CAUSES: Scenario = Scenario {
    name: "two-causes",
    about: "a foreign program that holds each buffer for long, and drops some because they do not fit in a small refill ring: \
            both causes are named, in the order of their effect as far as it is believed",
    needs: NEEDS,
    proves: &[Proof::Causes(&["refill_ring_full"])],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let further = ["--fault", "slow-and-dropping=1500", "--refill-entries", "8"];
        let foreign = start(&nic, &further)?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?;
        let findings = eventually("both causes are named in an episode", STEP_LIMIT, || {
            let answer = answer(&daemon)?;
            let with_both = answer["queues"].as_array().into_iter().flatten().find(|queue| {
                let causes = causes(queue);
                !queue["episode"].is_null()
                    && ["slow_consumer", "refill_ring_full"]
                        .iter()
                        .all(|cause| causes.iter().any(|found| found == cause))
            });
            Ok(with_both.map(|queue| queue["diagnosis"]["causes"].clone()))
        })?;
        let named: Vec<(f64, &str, &str)> = findings
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|finding| {
                let confidence = finding["confidence"].as_str()?;
                Some((finding["effect"].as_f64()?, confidence, finding["cause"].as_str()?))
            })
            .collect();
        println!("{named:?}");
        // As docs/causes.md says.
        let weight = |(effect, confidence, _): &(f64, &str, &str)| {
            effect
                * match *confidence {
                    "high" => 1.0,
                    "medium" => 0.6,
                    _ => 0.25,
                }
        };
        let sorted = named.is_sorted_by(|a, b| weight(a) >= weight(b));
        ensure!(sorted, "not in the order of their effect and confidence: {named:?}");
        traffic.abandon()?;
        foreign.quit()?;
        close(daemon)
    },
};

/// A recording is read after the daemon was killed.
const KILLED: Scenario = Scenario {
    name: "killed-during-episode",
    about: "zcrxd is killed during an episode: its recording is there and replays, with the same cause",
    needs: NEEDS,
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let foreign = start(&nic, &["--fault", "never-return", "--fault-after", "1000000"])?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?;
        named(&daemon, "never_returned")?;
        daemon.kill()?;
        let kept = keep_recordings()?;
        ensure!(kept == 1, "{kept} recordings are there");
        let recordings = fs::read_dir(work().join("recordings")).context("nothing was recorded")?;
        let paths: Vec<_> = recordings.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let path = paths.iter().find(|path| path.is_file()).context("no recording")?;
        let output = nic.rx.command(program("zcrxd")).arg("replay").arg(path).output();
        let output = output.context("cannot replay")?;
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        ensure!(
            said.contains("cause: Never returned (leak)"),
            "the replay ({}) names no such cause",
            output.status
        );
        traffic.abandon()?;
        foreign.quit()
    },
};

/// What is foretold, held against what happens.
const FORECAST: Scenario = Scenario {
    name: "starvation-foretold",
    about: "under a steady leak the time to starvation is foretold within a factor of two of what then happens",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let listen = Nic::address();
        let foreign = Foreign::on_nic(
            &nic,
            &["--area-buffers", "8192", "--refill-entries", "8192", "--fault", "fragments=32"],
        )?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &listen, 4 * BYTES, &[])?;
        let mut foretold: Vec<(f64, f64)> = Vec::new();
        let starved = eventually("the leak has taken the area", Duration::from_mins(4), || {
            let answer = answer(&daemon)?;
            let Some(report) = answer["queues"].get(0) else { return Ok(None) };
            let at = seconds(&report["at"]);
            let known = &report["forecast"]["starvation"]["known"];
            if !known["in"].is_null() && foretold.last().is_none_or(|(last, _)| *last < at) {
                foretold.push((at, seconds(&known["in"])));
            }
            Ok((!foretold.is_empty() && known.as_str() == Some("now")).then_some(at))
        })?;
        traffic.abandon()?;
        // The last phase is as short as the interval between two samples; rates must be known before it.
        let judged: Vec<f64> = foretold
            .iter()
            .filter(|(at, _)| starved - at >= 4.0)
            .map(|(at, left)| left / (starved - at))
            .collect();
        println!(
            "starved at {starved:.1} s; foretold (at, left): {foretold:.1?}; foretold / true: {judged:.2?}"
        );
        ensure!(judged.len() >= 3, "it went too fast to be foretold");
        let close_ones = judged.iter().filter(|ratio| (0.5..=2.0).contains(*ratio)).count();
        ensure!(
            close_ones * 4 >= judged.len() * 3,
            "{close_ones} of {} are within a factor of two",
            judged.len()
        );
        foreign.quit()?;
        close(daemon)
    },
};

/// A foreign program on the NIC's queue.
fn start(nic: &Nic, further: &[&str]) -> Result<Foreign> {
    Foreign::on_nic(nic, &[&["--area-buffers", "1024"][..], further].concat())
}
