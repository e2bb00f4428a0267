//! A zcrx application that is not zcrxd.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::namespace::Namespace;
use super::nic::{self, Nic};
use super::process::Process;
use super::{STEP_LIMIT, eventually, program};

/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A running one, which says the truth about itself.
#[derive(Debug)]
pub(crate) struct Foreign {
    process: Process,
    /// Reports that were ordered.
    asked: u64,
}

impl Foreign {
    /// Starts `faulty-app receive` with further arguments and waits until it is registered.
    pub(crate) fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::start_as("receive", namespace, arguments)
    }

    /// As [`Foreign::start`], on the queue that the NIC's flow is steered to, where it listens.
    pub(crate) fn on_nic(nic: &Nic, further: &[&str]) -> Result<Self> {
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let place = ["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
        Self::start(&nic.rx, &[&place[..], further].concat())
    }

    /// Starts `faulty-app share` with further arguments, whose rings share a queue, and waits until it is registered.
    pub(crate) fn start_sharing(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::start_as("share", namespace, arguments)
    }

    fn start_as(command_name: &str, namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        let value = |name: &str| {
            let place = arguments.iter().position(|argument| *argument == name)?;
            arguments.get(place + 1)
        };
        if let (Some(interface), Some(queue)) = (value("--interface"), value("--queue")) {
            nic::needs_queue(namespace, interface, queue.parse()?)?;
        }
        let mut command = namespace.command(program("faulty-app"));
        let process = Process::start("faulty-app", command.arg(command_name).args(arguments))?;
        let mut foreign = Self { process, asked: 0 };
        eventually("the foreign program is registered", LIMIT, || foreign.last())?;
        Ok(foreign)
    }

    /// Its current report about itself.
    pub(crate) fn truth(&mut self) -> Result<Value> {
        self.order("report")?;
        self.asked += 1;
        // It reports of its own accord too, and that may have been before.
        let asked = self.asked;
        let answers = |said: &Value| said["asked"].as_u64().is_some_and(|answered| answered >= asked);
        eventually("the foreign program reports", LIMIT, || Ok(self.last()?.filter(answers)))
    }

    /// Asks it until it says so. The error ends with what it said last.
    pub(crate) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        test: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        eventually(what, limit, || {
            last = self.truth()?;
            Ok(test(&last).then(|| last.clone()))
        })
        .map_err(|error| anyhow!("{error:#}; the foreign program said last: {last}"))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        self.process.signal(signal)
    }

    /// Gives it an order: hold, resume, report, quit.
    pub(crate) fn order(&mut self, order: &str) -> Result<()> {
        self.process.alive()?;
        writeln!(self.process.input()?, "{order}").context("the foreign program takes no orders")
    }

    /// Lets it leave in good order.
    pub(crate) fn quit(mut self) -> Result<()> {
        self.order("quit")?;
        self.process.finish(LIMIT).map(drop)
    }

    /// Waits until it has returned all that the refill ring has room for, checks that it received what was sent, and lets it leave.
    ///
    /// Without traffic the driver consumes nothing: what finds the refill ring full stays stashed.
    pub(crate) fn settle_and_quit(mut self) -> Result<()> {
        let truth = self.until("what has room in the refill ring is back", STEP_LIMIT, |truth| {
            truth["held"] == truth["stashed"]
        })?;
        ensure!(number(&truth, "mismatched_bytes")? == 0, "bytes are not what was sent: {truth}");
        self.quit()
    }

    /// Kills it.
    pub(crate) fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// The last whole line it said.
    fn last(&mut self) -> Result<Option<Value>> {
        self.process.alive()?;
        let said = self.process.stdout();
        let Some((whole, _)) = said.rsplit_once('\n') else { return Ok(None) };
        let line = whole.rsplit('\n').next().unwrap_or_default();
        serde_json::from_str(line)
            .map(Some)
            .with_context(|| format!("the foreign program said something odd: {line}"))
    }
}

/// A number that it said.
pub(crate) fn number(truth: &Value, name: &str) -> Result<u64> {
    truth[name].as_u64().with_context(|| format!("the foreign program does not say {name}: {truth}"))
}
