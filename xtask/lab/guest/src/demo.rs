//! The full story in one guest, for someone who watches from outside.

use std::time::Duration;

use anyhow::Result;
use zcrx_lab_guest::protocol::Message;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Nic};
use crate::harness::traffic::Traffic;
use crate::harness::{self, eventually, program};
use crate::init;
use crate::results::Results;

/// The guest's address on QEMU's user network, where forwarded ports lead to.
const OUTSIDE: &str = "10.0.2.15/24";
/// How long each step may take.
const LIMIT: Duration = Duration::from_mins(2);
/// What each transfer carries.
const BYTES: u64 = 32 << 20;
/// The queue of the application that is not zcrxd, and the port that is steered to it.
const STRANGER: (&str, &str) = ("2", "9998");

/// Tells the story until the host ends the machine; never returns.
pub(crate) fn run() -> Result<()> {
    init::set_path();
    let told = init::mount_all().and_then(|()| {
        let mut results = Results::port()?;
        let told = tell(&mut results);
        if let Err(error) = &told {
            say(&mut results, &format!("FAILED: {error:#}"))?;
        }
        results.say(&Message::Done { left: Vec::new() })
    });
    if let Err(error) = told {
        println!("zcrx-lab: {error:#}");
    }
    init::power_off()
}

fn say(results: &mut Results, line: &str) -> Result<()> {
    results.say(&Message::Fact { name: "demo".to_owned(), value: line.to_owned() })
}

fn tell(results: &mut Results) -> Result<()> {
    for module in ["failover", "net_failover", "virtio_net"] {
        nic::insert(&program("net").join(module).with_extension("ko"), "")?;
    }
    let outside = eventually("the guest has an interface to the host", LIMIT, nic::other)?;
    let nic = Nic::pair()?;
    nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", STRANGER.1, "action", STRANGER.0])?;
    nic.rx.adopt(&outside)?;
    nic.rx.run("ip", &["addr", "add", OUTSIDE, "dev", &outside])?;
    nic.rx.run("ip", &["link", "set", &outside, "up"])?;
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let arguments = ["--listen", &listen, "--interface", nic::RX, "--queue", &queue, "--backend", "device"];
    let mut daemon = Daemon::start_public(&nic.rx, &[&arguments[..], &["--sink", "verify"]].concat())?;
    say(results, &format!("Linux {}: zcrxd receives on {}:{queue}", harness::kernel_release(), nic::RX))?;
    say(results, "ready")?;
    for round in 1_u64.. {
        daemon.process().alive()?;
        let before = nic.stat("rx1_niov_bytes")?;
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(LIMIT)?;
        let written = nic.stat("rx1_niov_bytes")? - before;
        say(
            results,
            &format!("round {round}: {BYTES} bytes sent and verified, {written} written by the NIC itself"),
        )?;
        starve(&nic, results)?;
    }
    Ok(())
}

/// A stranger's queue runs dry and recovers.
fn starve(nic: &Nic, results: &mut Results) -> Result<()> {
    let (queue, port) = STRANGER;
    let listen = format!("{}:{port}", nic::RX_ADDRESS);
    let arguments =
        ["--interface", nic::RX, "--queue", queue, "--listen", &listen, "--fault", "never-return"];
    let mut foreign = Foreign::start(&nic.rx, &arguments)?;
    let traffic = Traffic::start(&nic.tx, &listen, BYTES / 4, &[])?;
    let counter = format!("rx{queue}_alloc_fail");
    let before = nic.stat(&counter)?;
    eventually("the stranger's queue starves", LIMIT, || Ok((nic.stat(&counter)? > before).then_some(())))?;
    let held = number(&foreign.truth()?, "held_buffers")?;
    say(
        results,
        &format!("a program that returns nothing has starved queue {queue}: it holds {held} buffers"),
    )?;
    std::thread::sleep(Duration::from_secs(5));
    foreign.order("resume")?;
    traffic.finish(LIMIT)?;
    foreign.quit()?;
    say(results, "it has returned them, and its transfer went on to its verified end")
}
