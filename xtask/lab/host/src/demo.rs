//! Zero copy and a diagnosed starvation in a guest, with the daemon's web endpoint on the host's loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zcrx_lab_guest::protocol::{Demo, Message};

use super::Lab;
use super::nics::NicKind;
use super::session::listen;
use xtask_tools::apt::Network;

/// Where zcrxd listens in the guest, and on the host if that is free.
const PORT: u16 = 9965;

/// What the guest's network needs; the kernel for virtual machines has them as modules. In order of loading.
const MODULES: [&str; 3] = ["failover", "net_failover", "virtio_net"];

/// How long the guest may send nothing: longer than the longest step in it.
const SILENCE_LIMIT: Duration = Duration::from_mins(4);

/// Boots the newest kernel and shows rounds of traffic and starvation for that long after it is ready. Without a named NIC on
/// gve, the kernel's own driver on an emulated device, or the software NIC where that is not available. Fails if a byte is wrong,
/// or zcrxd does not name the cause that was made.
pub fn demo(duration: Duration, nic: Option<NicKind>) -> Result<()> {
    let mut lab = Lab::open(Network::Online, &[])?;
    lab.nic = nic.unwrap_or(NicKind::Gve);
    let newest = lab.kernels.newest()?.clone();
    let mut kernel = lab.nic.kernel(&newest);
    let (mut archive, mut nics) = lab.archive(&kernel)?;
    if nic.is_none() && nics.is_none() {
        println!(
            "no emulated NIC for the driver gve here (it takes QEMU 11): the demo shows the software NIC"
        );
        lab.nic = NicKind::Software;
        kernel = newest;
        (archive, nics) = lab.archive(&kernel)?;
    }
    let kernel = &kernel;
    for (name, module) in MODULES.iter().zip(lab.kernels.own_modules(kernel, &MODULES)?) {
        archive.file(Path::new("/lab/net").join(name).with_extension("ko"), &module)?;
    }
    let directory = lab.directory.join("demo");
    let mut machine = lab.machine_with(kernel, archive, nics, &directory)?;
    let port = free_port()?;
    machine.forward = Some((port, PORT));
    machine.init = vec!["demo".to_owned(), duration.as_secs().to_string()];
    let mut running = machine.start(Stdio::null(), Stdio::piped())?;
    let messages =
        listen(running.results().context("a machine's results can be read once")?, directory.clone());
    let (mut summary, mut wrong) = (Vec::new(), Vec::new());
    loop {
        match messages.recv_timeout(SILENCE_LIMIT) {
            Ok(Ok(Message::Demo(Demo::Ready))) => {
                println!(
                    "Page for people: http://127.0.0.1:{port}/   metrics: http://127.0.0.1:{port}/metrics"
                );
            }
            Ok(Ok(Message::Demo(Demo::Line(line)))) => println!("{line}"),
            Ok(Ok(Message::Demo(Demo::Summary(line)))) => summary.push(line),
            Ok(Ok(Message::Demo(Demo::Wrong(line)))) => wrong.push(line),
            Ok(Ok(Message::Done { .. })) => break,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(error) => bail!("the guest is gone or silent ({error}); see {}", directory.display()),
        }
    }
    println!("\nSummary");
    for line in &summary {
        println!("  {line}");
    }
    for line in &wrong {
        println!("  WRONG        {line}");
    }
    if !wrong.is_empty() {
        bail!("the demo did not show what it must; the guest's output: {}", directory.display());
    }
    println!("  result       ok: every byte is right, and each verdict names the cause that was made");
    Ok(())
}

/// The well-known port if it is free, else any.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    let address =
        listener.and_then(|listener| listener.local_addr()).context("no port of the loopback is free")?;
    Ok(address.port())
}
