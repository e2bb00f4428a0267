//! Scenarios on one kernel: as many boots as they need, and what came of each.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zcrx_lab_guest::protocol::{Message, Need, Outcome, ScenarioInfo};

use super::machine::{Accelerator, Machine, Running};
use super::programs::Programs;
use xtask_tools::command::require;

/// How long a machine may take until it speaks. Emulated boots take five seconds, with systemd half a minute; a busy host
/// many times that.
const BOOT_LIMIT: Duration = Duration::from_mins(8);

/// What a scenario may take beyond its own limit, for the guest to end it and clean up.
const GRACE: Duration = Duration::from_mins(1);

/// All artefacts of one boot together, bytes.
const ARTEFACTS_CAP: u64 = 256 << 20;

/// What one scenario came to.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The scenario's name.
    pub scenario: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What one kernel came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Release as the kernel itself says it; `None` if it never ran.
    pub release: Option<String>,
    /// What stands in the way of each need.
    pub needs: BTreeMap<Need, Option<String>>,
    /// What scenarios measured.
    pub facts: BTreeMap<String, String>,
    /// One per scenario, in the order they were asked for.
    pub verdicts: Vec<Verdict>,
    /// Boots it took.
    pub boots: u32,
    /// Scenarios that were run again, because the emulator had failed them.
    pub repeated: Vec<String>,
}

impl Report {
    /// The report of a kernel that could not be run.
    pub(crate) fn skipped(scenarios: &[ScenarioInfo], reason: &str) -> Self {
        let skip = |scenario: &ScenarioInfo| Verdict {
            scenario: scenario.name.clone(),
            outcome: Outcome::Skipped(reason.to_owned()),
            took: Duration::ZERO,
        };
        Self { verdicts: scenarios.iter().map(skip).collect(), ..Self::default() }
    }
}

/// Most scenarios that one boot is given: their names are arguments of the guest's init, and a kernel with more than 32
/// of these does not come up.
const MOST_IN_ONE_BOOT: usize = 25;

/// How a kernel is made to run scenarios.
#[derive(Clone, Copy)]
pub(crate) enum Ground<'a> {
    /// In a machine like this one.
    Guest(&'a dyn Fn(&Path) -> Result<Machine>),
    /// On the machine's own kernel.
    Host(&'a Programs),
}

/// Runs scenarios on one kernel. Artefacts go to `directory`, progress to the terminal.
pub(crate) fn run(
    label: &str,
    ground: Ground<'_>,
    scenarios: &[ScenarioInfo],
    keep_going: bool,
    directory: &Path,
) -> Result<Report> {
    let mut report = Report::default();
    let mut left: Vec<String> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    while !left.is_empty() {
        report.boots += 1;
        let (before, repeated) = (report.verdicts.len(), report.repeated.len());
        let mut boot = Boot {
            label,
            directory,
            scenarios,
            report: &mut report,
            running: None,
            begun: Instant::now(),
            is_emulated: false,
        };
        let running = match ground {
            Ground::Guest(machine) => {
                let machine = machine(&directory.join(format!("boot-{}", boot.report.boots)))?;
                boot.is_emulated = machine.accelerator == Accelerator::Tcg;
                start_guest(&machine, &left[..left.len().min(MOST_IN_ONE_BOOT)])?
            }
            Ground::Host(programs) => start_host(programs, &left, directory)?,
        };
        boot.follow(running)?;
        let ran: Vec<_> = report.verdicts[before..].iter().map(|verdict| verdict.scenario.clone()).collect();
        left.retain(|name| !ran.contains(name));
        let failed = report.verdicts.iter().any(|verdict| matches!(verdict.outcome, Outcome::Failed(_)));
        let is_to_be_repeated = report.repeated.len() > repeated;
        if (ran.is_empty() && !is_to_be_repeated) || (failed && !keep_going) {
            break;
        }
    }
    let reason =
        if report.release.is_some() { "an earlier scenario failed" } else { "the kernel did not come up" };
    for scenario in left {
        let outcome = Outcome::Skipped(format!("not run: {reason}"));
        report.verdicts.push(Verdict { scenario, outcome, took: Duration::ZERO });
    }
    Ok(report)
}

fn start_guest(machine: &Machine, names: &[String]) -> Result<Running> {
    let mut machine = machine.clone();
    machine.init = std::iter::once("run".to_owned()).chain(names.iter().cloned()).collect();
    machine.start(Stdio::null(), Stdio::piped())
}

/// Starts the guest's init in namespaces of its own on the machine's own kernel.
fn start_host(programs: &Programs, names: &[String], directory: &Path) -> Result<Running> {
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!("running scenarios on this machine's own kernel needs root, for namespaces of their own");
    }
    require("ip", "iproute2")?;
    let work = directory.join("work");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let messages = fs::File::create(directory.join("guest.log")).context("cannot make guest.log")?;
    let mut command = Command::new(require("unshare", "util-linux")?);
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL"]);
    command.arg(programs.guest()).arg("here").args(names).env("ZCRX_LAB_WORK", &work);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(messages);
    Running::start(&mut command)
}

/// One boot as it is followed.
struct Boot<'a> {
    label: &'a str,
    directory: &'a Path,
    scenarios: &'a [ScenarioInfo],
    report: &'a mut Report,
    running: Option<String>,
    begun: Instant,
    /// Whether QEMU runs the guest's instructions itself.
    is_emulated: bool,
}

impl Boot<'_> {
    /// Listens until the machine is done, silent for too long, or gone.
    fn follow(&mut self, mut machine: Running) -> Result<()> {
        let results = machine.results().context("a machine's results can be read once")?;
        let messages = listen(results, self.directory.to_owned());
        let mut deadline = Instant::now() + BOOT_LIMIT;
        let failure = loop {
            match messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Ok(Message::Done { .. })) => break None,
                Ok(Ok(message)) => {
                    self.take(message);
                    deadline = Instant::now() + self.silence_limit();
                }
                Ok(Err(error)) => break Some(format!("{error:#}")),
                Err(RecvTimeoutError::Timeout) => {
                    break Some("was silent for too long and has been ended".to_owned());
                }
                Err(RecvTimeoutError::Disconnected) => break Some("went down".to_owned()),
            }
        };
        drop(machine);
        let Some(failure) = failure else { return Ok(()) };
        let scenario = match self.running.take() {
            Some(scenario) => scenario,
            // It went down between two scenarios, or before the first: the next one has not run.
            None => match self.unrun() {
                Some(scenario) => scenario,
                None => return Ok(()),
            },
        };
        let console = last_words(self.directory, self.report.boots);
        let outcome = Outcome::Failed(format!("the machine {failure}{console}"));
        let took = self.begun.elapsed();
        self.end(Verdict { scenario, outcome, took });
        Ok(())
    }

    /// Whether a scenario failed by QEMU's fault and not for the second time. Emulating two processors on two threads, QEMU can
    /// keep the translation of a breakpoint that another processor is just replacing.
    fn is_to_be_repeated(&self, scenario: &str) -> bool {
        self.is_emulated
            && !self.report.repeated.iter().any(|repeated| repeated == scenario)
            && is_stray_breakpoint(&console(self.directory, self.report.boots))
    }

    fn silence_limit(&self) -> Duration {
        let limit =
            self.running.as_ref().and_then(|name| self.scenarios.iter().find(|known| known.name == *name));
        GRACE + limit.map_or(Duration::ZERO, |scenario| Duration::from_secs(scenario.limit))
    }

    fn unrun(&self) -> Option<String> {
        let ran = |name: &str| self.report.verdicts.iter().any(|verdict| verdict.scenario == name);
        self.scenarios.iter().map(|scenario| &scenario.name).find(|name| !ran(name)).cloned()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Hello { release, needs } => {
                self.report.release = Some(release);
                self.report.needs = needs;
            }
            Message::Fact { name, value } => {
                self.report.facts.insert(name, value);
            }
            Message::Begin { scenario } => {
                self.running = Some(scenario);
                self.begun = Instant::now();
            }
            Message::End { scenario, outcome, milliseconds } => {
                self.running = None;
                self.end(Verdict { scenario, outcome, took: Duration::from_millis(milliseconds) });
            }
            Message::File { .. } | Message::Demo(_) | Message::Done { .. } => {}
        }
    }

    fn end(&mut self, verdict: Verdict) {
        if matches!(verdict.outcome, Outcome::Failed(_)) && self.is_to_be_repeated(&verdict.scenario) {
            let seconds = verdict.took.as_secs_f64();
            println!(
                "{:>5}  {:<28} AGAIN   {seconds:5.1} s  QEMU ran a breakpoint that the kernel had taken out (int3), boot {}: \
                 see xtask/lab/README.md",
                self.label, verdict.scenario, self.report.boots
            );
            self.report.repeated.push(verdict.scenario);
            return;
        }
        let (word, reason) = match &verdict.outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Failed(reason) => ("FAILED", format!("  {reason}")),
            Outcome::Skipped(reason) => ("skipped", format!("  {reason}")),
        };
        let seconds = verdict.took.as_secs_f64();
        println!("{:>5}  {:<28} {word:<8}{seconds:5.1} s{reason}", self.label, verdict.scenario);
        self.report.verdicts.push(verdict);
    }
}

/// Whether a kernel's first failure was a breakpoint that it did not set.
fn is_stray_breakpoint(console: &str) -> bool {
    console.contains("int3: 0000 [#1]")
}

/// Reads messages in a thread of their own; artefacts are written to their place on the way.
pub(crate) fn listen(results: impl Read + Send + 'static, directory: PathBuf) -> Receiver<Result<Message>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut results = BufReader::new(results);
        let mut room = ARTEFACTS_CAP;
        let mut line = String::new();
        loop {
            line.clear();
            let read = results.by_ref().take(1 << 20).read_line(&mut line).context("cannot read results");
            let message = match read {
                Ok(0) => return,
                Ok(_) => serde_json::from_str(&line).with_context(|| format!("said something odd: {line:?}")),
                Err(error) => Err(error),
            };
            let message = message.and_then(|message| {
                if let Message::File { scenario, name, bytes } = &message {
                    room = room.checked_sub(*bytes).context("sent too much")?;
                    keep(&directory, scenario, name, *bytes, &mut results)?;
                }
                Ok(message)
            });
            let last = message.is_err();
            if sender.send(message).is_err() || last {
                return;
            }
        }
    });
    receiver
}

/// Writes one artefact.
fn keep(directory: &Path, scenario: &str, name: &str, bytes: u64, from: &mut impl Read) -> Result<()> {
    let plain = |name: &str| Path::new(name).file_name().is_some_and(|file| file == name);
    if !(plain(scenario) && plain(name)) {
        bail!("sent an artefact with an odd name: {scenario}/{name}");
    }
    let directory = directory.join(scenario);
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(name);
    let mut file = fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let copied = std::io::copy(&mut from.take(bytes), &mut file).context("cannot keep an artefact")?;
    if copied != bytes {
        bail!("went down amid an artefact");
    }
    Ok(())
}

/// What a boot's console said; nothing where there is none.
fn console(directory: &Path, boot: u32) -> String {
    let path = directory.join(format!("boot-{boot}")).join("console.log");
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines of the console, for a machine that can no longer speak for itself.
fn last_words(directory: &Path, boot: u32) -> String {
    let console = console(directory, boot);
    let lines: Vec<_> = console.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(6)..];
    if last.is_empty() { String::new() } else { format!("; its console ends with: {}", last.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRAY: &str =
        "[   93.1] Oops: int3: 0000 [#1] SMP NOPTI\n[   93.2] RIP: 0010:page_pool_return_netmem+0x39/0xc0\n";

    fn failed(name: &str) -> Verdict {
        let outcome = Outcome::Failed("the machine went down".to_owned());
        Verdict { scenario: name.to_owned(), outcome, took: Duration::ZERO }
    }

    /// The outcome of a scenario that fails twice, each time with that on the console.
    fn twice(console: &str, is_emulated: bool) -> Result<(Vec<String>, usize)> {
        let name = format!("zcrx-session-{}-{}-{is_emulated}", std::process::id(), console.len());
        let directory = std::env::temp_dir().join(name);
        for boot in ["boot-1", "boot-2"] {
            fs::create_dir_all(directory.join(boot))?;
            fs::write(directory.join(boot).join("console.log"), console)?;
        }
        let mut report = Report::default();
        for boots in [1, 2] {
            report.boots = boots;
            let mut boot = Boot {
                label: "7.3",
                directory: &directory,
                scenarios: &[],
                report: &mut report,
                running: None,
                begun: Instant::now(),
                is_emulated,
            };
            boot.end(failed("churn"));
        }
        fs::remove_dir_all(&directory)?;
        Ok((report.repeated, report.verdicts.len()))
    }

    #[test]
    fn a_stray_breakpoint_of_the_emulator_is_forgiven_once() -> Result<()> {
        assert_eq!(twice(STRAY, true)?, (vec!["churn".to_owned()], 1));
        Ok(())
    }

    #[test]
    fn everything_else_is_a_failure_at_once() -> Result<()> {
        assert_eq!(twice(STRAY, false)?, (Vec::new(), 2));
        let later = "BUG: kernel NULL pointer dereference\nOops: 0002 [#1] SMP\nOops: int3: 0000 [#2] SMP\n";
        assert_eq!(twice(later, true)?, (Vec::new(), 2));
        assert_eq!(twice("", true)?, (Vec::new(), 2));
        Ok(())
    }
}
