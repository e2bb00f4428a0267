//! Causes on zcrxd's own receive path.

use std::net::TcpListener;

use anyhow::{Context, Result};

use super::super::Scenario;
use super::{BYTES, NEEDS, close, named, watching};
use crate::lab::nic::{self, Nic};
use crate::lab::traffic::Traffic;

/// Where the destination is that does not read.
const DESTINATION: &str = "127.0.0.1:9990";

/// Its own sink holds everything.
pub(in crate::scenarios) const OWN_SLOW: Scenario = Scenario {
    name: "diagnosed-own-slow_consumer",
    about: "zcrxd's own queue with a destination that reads nothing: an episode, first cause slow_consumer",
    needs: NEEDS,
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let destination = nic.rx.enter(|| TcpListener::bind(DESTINATION).context("cannot listen"))?;
        let sink = format!("forward:{DESTINATION}");
        // By default what a slow sink holds is copied out long before the area runs dry.
        let further = ["--sink", &sink, "--area", "8MiB", "--hold-limit", "8MiB", "--copy-out", "0"];
        flow(&nic, "slow_consumer", &further)?;
        drop(destination);
        Ok(())
    },
};

/// Its own area cannot fill the NIC's ring.
pub(in crate::scenarios) const OWN_SMALL_AREA: Scenario = Scenario {
    name: "diagnosed-own-area_too_small",
    about: "zcrxd's own queue with an area of 64 buffers: an episode, first cause area_too_small",
    needs: NEEDS,
    limit: 300,
    default: false,
    run: || flow(&Nic::pair()?, "area_too_small", &["--sink", "discard", "--area", "256KiB"]),
};

/// The own queue, a flow to it, and the episode that must come of it.
fn flow(nic: &Nic, cause: &str, further: &[&str]) -> Result<()> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device"]);
    arguments.extend(further);
    let daemon = watching(&nic.rx, &arguments)?;
    let traffic = Traffic::start(&nic.tx, &listen, BYTES, &["--unverified"])?;
    named(&daemon, cause)?;
    traffic.abandon()?;
    close(daemon)
}
