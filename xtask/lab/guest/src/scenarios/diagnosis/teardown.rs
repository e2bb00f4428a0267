//! A queue that is gone, but not all of it.

use anyhow::ensure;

use crate::harness::diagnosis::{BYTES, NEEDS, TEARDOWN_SAMPLES, close, named_by, watching};
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::sockets::sockets_of;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[PINNED];

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
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let mut arguments = vec!["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
        arguments.extend(["--area-buffers", "1024", "--fault", "not-reading"]);
        let mut foreign = Foreign::start(&nic.rx, &arguments)?;
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
