//! The steps between an interface's settings and zcrx's needs.

use serde::{Deserialize, Serialize};

use super::checks::{
    Check, Verdict, driver_checks, feature_check, flow_checks, header_split_checks, link_check, pause_check,
    provider_checks, queue_check, rss_check, xdp_check,
};
use super::driver::Driver;
use super::journal::Journal;
use super::step::{Step, steps};
use super::target::target;
use super::wanted::Wanted;
use crate::model::{HeaderSplit, Interface, Reading, Setup};

/// zcrx's needs, the current settings, and the steps between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Interface name.
    pub interface: String,
    /// Needs, one by one.
    pub checks: Vec<Check>,
    /// Changes, in order.
    pub steps: Vec<Step>,
    /// The same for ethtool, one for one.
    pub commands: Vec<String>,
}

impl Plan {
    /// Whether some need cannot be met.
    pub fn is_blocked(&self) -> bool {
        self.checks.iter().any(|check| check.verdict == Verdict::Blocked)
    }
}

/// Compares an interface with the wanted settings.
pub fn plan(current: &Interface, wanted: &Wanted) -> Plan {
    plan_after(current, wanted, None)
}

/// [`plan`] for an interface that zcrxd may have prepared before.
pub fn plan_after(current: &Interface, wanted: &Wanted, earlier: Option<&Journal>) -> Plan {
    let driver = current.driver.known().map_or(Driver::GENERIC, |name| Driver::named(name));
    let ours = earlier.map_or(&[][..], |journal| &journal.added);
    let setup = with_configured_split(current, earlier);
    let target = target(&setup, wanted, &driver, ours);
    let steps = steps(&setup, &target);
    let mut checks = vec![link_check(current), xdp_check(current)];
    checks.extend(driver_checks(&driver, wanted, &current.name));
    checks.push(queue_check(&setup, current, wanted));
    checks.extend(provider_checks(current, wanted));
    checks.extend(header_split_checks(&setup));
    checks.extend(feature_check(&setup, &driver));
    checks.push(rss_check(&setup, &target, wanted));
    checks.extend(flow_checks(&setup, wanted, ours));
    checks.extend(pause_check(current));
    let commands = steps.iter().map(|step| step.command(&current.name)).collect();
    Plan { interface: current.name.clone(), checks, steps, commands }
}

/// Adds the configured header split if it is known: from a queue with a memory provider, or from a journal if no program has
/// changed header split since.
fn with_configured_split(current: &Interface, earlier: Option<&Journal>) -> Setup {
    let mut setup = current.setup.clone();
    let Reading::Known(rings) = &mut setup.rings else { return setup };
    let mut queues = current.queues.known().into_iter().flatten();
    let left = earlier.and_then(|journal| journal.left.rings.known());
    if queues.any(|queue| queue.provider.is_some()) {
        rings.split_configured = Some(HeaderSplit::On);
    } else if let Some(left) = left.filter(|left| left.tcp_data_split == rings.tcp_data_split) {
        rings.split_configured = rings.split_configured.or(left.split_configured);
    }
    setup
}
