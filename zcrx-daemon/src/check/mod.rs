//! What this host supports: `zcrxd check`.
//!
//! [`Facts::gather`] queries the kernel, attaches the probes and detaches them, and reads the interfaces. [`report`] is a
//! pure function of these facts. A common reason appears once: without privileges, the probes are skipped, not failed.

mod causes;
mod configuration;
mod facts;
mod interfaces;
mod io_uring;
mod kernel;
mod privileges;
mod probes;
mod render;
mod report;

pub use facts::Facts;
pub use io_uring::Offer;
pub use render::{Style, text};
pub use report::{CheckReport, Finding, Group, Summary, Verdict};

/// Judges the facts.
pub fn report(facts: &Facts) -> CheckReport {
    let groups = [
        kernel::judge(&facts.kernel),
        configuration::judge(&facts.kernel.config),
        io_uring::judge(&facts.offer, &facts.kernel),
        privileges::judge(&facts.kernel),
        probes::judge(&facts.probe.probes, &facts.kernel, &facts.offer),
        probes::judge_self_check(facts.probe.self_check.as_deref()),
        interfaces::judge(facts),
        causes::judge(&facts.probe.probes),
    ];
    CheckReport::new(facts, groups.into_iter().flatten().collect())
}
