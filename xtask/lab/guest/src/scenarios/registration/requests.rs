//! Registrations that the kernel refuses, each with the errno that the documentation states for it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::program;
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::seccomp;
use crate::harness::xsk::XdpSocket;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[REQUESTS, INTERFACES];

/// What is refused whatever the interface: the request is looked at first.
const REQUESTS: Scenario = Scenario {
    name: "refused-requests",
    about: "registrations that are wrong in themselves are refused with the documented errno",
    needs: &[Need::Zcrx],
    proves: &[Proof::Registrations(&[
        "EPERM",
        "EINVAL",
        "EEXIST",
        "ENODEV",
        "EOPNOTSUPP",
        "EFAULT",
        "E2BIG",
        "EACCES",
        "ENOSYS",
    ])],
    limit: 120,
    default: true,
    run: || {
        let mut wrong = Vec::new();
        for (arguments, expected) in REQUEST_ERRORS {
            let mut command = Command::new(program("faulty-app"));
            check(&mut command, arguments, *expected, &mut wrong)?;
        }
        let mut hidden = Command::new(program("faulty-app"));
        seccomp::without(&mut hidden, libc::SYS_io_uring_register);
        check(&mut hidden, LO, libc::ENOSYS, &mut wrong)?;
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));

        let host = Namespace::create()?;
        let mut zcrxd = host.command(program("zcrxd"));
        seccomp::without(&mut zcrxd, libc::SYS_io_uring_setup);
        let said = refused_to_run(zcrxd.args(["run", "--listen", "127.0.0.1:9999", "--no-probes"]))?;
        ensure!(said.contains("this kernel has no io_uring"), "zcrxd does not say why it ends: {said}");
        Ok(())
    },
};

/// What is refused because of the interface.
const INTERFACES: Scenario = Scenario {
    name: "refused-interfaces",
    about: "registrations that the interface does not allow are refused with the documented errno",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[Proof::Registrations(&[
        "EINVAL",
        "EEXIST",
        "EBUSY",
        "ENETDOWN",
        "ERANGE",
        "ENODATA",
        "ENOMEM",
        "EOVERFLOW",
    ])],
    limit: 120,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut wrong = Vec::new();
        let mut refused = |namespace: &Namespace, arguments: &[&str], expected| {
            check(&mut namespace.command(program("faulty-app")), arguments, expected, &mut wrong)
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
        // What drivers say when their rings are down, and the state of one that forgets about memory providers.
        nic.knob("fail_queue_errno", &libc::ENETDOWN.to_string())?;
        nic.knob("fail_queue_alloc", "2")?;
        refused(&nic.rx, &good, libc::ENETDOWN)?;
        own(&nic, "ENETDOWN", "the interface or its rings are down")?;
        nic.knob("readable_pools", "Y")?;
        refused(&nic.rx, &good, libc::ENODATA)?;
        own(&nic, "ENODATA", "built no buffer pool for that queue")?;
        nic.knob("readable_pools", "N")?;
        refused(
            &nic.rx,
            &["--interface", nic::RX, "--queue", "1", "--wrong", "endless-area"],
            libc::EOVERFLOW,
        )?;
        let socket = XdpSocket::bind(nic.receiving(), nic::QUEUE)?;
        refused(&nic.rx, &good, libc::EBUSY)?;
        own(&nic, "EBUSY", "AF_XDP")?;
        drop(socket);
        let held = crate::harness::foreign::Foreign::start(&nic.rx, &good)?;
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
    (&["--interface", "lo", "--wrong", "endless-region"], libc::E2BIG),
    (&["--interface", "lo", "--wrong", "restricted"], libc::EACCES),
];

/// Exit code of `zcrxd run` where the configured backend is not available.
const NOT_AVAILABLE: i32 = 3;

/// zcrxd explains a refused queue: errno, reason, exit code.
fn own(nic: &Nic, errno: &str, words: &str) -> Result<()> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut command = nic.rx.command(program("zcrxd"));
    command.args(["run", "--backend", "device", "--interface", nic::RX, "--queue", &queue, "--no-probes"]);
    let said = refused_to_run(command.args(["--listen", &listen]))?;
    ensure!(said.contains(errno) && said.contains(words), "zcrxd does not say {errno} and {words:?}: {said}");
    Ok(())
}

/// Runs a zcrxd that cannot receive; what it says.
fn refused_to_run(command: &mut Command) -> Result<String> {
    let directory = crate::harness::work().join("run");
    let output = command
        .args(["--web.listen-address", "127.0.0.1:9965", "--runtime-dir"])
        .arg(directory)
        .output()
        .context("cannot run zcrxd")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}");
    ensure!(output.status.code() == Some(NOT_AVAILABLE), "zcrxd ended with {}: {said}", output.status);
    Ok(said)
}

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
