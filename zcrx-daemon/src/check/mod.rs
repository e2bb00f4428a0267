//! What this host can do: `zcrxd check`.
//!
//! [`Facts::gather`] asks the kernel, really attaches the probes and detaches them, and reads the interfaces;
//! [`report`] judges what was found and asks nobody. What stands in the way of everything is said once: where privileges
//! are lacking, the probes that they would be for are skipped and not failed.

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

/// Judges what was gathered. Nothing of the interfaces is an answer too.
pub fn report(facts: &Facts) -> CheckReport {
    let groups = [
        kernel::judge(&facts.kernel),
        configuration::judge(&facts.kernel.config),
        io_uring::judge(&facts.offer, &facts.kernel),
        privileges::judge(&facts.kernel),
        probes::judge(&facts.probe.probes, &facts.kernel, &facts.offer),
        interfaces::judge(facts),
    ];
    CheckReport::new(facts, groups.into_iter().flatten().collect())
}
