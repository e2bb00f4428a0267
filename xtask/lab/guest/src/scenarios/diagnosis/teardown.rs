//! A queue whose page pool is detached: gone, but not all of it, or down with its interface.

use anyhow::ensure;

use crate::harness::diagnosis::{BYTES, NEEDS, TEARDOWN_SAMPLES, answer, close, named_by, watching};
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::sockets::sockets_of;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[PINNED, INTERFACE_DOWN];

/// Sockets that outlive the ring that their data came to.
const PINNED: Scenario = Scenario {
    name: "diagnosed-pinned_after_teardown",
    about: "a program is killed while another has a descriptor of its socket with unread data: an episode, first cause \
            pinned_after_teardown",
    needs: NEEDS,
    proves: &[Proof::Causes(&["pinned_after_teardown"])],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        nic.receive_buffers(64 << 20, 64 << 20)?;
        let listen = Nic::address();
        let mut foreign = Foreign::on_nic(&nic, &["--area-buffers", "1024", "--fault", "not-reading"])?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(()))
        })?;
        let pid = number(&foreign.truth()?, "pid")?;
        let sockets = sockets_of(pid)?;
        ensure!(!sockets.is_empty(), "process {pid} has no socket");
        traffic.abandon()?;
        foreign.kill()?;
        // A pool may take seconds to shut down regularly, so this cause is named later than others.
        named_by(&daemon, "pinned_after_teardown", TEARDOWN_SAMPLES)?;
        drop(sockets);
        close(daemon)
    },
};

/// The interface of a queue is taken down under traffic, and comes back.
const INTERFACE_DOWN: Scenario = Scenario {
    name: "diagnosed-interface_down",
    about: "the interface of a foreign program's queue is taken down: an episode, first cause interface_down, which ends once the \
            interface is up again",
    needs: NEEDS,
    proves: &[Proof::Causes(&["interface_down"])],
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let listen = Nic::address();
        let mut foreign = Foreign::on_nic(&nic, &["--area-buffers", "4096"])?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        foreign.until("it receives", STEP_LIMIT, |truth| {
            number(truth, "received_bytes").is_ok_and(|bytes| bytes > 0)
        })?;
        nic.rx.run("ip", &["link", "set", nic::RX, "down"])?;
        // A driver's reset detaches the pool too, for less than 2.5 s.
        named_by(&daemon, "interface_down", TEARDOWN_SAMPLES)?;
        traffic.abandon()?;
        nic.rx.run("ip", &["link", "set", nic::RX, "up"])?;
        nic.receiving().wait_for_carrier()?;
        eventually("the episode is over, and the queue is still there", STEP_LIMIT, || {
            let answer = answer(&daemon)?;
            let over = answer["queues"][0]["episode"].is_null() && !answer["queues"][0].is_null();
            Ok(over.then_some(()))
        })?;
        foreign.quit()?;
        close(daemon)
    },
};
