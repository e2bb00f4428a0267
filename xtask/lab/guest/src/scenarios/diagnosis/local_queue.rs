//! Causes on zcrxd's receive path.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result};

use crate::harness::diagnosis::{BYTES, NEEDS, TEARDOWN_SAMPLES, close, named_by, watching};
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Nic};
use crate::harness::promptness;
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::sockets::sockets_of;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, area, work};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] =
    &[OWN_SLOW, OWN_BLOCKED, OWN_SMALL_AREA, OWN_COPIES, OWN_MISSTEERED, OWN_PINNED];

/// Where the destination is that does not read.
const DESTINATION: &str = "127.0.0.1:9990";

/// Samples after the begin by which a blocked sink is named: two seconds without a byte, and the next sample.
const BLOCKED_SAMPLES: usize = 3;

/// Its own sink holds everything.
const OWN_SLOW: Scenario = Scenario {
    name: "diagnosed-own-slow_consumer",
    about: "zcrxd's local queue with a destination that reads nothing: an episode, first cause slow_consumer",
    needs: NEEDS,
    proves: &[Proof::Causes(&["slow_consumer"])],
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

/// What its sink does not take is copied out, until the memory for that is used up.
const OWN_BLOCKED: Scenario = Scenario {
    name: "diagnosed-own-sink_blocked",
    about: "zcrxd's local queue with a destination that reads nothing, and the default limits: an episode, first cause sink_blocked",
    needs: NEEDS,
    proves: &[Proof::Causes(&["sink_blocked"])],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let destination = nic.rx.enter(|| TcpListener::bind(DESTINATION).context("cannot listen"))?;
        let sink = format!("forward:{DESTINATION}");
        let further = ["--sink", &sink, "--area", "16MiB"];
        flow_by(&nic, nic::QUEUE, ("sink_blocked", BLOCKED_SAMPLES), &further)?;
        drop(destination);
        Ok(())
    },
};

/// Its own area cannot fill the NIC's ring.
const OWN_SMALL_AREA: Scenario = Scenario {
    name: "diagnosed-own-area_too_small",
    about: "zcrxd's local queue with an area of 64 buffers: an episode, first cause area_too_small",
    needs: NEEDS,
    proves: &[Proof::Causes(&["area_too_small"])],
    limit: 300,
    default: false,
    run: || flow(&Nic::pair()?, "area_too_small", &["--sink", "discard", "--area", "256KiB"]),
};

/// The flow arrives on another queue, so all of it is copied, and the NIC's ring has every buffer of the area.
const OWN_COPIES: Scenario = Scenario {
    name: "diagnosed-own-copy_fallback",
    about: "zcrxd's local queue whose flow arrives on another, with an area that the NIC's ring takes whole: an episode, first \
            cause copy_fallback",
    needs: NEEDS,
    proves: &[Proof::Causes(&["copy_fallback"])],
    limit: 300,
    default: false,
    run: || flow_to(&Nic::pair()?, 2, "copy_fallback", &["--sink", "discard", "--area", "1MiB"]),
};

/// Its own flow is placed in another program's area.
const OWN_MISSTEERED: Scenario = Scenario {
    name: "diagnosed-own-missteered_flow",
    about: "a flow to zcrxd's local queue that is placed in another program's area: an episode, first cause missteered_flow",
    needs: NEEDS,
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let queue = nic::QUEUE.to_string();
        let holder = ["--interface", nic::RX, "--queue", &queue, "--listen", "127.0.0.1:9998"];
        let holder = Foreign::start(&nic.rx, &holder)?;
        flow_to(&nic, 2, "missteered_flow", &["--sink", "discard", "--area", &area(4096)])?;
        holder.quit()
    },
};

/// The local queue is removed while another process has its sockets.
const OWN_PINNED: Scenario = Scenario {
    name: "diagnosed-own-pinned_after_teardown",
    about: "zcrxd's local queue is taken out of its configuration while another process has a descriptor of its socket with \
            unread data: an episode, first cause pinned_after_teardown",
    needs: NEEDS,
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let destination = nic.rx.enter(|| TcpListener::bind(DESTINATION).context("cannot listen"))?;
        let file = work().join("zcrxd.toml");
        let with_queue = format!(
            "[[queue]]\ninterface = {:?}\nqueue = {}\nbackend = \"device\"\nlisten = [\"{}\"]\narea = \"{}\"\n\
             copy_out = \"0\"\nsink = \"forward:{DESTINATION}\"\n",
            nic::RX,
            nic::QUEUE,
            Nic::address(),
            area(4096)
        );
        fs::write(&file, with_queue).context("cannot write the configuration")?;
        let path = file.to_str().context("a path that is no text")?;
        let mut daemon = watching(&nic.rx, &["--config", path])?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), BYTES, &["--unverified"])?;
        daemon.until("a connection waits for its sink", STEP_LIMIT, |metrics| {
            metrics.sum("zcrxd_receiver_paused_connections").is_some_and(|paused| paused > 0.0)
                && metrics.sum("zcrx_queue_socket_unread_bytes").is_some_and(|unread| unread > 0.0)
        })?;
        let sockets = sockets_of(u64::from(daemon.process().id()))?;
        fs::write(&file, "").context("cannot write the configuration")?;
        daemon.process().signal(libc::SIGHUP)?;
        named_by(&daemon, "pinned_after_teardown", TEARDOWN_SAMPLES)?;
        traffic.abandon()?;
        drop((sockets, destination));
        close(daemon)
    },
};

/// The local queue, a flow to it, and the episode that must come of it.
fn flow(nic: &Nic, cause: &str, further: &[&str]) -> Result<()> {
    flow_to(nic, nic::QUEUE, cause, further)
}

/// The local queue of this number, a flow to [`nic::QUEUE`], and the episode that must come of it.
fn flow_to(nic: &Nic, queue: u32, cause: &str, further: &[&str]) -> Result<()> {
    flow_by(nic, queue, (cause, promptness::SAMPLES), further)
}

/// The same, where the cause is named by another sample.
fn flow_by(nic: &Nic, queue: u32, (cause, samples): (&str, usize), further: &[&str]) -> Result<()> {
    let (listen, queue) = (Nic::address(), queue.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device"]);
    arguments.extend(further);
    let daemon = watching(&nic.rx, &arguments)?;
    let traffic = Traffic::start(&nic.tx, &listen, BYTES, &["--unverified"])?;
    named_by(&daemon, cause, samples)?;
    traffic.abandon()?;
    close(daemon)
}
