//! Random faults of a foreign program on a real kernel: how often zcrxd's first cause is the fault that was made.
//!
//! The truth comes from the program's ledger and the NIC's counters. The host's side makes the tables of docs/accuracy.md.

mod case;
mod load;
mod truth;

use anyhow::{Context, Result};
use serde_json::Value;
use zcrx_lab_guest::protocol::{JUDGED_CASE, JudgedCase};

use self::case::{Case, Fault};
use self::load::Load;
use self::truth::{Counters, Truth};
use crate::harness::daemon::Daemon;
use crate::harness::diagnosis::{NEEDS, answer, causes, close, seconds, watching};
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Nic};
use crate::harness::random::{self, Random};
use crate::harness::scenario::Scenario;
use crate::harness::{STEP_LIMIT, facts};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[ACCURACY];

/// Takes seed and number of cases from `ZCRX_LAB_SEED` and `ZCRX_LAB_STEPS` of the environment in which the lab is started.
const ACCURACY: Scenario = Scenario {
    name: "accuracy",
    about: "a foreign program with faults, strengths, traffic, connections and sizes from a seed: the first cause that zcrxd names \
            is compared with the fault that was made; run by `cargo xtask lab accuracy`",
    needs: NEEDS,
    proves: &[],
    limit: 14_400,
    default: false,
    run: || run(random::seed(), random::steps(60).into()),
};

/// Seconds of samples within which the fault must do harm; a case without harm is no case.
const UNTIL_HARM: f64 = 60.0;

/// Seconds of samples after the harm has lasted for as long as an alarm waits, at the end of which the verdict is judged. A leak
/// of everything is sure after five, a refill ring that drops returns after six.
const UNTIL_JUDGED: f64 = 14.0;

/// Seconds for which harm must have lasted before data allow a verdict.
const LASTING: f64 = 1.0;

/// Pause between two questions to the daemon, which samples once a second.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

fn run(seed: u64, cases: u64) -> Result<()> {
    let nic = Nic::pair()?;
    let mut daemon = watching(&nic.rx, &[])?;
    let mut ring = None;
    for number in 0..cases {
        // A case can be run again alone: it depends on the seed and its number only.
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let case = Case::draw(&mut random);
        let mut judged = JudgedCase { number, drawn: format!("{case:?}"), ..JudgedCase::default() };
        if let Err(error) = judge(&nic, &mut daemon, &case, &mut ring, &mut judged) {
            judged.left_out = Some(format!("the case could not be run: {error:#}"));
        }
        let line = serde_json::to_string(&judged).context("cannot write the result of a case")?;
        println!("{line}");
        facts::add(&format!("{JUDGED_CASE}{number:05}"), &line)?;
        daemon.until("the queue of the case is gone", 2 * STEP_LIMIT, |metrics| {
            metrics.of("zcrx_queue_info").next().is_none()
        })?;
    }
    close(daemon)
}

/// Runs a case, and ends its program whatever came of it.
fn judge(
    nic: &Nic,
    daemon: &mut Daemon<'_>,
    case: &Case,
    ring: &mut Option<u32>,
    judged: &mut JudgedCase,
) -> Result<()> {
    nic.receive_buffers(case.receive_buffer, case.receive_buffer)?;
    if *ring != Some(case.ring) {
        nic.ethtool(&["-G", nic::RX, "rx", &case.ring.to_string()])?;
        *ring = Some(case.ring);
    }
    let offload = if case.small_frames { "off" } else { "on" };
    nic.tx.run("ethtool", &["-K", nic::TX, "tso", offload, "gso", offload])?;
    nic.knob("alloc_retry_never", if case.fault == Fault::NoRetry { "Y" } else { "N" })?;
    let before = Counters::read(nic)?;
    let arguments = case.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut program = Foreign::start(&nic.rx, &arguments)?;
    let mut load = Load::new(nic, case);
    let watched = watch(nic, daemon, case, &mut program, &mut load, before, judged);
    let stopped = load.stop();
    if case.fault.blocks() {
        program.kill()?;
    } else {
        program.quit()?;
    }
    if case.fault == Fault::InterfaceDown {
        nic.rx.run("ip", &["link", "set", nic::RX, "up"])?;
        nic.receiving().wait_for_carrier()?;
    }
    stopped.and(watched)
}

/// Begins the fault, and follows the queue until its verdict can be judged.
fn watch(
    nic: &Nic,
    daemon: &Daemon<'_>,
    case: &Case,
    program: &mut Foreign,
    load: &mut Load<'_>,
    before: Counters,
    judged: &mut JudgedCase,
) -> Result<()> {
    let pid = u64::from(program.pid());
    let mut look = Look::default();
    let mut truth = Truth::of(program.truth()?);
    let mut begun = None;
    let mut harm: Option<f64> = None;
    let mut allowed: Option<f64> = None;
    loop {
        load.go_on()?;
        let newest = look.take(daemon, pid)?;
        let Some(at) = newest else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let first = *look.first.get_or_insert(at);
        let counters = Counters::read(nic)?;
        let quiet = counters.lost == before.lost && !truth.failed();
        if begun.is_none() {
            // Nothing was made yet.
            if let Some(trouble) = look.trouble.take_if(|_| quiet) {
                judged.false_alarms.push(format!("before the fault: {trouble}"));
            }
            if at - first >= f64::from(case.calm) {
                truth.begin(program.truth()?, counters);
                case.fault.begin(program, nic)?;
                begun = Some(at);
            }
            std::thread::sleep(PAUSE);
            continue;
        }
        let since = begun.unwrap_or(at);
        if !case.fault.blocks() {
            truth.update(program.truth()?);
        }
        // Nothing arrives where the interface is down, and so nothing is lost on the queue.
        let down = case.fault == Fault::InterfaceDown;
        if harm.is_none() && (down || truth.harmed(counters)) {
            harm = Some(at);
        }
        let goes_on = truth.still_harms(counters) || down;
        if allowed.is_none() && goes_on && harm.is_some_and(|harm| at - harm >= LASTING) {
            allowed = Some(at);
        }
        let said = look.cause.clone();
        if judged.said.last().map(|(_, said)| said) != Some(&said) {
            judged.said.push((at - allowed.or(harm).unwrap_or(at), said));
        }
        let is_over = match allowed {
            Some(allowed) => at - allowed >= UNTIL_JUDGED,
            None => {
                at - since >= if case.fault == Fault::None { f64::from(case.healthy) } else { UNTIL_HARM }
            }
        };
        if is_over {
            judged.healthy_seconds = match harm {
                Some(_) => since - first,
                None if quiet => at - first,
                None => 0.0,
            };
            // An alarm may still be about packets that were lost before the fault.
            let healthy = quiet && harm.is_none() && truth.marks(case).is_none();
            let unfounded = look.trouble.take().filter(|_| healthy);
            if let Some(trouble) = unfounded {
                judged.false_alarms.push(format!("without a lost packet: {trouble}"));
            }
            judged.samples = allowed.map(|allowed| look.samples_until_right(allowed, case.fault.cause()));
            judged.confidence.clone_from(&look.confidence);
            judged.evidence.clone_from(&look.evidence);
            match truth.marks(case) {
                Some(_) if allowed.is_some() => judged.made = case.fault.cause().map(str::to_owned),
                Some(_) => judged.left_out = Some("the fault did no harm that lasted".to_owned()),
                None if case.fault == Fault::None => {
                    let lost = harm.is_some() || !quiet;
                    judged.left_out = lost.then(|| "packets were lost without a fault".to_owned());
                }
                None => {
                    judged.left_out = Some(format!("the ledger does not show the fault: {}", truth.words()));
                }
            }
            judged.ledger = truth.words();
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// What zcrxd says of the queue of one program.
#[derive(Default)]
struct Look {
    first: Option<f64>,
    last: Option<f64>,
    /// The first cause with each sample, and the sample's time.
    named: Vec<(f64, Option<String>)>,
    cause: Option<String>,
    confidence: Option<String>,
    evidence: String,
    /// The alarm of an episode that was seen.
    trouble: Option<String>,
}

impl Look {
    /// Reads the daemon's answer; returns the time of the newest sample of the program's queue.
    fn take(&mut self, daemon: &Daemon<'_>, pid: u64) -> Result<Option<f64>> {
        let answer = answer(daemon)?;
        let mut queues = answer["queues"].as_array().into_iter().flatten();
        let Some(report) = queues.find(|queue| queue["owner"]["pid"].as_u64() == Some(pid)) else {
            return Ok(None);
        };
        let at = seconds(&report["at"]);
        if self.last.is_some_and(|last| at <= last) {
            return Ok(self.last);
        }
        self.last = Some(at);
        let mut recent = answer["recent"].as_array().into_iter().flatten();
        let over = recent.rfind(|episode| episode["owner"]["pid"].as_u64() == Some(pid));
        let episode = Some(&report["episode"]).filter(|episode| !episode.is_null()).or(over);
        if let Some(episode) = episode {
            let alarm = &episode["diagnosis"]["alarms"][0]["words"];
            self.trouble = Some(format!("{}: {alarm}", episode["trouble"]));
        }
        self.cause = episode.and_then(|episode| causes(episode).into_iter().next());
        let finding = |episode: &Value| episode["diagnosis"]["causes"][0].clone();
        let finding = episode.map(finding).unwrap_or_default();
        self.confidence = finding["confidence"].as_str().map(str::to_owned);
        self.evidence = finding["evidence"].to_string();
        self.named.push((at, self.cause.clone()));
        Ok(Some(at))
    }

    /// Samples after this time up to the one from which the verdict was right and stayed so.
    fn samples_until_right(&self, allowed: f64, cause: Option<&str>) -> u64 {
        let after: Vec<_> = self.named.iter().filter(|(at, _)| *at >= allowed).collect();
        after.iter().rposition(|(_, said)| said.as_deref() != cause).map_or(0, |wrong| wrong + 1) as u64
    }
}
