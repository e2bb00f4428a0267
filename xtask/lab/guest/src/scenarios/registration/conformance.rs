//! zcrxd's software interface queue against the kernel's: the same requests, entries and traffic, the same answers.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::nic::{self, Nic};
use crate::harness::scenario::Scenario;
use crate::harness::{link_up, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[REQUESTS, NODEV, DEVICE, ACCOUNTING];

/// How requests are checked, on every kernel.
const REQUESTS: Scenario = Scenario {
    name: "contract-requests",
    about: "random registrations are checked alike by the kernel and by the software queue, up to the interface",
    needs: &[Need::Zcrx],
    proves: &[],
    limit: 200,
    default: false,
    run: || {
        link_up("lo")?;
        compare(Command::new(program("conformance")), ["registrations", "--interface", "lo"])
    },
};

/// Whole registrations without a device.
const NODEV: Scenario = Scenario {
    name: "contract-nodev",
    about: "random registrations of queues without a device: same errnos, same geometry",
    needs: &[Need::Zcrx, Need::Nodev],
    proves: &[],
    limit: 200,
    default: false,
    run: || compare(Command::new(program("conformance")), ["registrations"]),
};

/// Whole registrations of a hardware queue.
const DEVICE: Scenario = Scenario {
    name: "contract-device",
    about: "random registrations of a hardware queue: same errnos, same geometry",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 200,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let arguments = ["registrations", "--interface", nic::RX, "--queue", "1"];
        compare(nic.rx.command(program("conformance")), arguments)
    },
};

/// Delivery of buffers, handling of refill entries.
const ACCOUNTING: Scenario = Scenario {
    name: "contract-accounting",
    about: "random traffic and refill entries, good, bad and doubled: both queues deliver the same buffers",
    needs: &[Need::Zcrx, Need::Nodev],
    proves: &[],
    limit: 200,
    default: false,
    run: || {
        link_up("lo")?;
        compare(Command::new(program("conformance")), ["accounting"])
    },
};

fn compare<A: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = A>) -> Result<()> {
    let output = command.args(arguments).output().context("cannot run the comparison")?;
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
