//! `zcrxd runbook`: what an alert means and what to do, without a browser.

use super::{Exit, complain, print};
use crate::view::runbook;

/// Arguments of `zcrxd runbook`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of an alert (ZcrxQueueStarving) or of a cause (slow_consumer, or its letter); without it, the list of pages
    name: Option<String>,
}

/// Prints a page of the runbook.
pub(super) fn run(args: &Args) -> Exit {
    let Some(name) = &args.name else {
        print(runbook::INDEX);
        return Exit::Done;
    };
    if let Some(page) = runbook::page(name) {
        print(&page);
        return Exit::Done;
    }
    let alerts: Vec<_> = runbook::alerts().collect();
    complain(&format!(
        "the runbook has no page {name}; write the name of an alert ({}) or of a cause (`zcrxd diagnose` names it)",
        alerts.join(", ")
    ));
    Exit::Usage
}
