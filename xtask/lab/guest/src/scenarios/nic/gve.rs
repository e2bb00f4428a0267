//! What Google's gve driver does differently from others, and what zcrxd says and does about it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::drivers::{leaking, only_on, pair_on, restart};
use crate::harness::diagnosis::{close, named_in_the_end, watching};
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::process::Process;
use crate::harness::receiver::{TRANSFER_LIMIT, expect, on_device, settled};
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, facts, kernel_release, program, work};

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
const OBSERVED: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf];

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[FIRST_QUEUE, RESET, COUNTERS, STEPS, DEAD];

/// Queue 0 cannot be given away.
const FIRST_QUEUE: Scenario = Scenario {
    name: "gve-first-queue",
    about: "`zcrxd nic plan` and `zcrxd run` refuse queue 0 of gve before the driver does, which would have the kernel warn, and \
            name a queue that it gives away",
    needs: NEEDS,
    proves: &[],
    limit: 200,
    default: false,
    run: || {
        let nic = pair_on(Driver::Gve)?;
        let plan =
            nic.rx.command(program("zcrxd")).args(["nic", "plan", nic::RX, "--queues", "0"]).output()?;
        let said =
            String::from_utf8_lossy(&plan.stdout).into_owned() + &String::from_utf8_lossy(&plan.stderr);
        println!("{said}");
        ensure!(!plan.status.success(), "the plan for queue 0 ends with {}", plan.status);
        ensure!(said.contains("gve") && said.contains("queue 0"), "the plan does not refuse queue 0: {said}");

        let mut daemon = nic.rx.command(program("zcrxd"));
        daemon.args(["run", "--interface", nic::RX, "--queue", "0", "--backend", "device", "--no-probes"]);
        daemon.args(["--listen", &Nic::address(), "--web.listen-address", "127.0.0.1:9965", "--runtime-dir"]);
        let mut daemon = Process::start("zcrxd", daemon.arg(work().join("run")))?;
        let status = daemon.wait(STEP_LIMIT)?;
        let said = daemon.stderr();
        println!("{said}");
        ensure!(!status.success(), "zcrxd takes queue 0 of gve: {said}");
        for words in ["ERANGE", "gve cannot stop queue 0", "choose queue 1 or a higher one"] {
            ensure!(said.contains(words), "zcrxd does not say {words:?}: {said}");
        }
        // Had zcrxd asked the driver, the kernel's warning would fail this scenario.
        Ok(())
    },
};

/// A reset deletes flow rules and the RSS table.
const RESET: Scenario = Scenario {
    name: "gve-reset",
    about: "a reset of the device deletes the rule and the RSS table; zcrxd, run with prepare = true, prepares the interface \
            again, and the next transfer is not copied",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const BYTES: u64 = 4 << 20;
        only_on(Driver::Gve)?;
        let nic = Nic::unprepared("")?;
        nic.patient_sender()?;
        let mut daemon = on_device(&nic, &["--prepare", "--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;
        let prepared = nic.ethtool(&["-n", nic::RX])?;
        ensure!(prepared.contains("Filter:"), "zcrxd made no rule: {prepared}");
        nic.ethtool(&["--reset", nic::RX, "all"])?;
        nic.receiving().wait_for_carrier()?;
        eventually("zcrxd prepares the interface again", STEP_LIMIT, || {
            Ok((nic.ethtool(&["-n", nic::RX])? == prepared).then_some(()))
        })?;
        let placed = nic.stat("rx1_niov_bytes")?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", 2 * BYTES)?;
        let placed = nic.stat("rx1_niov_bytes")?.wrapping_sub(placed);
        ensure!(placed >= BYTES, "after the reset the NIC placed {placed} bytes of {BYTES} in the area");
        daemon.stop().map(drop)
    },
};

/// The driver's counters begin again at each reconfiguration.
const COUNTERS: Scenario = Scenario {
    name: "gve-counters",
    about: "while a foreign queue of gve starves, the driver's counters begin at zero with a new ring; zcrxd's own go on",
    needs: OBSERVED,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const FAILURES: &str = "zcrx_queue_allocation_failures_total";
        let nic = pair_on(Driver::Gve)?;
        let mut daemon = watching(&nic.rx, &[])?;
        let foreign = leaking(&nic)?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), 64 << 20, &[])?;
        eventually("the driver fails often", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 20).then_some(()))
        })?;
        daemon.until("zcrxd counts failures", STEP_LIMIT, |metrics| {
            metrics.sum(FAILURES).is_some_and(|failures| failures > 20.0)
        })?;
        let driver_before = nic.stat("rx1_alloc_fail")?;
        let before = daemon.metrics()?.count(FAILURES)?;
        nic.ethtool(&["-G", nic::RX, "rx", "512"])?;
        nic.receiving().wait_for_carrier()?;
        let driver_after = nic.stat("rx1_alloc_fail")?;
        println!("failures: driver {driver_before}, {driver_after} with a new ring; zcrxd {before}");
        ensure!(
            driver_after < driver_before,
            "the driver's counter went on: {driver_before}, {driver_after}"
        );
        daemon.until("zcrxd counts on", STEP_LIMIT, |metrics| {
            metrics.count(FAILURES).is_ok_and(|failures| failures > before)
        })?;
        drop(traffic);
        foreign.kill()?;
        daemon.stop().map(drop)
    },
};

/// The driver posts buffers in steps of 32.
const STEPS: Scenario = Scenario {
    name: "gve-steps",
    about: "areas of 16 and 31 buffers on gve, which posts 32 at a time, receive nothing, first cause area_too_small; one of 40, \
            the least that `zcrxd check` and `zcrxd nic plan` name, receives everything",
    needs: OBSERVED,
    proves: &[],
    limit: 700,
    default: false,
    run: || {
        const BYTES: u64 = 1 << 20;
        only_on(Driver::Gve)?;
        // No patient sender: with 40 buffers some packets find too few, and are sent again.
        let nic = Nic::pair()?;
        for said in [&["check", "--interface", nic::RX][..], &["nic", "plan", nic::RX, "--queues", "1"]] {
            let output = nic.rx.command(program("zcrxd")).args(said).output()?;
            let words = String::from_utf8_lossy(&output.stdout);
            ensure!(
                words.contains("at least 40 buffers"),
                "zcrxd {said:?} does not name 40 buffers: {words}"
            );
        }
        let listen = Nic::address();
        let start = |buffers: &str| Foreign::on_nic(&nic, &["--area-buffers", buffers]);
        for buffers in ["16", "31"] {
            let daemon = watching(&nic.rx, &[])?;
            let foreign = start(buffers)?;
            let mut traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
            named_in_the_end(&daemon, "area_too_small").with_context(|| format!("{buffers} buffers"))?;
            ensure!(traffic.running()?, "{buffers} buffers receive everything");
            traffic.abandon()?;
            foreign.kill()?;
            close(daemon)?;
        }
        let foreign = start("40")?;
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        foreign.settle_and_quit()
    },
};

/// Before Linux 7.2 the driver does not retry.
const DEAD: Scenario = Scenario {
    name: "gve-dead",
    about: "before Linux 7.2 a starved queue of gve stays dead when all buffers are back: zcrxd says so, and the command that it \
            prints revives the queue",
    needs: OBSERVED,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const BYTES: u64 = 16 << 20;
        let nic = pair_on(Driver::Gve)?;
        if retries(&kernel_release()) {
            return Err(Skip("gve retries by itself since Linux 7.2".to_owned()).into());
        }
        let daemon = watching(&nic.rx, &[])?;
        let mut foreign = leaking(&nic)?;
        let mut traffic = Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?;
        eventually("the ring runs dry: the NIC drops", STEP_LIMIT, || {
            Ok((nic.stat("rx1_drop_no_buffer")? > 0).then_some(()))
        })?;
        // Until then NAPI may run once more for packets that came before.
        thread::sleep(Duration::from_secs(5));
        foreign.order("resume")?;
        named_in_the_end(&daemon, "lazy_consumption")?;
        let said: Value = serde_json::from_str(&daemon.page("/diagnose.json")?)?;
        let remedy = said["queues"][0]["verdict"]["change"].as_str().context("a cause without a remedy")?;
        println!("{remedy}");
        let command = remedy
            .split('`')
            .find(|part| part.starts_with("ethtool -G "))
            .with_context(|| format!("no command in {remedy:?}"))?;
        facts::add("remedy of a dead queue", command)?;
        ensure!(
            command == format!("ethtool -G {} rx N", nic::RX),
            "another command than expected: {command}"
        );
        restart(&nic, &mut traffic)?;
        traffic.finish(TRANSFER_LIMIT)?;
        foreign.settle_and_quit()?;
        close(daemon)
    },
};

/// Whether gve asks for buffers again by itself.
fn retries(release: &str) -> bool {
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(7), Some(2))
}
