//! The full zero-copy story in a guest, with the daemon's web endpoint on the host's loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zcrx_lab_guest::protocol::Message;

use super::Lab;
use super::session::listen;
use xtask_tools::apt::Network;

/// Where zcrxd listens in the guest, and on the host if that is free.
const PORT: u16 = 9965;

/// What the guest's network needs; the kernel for virtual machines has them as modules. In order of loading.
const MODULES: [&str; 3] = ["failover", "net_failover", "virtio_net"];

/// How long the guest may be silent.
const PATIENCE: Duration = Duration::from_mins(3);

/// Boots the newest kernel that has the software NIC and tells what happens there for that long after it is ready.
pub fn demo(duration: Duration) -> Result<()> {
    let lab = Lab::open(Network::Online)?;
    let kernel = lab.kernels.newest()?;
    let mut archive = lab.archive(kernel)?;
    for (name, module) in MODULES.iter().zip(lab.kernels.own_modules(kernel, &MODULES)?) {
        archive.file(Path::new("/lab/net").join(name).with_extension("ko"), &module)?;
    }
    let directory = lab.directory.join("demo");
    let mut machine = lab.machine_with(kernel, archive, &directory)?;
    let port = free_port()?;
    machine.forward = Some((port, PORT));
    machine.init = vec!["demo".to_owned()];
    let mut running = machine.start(Stdio::null(), Stdio::piped())?;
    let messages =
        listen(running.results().context("a machine's results can be read once")?, directory.clone());
    let mut end: Option<Instant> = None;
    loop {
        let patience = end.map_or(PATIENCE, |end| end.saturating_duration_since(Instant::now()));
        match messages.recv_timeout(patience) {
            Ok(Ok(Message::Fact { value, .. })) if value == "ready" => {
                println!(
                    "Page for people: http://127.0.0.1:{port}/   metrics: http://127.0.0.1:{port}/metrics"
                );
                end = Some(Instant::now() + duration);
            }
            Ok(Ok(Message::Fact { value, .. })) if value.starts_with("FAILED") => bail!("{value}"),
            Ok(Ok(Message::Fact { value, .. })) => println!("{value}"),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if end.is_some_and(|end| Instant::now() >= end) => return Ok(()),
            Err(error) => bail!("the guest is gone or silent ({error}); see {}", directory.display()),
        }
    }
}

/// The well-known port if nobody has it, else any.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    let address =
        listener.and_then(|listener| listener.local_addr()).context("no port of the loopback is free")?;
    Ok(address.port())
}
