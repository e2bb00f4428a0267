//! Registrations that the kernel refuses, each with the errno that the documentation states for it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::Scenario;
use crate::lab::namespace::Namespace;
use crate::lab::nic::{self, Nic};
use crate::lab::program;

/// What is refused whatever the interface: the request is looked at first.
pub(crate) const REQUESTS: Scenario = Scenario {
    name: "refused-requests",
    about: "registrations that are wrong in themselves are refused with the documented errno",
    needs: &[Need::Zcrx],
    limit: 120,
    default: true,
    run: || {
        let mut wrong = Vec::new();
        for (arguments, expected) in REQUEST_ERRORS {
            let mut command = Command::new(program("foreign"));
            check(&mut command, arguments, *expected, &mut wrong)?;
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        Ok(())
    },
};

/// What is refused because of the interface.
pub(crate) const INTERFACES: Scenario = Scenario {
    name: "refused-interfaces",
    about: "registrations that the interface does not allow are refused with the documented errno",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    limit: 120,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut wrong = Vec::new();
        let mut refused = |namespace: &Namespace, arguments: &[&str], expected| {
            check(&mut namespace.command(program("foreign")), arguments, expected, &mut wrong)
        };
        let good = ["--interface", nic::RX, "--queue", "1"];
        refused(&nic.rx, &good, 0)?;
        refused(&nic.rx, &["--interface", nic::RX, "--queue", "99"], libc::ERANGE)?;
        refused(
            &nic.rx,
            &["--interface", nic::RX, "--queue", "1", "--memlock", "65536", "--without", "CAP_IPC_LOCK"],
            libc::ENOMEM,
        )?;
        nic.header_split(false, 0)?;
        refused(&nic.rx, &good, libc::EINVAL)?;
        nic.header_split(true, 128)?;
        refused(&nic.rx, &good, libc::EINVAL)?;
        nic.header_split(true, 0)?;
        nic.knob("fail_queue_alloc", "1")?;
        refused(&nic.rx, &good, libc::ENOMEM)?;
        nic.rx.run("ip", &["link", "set", nic::RX, "down"])?;
        // Bound all the same: the pool is made when the interface comes up.
        refused(&nic.rx, &good, 0)?;
        nic.rx.run("ip", &["link", "set", nic::RX, "up"])?;
        let held = crate::lab::foreign::Foreign::start(&nic.rx, &good)?;
        refused(&nic.rx, &good, libc::EEXIST)?;
        held.quit()?;
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        Ok(())
    },
};

const LO: &[&str] = &["--interface", "lo"];
const REQUEST_ERRORS: &[(&[&str], i32)] = &[
    (LO, libc::EOPNOTSUPP),
    (&["--interface", "lo", "--without", "CAP_NET_ADMIN"], libc::EPERM),
    (&["--interface", "lo", "--wrong", "cqe16"], libc::EINVAL),
    (&["--interface", "lo", "--wrong", "no-defer-taskrun"], libc::EINVAL),
    (&["--interface", "lo", "--wrong", "thread"], libc::EEXIST),
    (&["--interface", "lo", "--wrong", "reserved"], libc::EINVAL),
    (&["--interface", "lo", "--wrong", "no-area"], libc::EFAULT),
    (&["--interface", "lo", "--wrong", "small-region"], libc::EINVAL),
    (&["--interface", "lo", "--refill-entries", "0"], libc::EINVAL),
    (&["--interface", "lo", "--flags", "2147483648"], libc::EINVAL),
    (&["--interface", "lo", "--if-index", "4711"], libc::ENODEV),
];

fn check(command: &mut Command, arguments: &[&str], expected: i32, wrong: &mut Vec<String>) -> Result<()> {
    let output =
        command.arg("register").args(arguments).output().context("cannot run the foreign program")?;
    let status = output.status.code().context("the foreign program was killed")?;
    println!("{arguments:?}: {status}, {}", String::from_utf8_lossy(&output.stdout).trim());
    if status != expected {
        let said = String::from_utf8_lossy(&output.stderr);
        wrong.push(format!("{}: errno {status} and not {expected} ({})", arguments.join(" "), said.trim()));
    }
    Ok(())
}
