//! `zcrxd qualify` on a driver's ways with one behaviour altered: the report names that one, and nothing else.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::qualified::report;
use crate::harness::STEP_LIMIT;
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::random::{self, Random};
use crate::harness::scenario::{Scenario, Skip};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[ALTERED, DRIVER_ALTERED];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];

const PLAIN: &str = "plain";
const BNXT: &str = "bnxt";
const MLX5: &str = "mlx5";
const ALL: &[&str] = &[PLAIN, BNXT, MLX5];

/// Verdicts by test.
type Verdicts<'r> = BTreeMap<&'r str, &'r str>;
/// The same as a constant.
type Shows = &'static [(&'static str, &'static str)];

/// What the drivers' ways show without any alteration, other than passes.
const UNALTERED: [(&str, Shows); 1] = [(MLX5, &[("restart", "warn")])];

/// No test can do without a registration.
const NOTHING_REGISTERS: Shows = &[
    ("registration", "fail"),
    ("zero_copy", "fail"),
    ("small_packets", "fail"),
    ("header_split", "fail"),
    ("large_buffers", "fail"),
    ("starvation", "fail"),
    ("killed_owner", "fail"),
    ("interface_down", "fail"),
    ("soak", "fail"),
];

/// A behaviour that the NIC is given.
struct Alteration {
    name: &'static str,
    /// The drivers whose ways it changes.
    of: &'static [&'static str],
    /// Makes it. Returns the words by which the report must name it.
    make: fn(&Nic, &str, &mut Random) -> Result<Vec<String>>,
    /// The test whose finding has these words.
    names: &'static str,
    shows: Shows,
    /// What may follow from it, by chance or because a test cannot be made.
    may_show: Shows,
}

/// Failures that drivers report when a queue cannot be set up.
const ERRNOS: [(i32, &str); 3] = [(libc::ENOMEM, "ENOMEM"), (libc::ENOSPC, "ENOSPC"), (libc::EIO, "EIO")];
/// More registrations than a test has.
const EACH: u32 = 1_000_000;

const ALTERATIONS: [Alteration; 8] = [
    Alteration {
        name: "it does not look for buffers again",
        of: &[PLAIN],
        make: |nic, _, _| nic.knob("alloc_retry_never", "Y").map(|()| words("a new registration revives it")),
        names: "restart",
        shows: &[("restart", "warn")],
        may_show: &[],
    },
    Alteration {
        name: "it looks for buffers again",
        of: &[MLX5],
        make: |nic, _, random| {
            nic.knob("alloc_retry_ms", &(5 + random.below(200)).to_string())?;
            nic.knob("alloc_retry_never", "N").map(|()| words("receives again by itself"))
        },
        names: "restart",
        shows: &[("restart", "pass")],
        may_show: &[],
    },
    Alteration {
        name: "it does not split the headers of some packets",
        of: ALL,
        make: |nic, _, random| {
            nic.knob("lose_split_every", &(2 + random.below(8)).to_string())?;
            Ok(words("did not split their headers"))
        },
        names: "header_split",
        shows: &[("header_split", "fail")],
        // A large transfer has a few small packets. A starved queue receives packets that need no buffer, and its driver polls then.
        may_show: &[
            ("zero_copy", "fail"),
            ("small_packets", "fail"),
            ("large_buffers", "fail"),
            ("interface_down", "fail"),
            ("soak", "fail"),
            ("restart", "pass"),
        ],
    },
    Alteration {
        name: "it refuses each registration",
        of: ALL,
        make: |nic, personality, random| {
            split_headers(nic, personality)?;
            refuse(nic, EACH, random)
        },
        names: "registration",
        shows: NOTHING_REGISTERS,
        may_show: &[("restart", "pass")],
    },
    Alteration {
        name: "it refuses the first registrations",
        of: ALL,
        make: |nic, personality, random| {
            split_headers(nic, personality)?;
            let times = 2 + random.below(4);
            let mut words = refuse(nic, times, random)?;
            words.push(format!("refused {times} times, then registers"));
            Ok(words)
        },
        names: "registration",
        shows: &[("registration", "warn")],
        may_show: &[],
    },
    Alteration {
        name: "it fails to start a queue once",
        of: ALL,
        make: |nic, personality, _| {
            split_headers(nic, personality)?;
            nic.knob("fail_queue_start", "1").map(|()| words("EIO"))
        },
        names: "registration",
        shows: &[("registration", "warn")],
        may_show: &[],
    },
    Alteration {
        name: "its queues take no other memory",
        of: ALL,
        make: |nic, _, _| nic.knob("readable_pools", "Y").map(|()| words("ENODATA")),
        names: "registration",
        shows: NOTHING_REGISTERS,
        may_show: &[("restart", "pass")],
    },
    Alteration {
        name: "a rule sends the flow elsewhere",
        of: ALL,
        make: |nic, personality, _| {
            nic.ethtool(&["-K", nic::RX, "ntuple", "on"])?;
            let rule = ["-N", nic::RX, "flow-type", "tcp4", "src-ip", nic::TX_ADDRESS, "action", "0"];
            // bnxt takes the first place by itself, and no other.
            let place: &[&str] = if personality == BNXT { &[] } else { &["loc", "0"] };
            nic.ethtool(&[&rule[..], place].concat())?;
            Ok(words("arrived on another queue"))
        },
        names: "steering",
        shows: &[
            ("zero_copy", "fail"),
            ("steering", "fail"),
            ("small_packets", "fail"),
            ("header_split", "skip"),
            ("large_buffers", "skip"),
            ("starvation", "skip"),
            ("killed_owner", "skip"),
            ("interface_down", "skip"),
            ("soak", "skip"),
        ],
        may_show: &[("restart", "pass")],
    },
];

/// Takes the seed from `ZCRX_LAB_SEED` and the number of cases from `ZCRX_LAB_STEPS` of the environment in which the lab is started.
const ALTERED: Scenario = Scenario {
    name: "qualify-altered",
    about: "zcrxd qualify on the ways of plain, bnxt and mlx5 with one behaviour altered at random (restart after starvation, header \
            split, refused registrations, a rule that leads elsewhere) names that behaviour and nothing else, in 5 cases or as many \
            as ZCRX_LAB_STEPS says",
    needs: NEEDS,
    proves: &[],
    limit: 2400,
    default: false,
    run: || {
        let (seed, steps) = (random::seed(), random::steps(5));
        let mut random = Random::new(seed);
        let mut cases: Vec<(&str, &Alteration)> = Vec::new();
        for alteration in &ALTERATIONS {
            cases.extend(alteration.of.iter().map(|personality| (*personality, alteration)));
        }
        println!("seed {seed}: {steps} of {} cases", cases.len());
        let mut wrong = Vec::new();
        for _ in 0..steps.min(cases.len() as u32) {
            let (personality, alteration) = cases.swap_remove(random.below(cases.len() as u32) as usize);
            if let Err(error) = altered(personality, alteration, &mut random) {
                wrong.push(format!("{personality}: {}: {error:#}", alteration.name));
            }
            nic::remove(STEP_LIMIT)?;
        }
        ensure!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n"));
        Ok(())
    },
};

/// What an emulated device can do wrong too.
const DRIVER_ALTERED: Scenario = Scenario {
    name: "qualify-driver-altered",
    about: "zcrxd qualify on the guest's driver fails in header_split once the device does not split the headers of some packets, and \
            reports nothing else than before but what that does to transfers",
    needs: NEEDS,
    proves: &[],
    limit: 900,
    default: false,
    run: || {
        const KNOB: &str = "lose_split_every";
        // No divisor or multiple of the packets of a connection, of which the first with data counts.
        const EVERY: &str = "3";
        // gve_rx_dqo throws away what lies in a net_iov together with its header.
        if Driver::of_this_guest()? == Driver::Gve {
            return Err(Skip("gve drops packets that are not split; sent again, they are".to_owned()).into());
        }
        let nic = Nic::unprepared("")?;
        let before = report(&nic, "1")?;
        nic.knob(KNOB, EVERY)?;
        let after = report(&nic, "1")?;
        // A device keeps its faults when its driver goes.
        nic.knob(KNOB, "0")?;
        let (before, found) = (not_passed(&before)?, not_passed(&after)?);
        println!("{before:?}, then {found:?}: {}", finding(&after, "header_split"));
        let mut expected: Verdicts<'_> = before.into_iter().chain([("header_split", "fail")]).collect();
        // Larger packets that are not split are copied, or the kernel drops them.
        for test in ["zero_copy", "small_packets", "large_buffers", "interface_down", "soak"] {
            if found.contains_key(test) {
                expected.insert(test, "fail");
            }
        }
        ensure!(found == expected, "{found:?} and not {expected:?}: {after:#}");
        Ok(())
    },
};

/// The tests of a report that did not pass, and their verdicts.
fn not_passed(report: &Value) -> Result<Verdicts<'_>> {
    let tests = report["tests"].as_array().context("a report without tests")?;
    let verdicts = tests.iter().filter_map(|test| Some((test["name"].as_str()?, test["verdict"].as_str()?)));
    Ok(verdicts.filter(|(_, verdict)| *verdict != "pass").collect())
}

/// What a report says of a test.
fn finding<'r>(report: &'r Value, test: &str) -> &'r str {
    let mut tests = report["tests"].as_array().into_iter().flatten();
    tests.find(|one| one["name"] == test).and_then(|one| one["found"].as_str()).unwrap_or_default()
}

fn words(words: &str) -> Vec<String> {
    vec![words.to_owned()]
}

/// Prepares the rings, so `zcrxd qualify` need not: setting them up again would fail as a registration does.
fn split_headers(nic: &Nic, personality: &str) -> Result<()> {
    if personality == MLX5 {
        nic.ethtool(&["-K", nic::RX, "rx-gro-hw", "on"])?;
    }
    nic.header_split(true, 0)
}

fn refuse(nic: &Nic, times: u32, random: &mut Random) -> Result<Vec<String>> {
    let (number, name) = random.one_of(&ERRNOS);
    nic.knob("fail_queue_errno", &number.to_string())?;
    nic.knob("fail_queue_alloc", &times.to_string())?;
    Ok(words(name))
}

fn altered(personality: &str, alteration: &Alteration, random: &mut Random) -> Result<()> {
    let nic = Nic::unprepared(&format!("personality={personality} queues=8 channels=4"))?;
    let words = (alteration.make)(&nic, personality, random)?;
    let queue = 1 + random.below(3);
    let report = report(&nic, &queue.to_string())?;
    let found = not_passed(&report)?;
    println!("{personality}, queue {queue}: {}: {found:?}", alteration.name);
    let unaltered = UNALTERED.iter().filter(|(name, _)| *name == personality).flat_map(|(_, shows)| *shows);
    let mut expected: Verdicts<'_> = unaltered.copied().collect();
    expected.extend(alteration.shows.iter().copied());
    for (test, verdict) in alteration.may_show {
        if found.get(test).unwrap_or(&"pass") == verdict {
            expected.insert(test, verdict);
        }
    }
    expected.retain(|_, verdict| *verdict != "pass");
    ensure!(found == expected, "{found:?} and not {expected:?}: {report:#}");
    let finding = finding(&report, alteration.names);
    println!("{finding}");
    for words in words {
        ensure!(finding.contains(&words), "{} does not name {words:?}: {finding}", alteration.names);
    }
    Ok(())
}
