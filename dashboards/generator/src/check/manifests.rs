//! Kubernetes manifests are valid, and mixin and chart have the rules of the tables.

use std::process::Command;

use anyhow::{Context, Result};
use xtask_tools::workspace::root;

/// Exit status of deploy/validate.py when its packages cannot be fetched.
const SKIPPED: i32 = 77;

pub(super) fn check() -> Result<Vec<String>> {
    let Ok(output) = Command::new("python3").arg(root().join("deploy/validate.py")).output() else {
        println!("skipped: python3 is not installed, so manifests and mixin are not validated");
        return Ok(Vec::new());
    };
    let said = String::from_utf8(output.stdout).context("deploy/validate.py prints no UTF-8")?;
    match output.status.code() {
        Some(0) => Ok(Vec::new()),
        Some(SKIPPED) => {
            print!("{said}");
            Ok(Vec::new())
        }
        _ => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            Ok(said.lines().chain(errors.lines()).map(str::to_owned).collect())
        }
    }
}
