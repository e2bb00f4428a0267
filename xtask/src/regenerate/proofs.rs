//! The table of statements that the lab's scenarios prove, for the daemon's documentation.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Deserialize;
use xtask_tools::command::output;
use xtask_tools::workspace::cargo;

use super::Generated;

const PATH: &str = "zcrx-daemon/src/proofs/table.rs";

const HEAD: &str = "\
//! Statements, and the scenarios that prove them. Written by `cargo xtask regenerate`: change `proves` of a scenario.

pub(super) const PROOFS: &[(&str, &str)] = &[
";

/// The part of a scenario's description that is used here.
#[derive(Deserialize)]
struct Scenario {
    name: String,
    proves: Vec<String>,
}

/// Returns the table, asked of the guest's program.
pub(super) fn file() -> Result<Generated> {
    let listed = output(cargo().args([
        "run",
        "--quiet",
        "--package",
        "zcrx-lab-guest",
        "--bin",
        "guest",
        "--",
        "list",
    ]))?;
    let scenarios: Vec<Scenario> =
        serde_json::from_str(&listed).context("`guest list` printed no list of scenarios")?;
    let mut proofs = Vec::new();
    for scenario in &scenarios {
        proofs.extend(scenario.proves.iter().map(|statement| (statement, &scenario.name)));
    }
    // Stable: scenarios of one statement keep the order in which they run.
    proofs.sort_by_key(|(statement, _)| *statement);
    let mut text = HEAD.to_owned();
    for (statement, scenario) in proofs {
        writeln!(text, "    ({statement:?}, {scenario:?}),").expect("writing to a String cannot fail");
    }
    text.push_str("];\n");
    Ok(Generated { path: PATH.to_owned(), text })
}
