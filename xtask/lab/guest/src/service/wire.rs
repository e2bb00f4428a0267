//! The software NIC in this host, and another host at the other end of its wire.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use super::stages::LIMIT;
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::program;
use crate::harness::traffic::reset;

/// A queue whose connections are verified, and the port that is steered to it. The NIC's other queue has [`nic::PORT`].
pub(super) const VERIFYING_QUEUE: u32 = 2;
const VERIFYING_PORT: u16 = 9998;

/// Where the queue listens whose destination is not there.
pub(super) const UNDELIVERABLE: &str = "127.0.0.1:7005";

/// What each transfer carries.
const BYTES: u64 = 16 << 20;

/// There from the step that first asks to the end of the machine.
pub(super) fn nic() -> Result<&'static Nic> {
    static NIC: OnceLock<Nic> = OnceLock::new();
    if let Some(nic) = NIC.get() {
        return Ok(nic);
    }
    let nic = Nic::into_this_host()?;
    let (port, queue) = (VERIFYING_PORT.to_string(), VERIFYING_QUEUE.to_string());
    nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", &port, "action", &queue])?;
    Ok(NIC.get_or_init(|| nic))
}

/// Where senders to the verifying queue send.
pub(super) fn verifying() -> String {
    format!("{}:{VERIFYING_PORT}", nic::RX_ADDRESS)
}

/// Sends to the verifying queue what it verifies, on a connection for each of its two threads.
pub(super) fn send() -> Result<()> {
    let (to, bytes) = (verifying(), BYTES.to_string());
    let mut command = nic()?.tx.command("zcrxd");
    command.args(["send", "--to", &to, "--bytes", &bytes, "--connections", "2"]);
    Process::start("send", &mut command)?.finish(LIMIT).map(drop)
}

/// A connection to the verifying queue that is reset, and one whose data goes to a destination without a listener.
pub(super) fn fail() -> Result<()> {
    let connect = || {
        let mut stream = TcpStream::connect(verifying()).context("cannot connect to the verifying queue")?;
        stream.write_all(b"not for long").context("cannot send")?;
        Ok(stream)
    };
    reset(nic()?.tx.enter(connect)?)?;
    let mut stream =
        TcpStream::connect(UNDELIVERABLE).context("cannot connect to the queue on the loopback")?;
    stream.write_all(b"undeliverable").context("cannot send")
}

/// Another program asks for queues: one that it gets and lets go of, and one that it does not get.
pub(super) fn register() -> Result<()> {
    let register = |arguments: &[&str]| {
        let mut command = Command::new(program("faulty-app"));
        command.arg("register").args(arguments);
        Process::start("faulty-app", &mut command)?.wait(LIMIT)
    };
    let given = register(&["--interface", nic::RX, "--queue", "3"])?;
    ensure!(given.success(), "another program is refused a queue: {given}");
    let refused = register(&["--interface", "lo"])?;
    ensure!(
        refused.code() == Some(libc::EOPNOTSUPP),
        "the loopback gives a queue, or another errno: {refused}"
    );
    Ok(())
}
