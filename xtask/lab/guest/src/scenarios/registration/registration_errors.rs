//! Refused registrations of other processes, as zcrxd reports them: errno, the kernel's message, remedy.

use std::io;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::Foreign;
use crate::harness::metrics::{Metrics, Sample};
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::xdp::Xdp;
use crate::harness::xsk::XdpSocket;
use crate::harness::{STEP_LIMIT, eventually, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[WORDS];

/// Each refusal that an operator can remedy.
const WORDS: Scenario = Scenario {
    name: "registration-words",
    about: "zcrxd reports a refused registration with its errno, the kernel's message where there is one, and what \
            would remedy it",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Registrations(&["EBUSY"])],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut daemon = Daemon::start(&nic.rx, &[])?;
        let mut reported =
            |case: Case<'_>| case.check(&nic, &mut daemon).with_context(|| case.what.to_owned());

        // On a queue of its own: tearing it down takes a moment.
        reported(Case {
            what: "all is well",
            arguments: &["--interface", nic::RX, "--queue", "3"],
            queue: "3",
            ..Case::default()
        })?;
        reported(Case {
            what: "queue index out of range",
            arguments: &["--interface", nic::RX, "--queue", "99"],
            queue: "99",
            errno: "ERANGE",
            words: "rx queue index out of range",
            remedy: "`ethtool -l zcn0`",
        })?;
        reported(Case {
            what: "no locked memory",
            arguments: &[
                "--interface",
                nic::RX,
                "--queue",
                "1",
                "--memlock",
                "65536",
                "--without",
                "CAP_IPC_LOCK",
            ],
            errno: "ENOMEM",
            remedy: "`ulimit -l`",
            ..Case::default()
        })?;
        reported(Case {
            what: "wrong thread",
            arguments: &["--interface", nic::RX, "--queue", "1", "--wrong", "thread"],
            errno: "EEXIST",
            remedy: "another thread",
            ..Case::default()
        })?;

        nic.header_split(false, 0)?;
        reported(Case {
            what: "header split off",
            errno: "EINVAL",
            words: "tcp-data-split is disabled",
            remedy: "`ethtool -G zcn0 tcp-data-split on`",
            ..Case::default()
        })?;
        nic.header_split(true, 128)?;
        reported(Case {
            what: "hds-thresh not 0",
            errno: "EINVAL",
            words: "hds-thresh is not zero",
            remedy: "`ethtool -G zcn0 hds-thresh 0`",
            ..Case::default()
        })?;
        nic.header_split(true, 0)?;

        let holder = Foreign::start(&nic.rx, GOOD)?;
        reported(Case {
            what: "queue already bound",
            errno: "EEXIST",
            words: "designated queue already memory provider bound",
            remedy: "stop the program that has the queue",
            ..Case::default()
        })?;
        holder.quit()?;

        let socket = XdpSocket::bind(nic.receiving(), 2)?;
        reported(Case {
            what: "AF_XDP on the queue",
            arguments: &["--interface", nic::RX, "--queue", "2"],
            queue: "2",
            errno: "EBUSY",
            words: "designated queue already in use by AF_XDP",
            remedy: "stop the AF_XDP program that has the queue",
        })?;
        drop(socket);

        // Refused as long as the queue is being torn down.
        let xdp = eventually("an XDP program can be attached", STEP_LIMIT, || {
            match Xdp::attach(nic.receiving()) {
                Err(error) if error.downcast_ref().and_then(io::Error::raw_os_error) == Some(libc::EBUSY) => {
                    Ok(None)
                }
                attached => attached.map(Some),
            }
        })?;
        reported(Case {
            what: "XDP attached",
            arguments: &["--interface", nic::RX, "--queue", "2"],
            queue: "2",
            errno: "EEXIST",
            words: "unable to custom memory provider to device with XDP program attached",
            remedy: "`ip link set dev zcn0 xdp off`",
        })?;
        drop(xdp);
        daemon.stop().map(drop)
    },
};

const GOOD: &[&str] = &["--interface", nic::RX, "--queue", "1"];

/// One registration, and what zcrxd must report of it.
#[derive(Clone, Copy)]
struct Case<'a> {
    what: &'a str,
    arguments: &'a [&'a str],
    queue: &'a str,
    /// Empty for a success.
    errno: &'a str,
    /// The kernel's; empty if it says none.
    words: &'a str,
    /// What the remedy has in it.
    remedy: &'a str,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self { what: "", arguments: GOOD, queue: "1", errno: "", words: "", remedy: "" }
    }
}

impl Case<'_> {
    fn check(&self, nic: &Nic, daemon: &mut Daemon<'_>) -> Result<()> {
        let before = daemon.metrics()?.need("zcrx_registrations_total")?;
        let failed = |errno: &str, metrics: &Metrics| {
            metrics.one("zcrx_registration_failures_total", &[("errno", errno)]).map_or(0, Sample::count)
        };
        let failed_before = failed(self.errno, &daemon.metrics()?);
        let answered = self.register(nic)?;
        ensure!(answered == self.errno, "the kernel answered {answered:?} and not {:?}", self.errno);

        let metrics = daemon.until("the registration is counted", STEP_LIMIT, |metrics| {
            metrics.sum("zcrx_registrations_total") == Some(before + 1.0)
        })?;
        if !self.errno.is_empty() {
            let counted = failed(self.errno, &metrics) - failed_before;
            ensure!(counted == 1, "{counted} more failures with {} are counted", self.errno);
        }
        let last = metrics.one("zcrx_last_registration_info", &[])?;
        for (label, expected) in
            [("comm", "faulty-app"), ("interface", nic::RX), ("queue", self.queue), ("errno", self.errno)]
        {
            ensure!(last.has(label, expected), "{label} should be {expected:?}: {:?}", last.labels);
        }
        let page = daemon.page("/")?;
        // The newest comes first.
        let table =
            page.split_once("Registrations of interface queues").context("no registrations on the page")?.1;
        let row = table.split_once("<tbody>").and_then(|(_, rows)| rows.split_once("</tr>"));
        let row = row.context("no registration on the page")?.0;
        for said in [self.errno, self.words, self.remedy] {
            ensure!(row.contains(said), "{said:?} is not on the page: {row}");
        }
        Ok(())
    }

    /// Lets another process register; the errno's name, empty for a success.
    fn register(&self, nic: &Nic) -> Result<String> {
        let mut command = nic.rx.command(program("faulty-app"));
        let output = command.arg("register").args(self.arguments).output().context("cannot run foreign")?;
        let answered: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(answered["name"].as_str().unwrap_or_default().to_owned())
    }
}
