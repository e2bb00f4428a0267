//! Results of helper threads, and periodic checks.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::op::Op;
use super::state::{Ended, Phase, State};
use super::timers::Timer;
use crate::model::{BackendKind, Refusal};
use crate::net::interface_name;
use crate::receive::ReceiveError;
use crate::receive::backend::Backend;
use crate::receive::choices::BackendChoice;
use crate::receive::connections::health::unreported_ends;
use crate::receive::inbox::Answer;
use crate::receive::prepared::{Prepared, ifindex, with_current_name};
use crate::receive::ring::Ring;
use crate::receive::target::Addresses;

/// Interval of the health check.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

const LONGEST_UPGRADE_PAUSE: Duration = Duration::from_mins(1);

impl State<'_> {
    /// Handles results of helpers.
    pub(super) fn take_answers(&mut self, ring: &Ring) -> std::io::Result<()> {
        for answer in self.plan.inbox.take_answers() {
            match answer {
                Answer::Addresses(result) => self.resolved(result),
                Answer::Queues(queues) => {
                    for socket in self.acceptor.update(queues) {
                        self.place(socket);
                    }
                }
                Answer::Area(memory) => {
                    if self.backend.grow(ring, memory, &mut self.pool)? {
                        self.area_changed();
                        while let Some(index) = self.retries.pop() {
                            self.retry(index);
                        }
                    }
                }
                Answer::Upgrade(result) => self.upgraded(result),
                Answer::NoThread => self.no_helper(),
            }
        }
        Ok(())
    }

    /// Handles a helper that could not be started: its requester continues without the result, or asks again later.
    pub(super) fn no_helper(&mut self) {
        self.resolving = false;
        self.backend.no_area();
        for socket in self.acceptor.take_unplaced() {
            self.deal(socket);
        }
        if mem::take(&mut self.upgrading) {
            self.plan_upgrade();
        }
    }

    pub(super) fn resolved(&mut self, result: std::io::Result<Addresses>) {
        self.resolving = false;
        match result {
            Ok(addresses) => self.addresses = Some(Arc::new(addresses)),
            Err(error) => {
                let name = self.plan.destination();
                warn!(queue = self.plan.name, %error, "cannot resolve {name}: its last addresses are tried again");
            }
        }
    }

    /// Tries a better backend after a pause, if the configuration allows several and the current one is not the best.
    pub(super) fn plan_upgrade(&mut self) {
        let config = &self.plan.config;
        let best = if config.interface.is_some() { BackendKind::Device } else { BackendKind::Nodev };
        let may = config.backend == BackendChoice::Auto
            && self.plan.slot.is_none()
            && self.selection.refused.iter().any(may_pass);
        if may && self.selection.backend.is_some_and(|kind| kind > best) {
            self.timers.after(self.upgrade_pause, Timer::Upgrade);
            self.upgrade_pause = (self.upgrade_pause * 2).min(LONGEST_UPGRADE_PAUSE);
        }
    }

    pub(super) fn try_upgrade(&mut self) {
        let Some(current) = self.selection.backend else { return };
        if self.phase != Phase::Running || mem::replace(&mut self.upgrading, true) {
            return;
        }
        let config = with_current_name(&self.plan.config, self.ifindex);
        let exchange = Arc::clone(&self.plan.exchange);
        self.plan.inbox.offload("upgrade", move || {
            exchange.before_registration(&config);
            Answer::Upgrade(Prepared::better(&config, exchange.outlives(), current).map(Box::new))
        });
    }

    pub(super) fn upgraded(&mut self, result: Option<Box<Prepared>>) {
        self.upgrading = false;
        match result {
            Some(prepared) if self.phase == Phase::Running => self.ended = Some(Ended::Upgrade(prepared)),
            _ => self.plan_upgrade(),
        }
    }

    /// Checks for events that no completion reports: a changed interface, ended connections, a larger connection limit.
    pub(super) fn check_health(&mut self) {
        self.housekeeping = true;
        self.timers.after(HEALTH_PERIOD, Timer::Health);
        for index in unreported_ends(&mut self.connections) {
            self.reporter.counters.ring.unreported_ends += 1;
            debug!(
                queue = self.plan.name,
                index, "the connection has ended and its receive has not: starting that again"
            );
            self.requests.cancel(Op::Receive(index));
        }
        self.connections.rebalance();
        // A rename changes nothing: an interface is known by its index.
        let unchanged = match self.ifindex {
            Some(index) => interface_name(index).is_some(),
            None => ifindex(&self.plan.config).is_none(),
        };
        if self.joined.is_none() && !unchanged && self.phase == Phase::Running {
            let interface = self.plan.config.interface.clone().unwrap_or_default();
            let gone = ifindex(&self.plan.config).is_none();
            let failure = ReceiveError::InterfaceChanged { interface, gone };
            self.ended = Some(Ended::Failed(failure));
        }
    }
}

/// Whether a later attempt may succeed after this refusal. A feature that the kernel or the driver lacks stays missing, and
/// each attempt would count as a refused registration.
fn may_pass(refusal: &Refusal) -> bool {
    let busy = matches!(refusal.errno, Some(libc::EEXIST | libc::EBUSY | libc::ENOMEM));
    // The interface was gone or down, or its header split was off.
    let unprepared = refusal.backend == BackendKind::Device
        && matches!(refusal.errno, Some(libc::ENODEV | libc::ENETDOWN | libc::EINVAL));
    busy || unprepared
}
