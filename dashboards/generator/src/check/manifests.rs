//! Kubernetes manifests are valid, and mixin and chart have the rules of the tables.

use std::process::{Command, Output};

use anyhow::{Context, Result};
use xtask_tools::workspace::root;

/// Exit status of deploy/validate.py when its packages cannot be fetched.
const SKIPPED: i32 = 77;

/// Complaints of deploy/validate.py; `None` if it cannot run here.
pub(super) fn check() -> Result<Option<Vec<String>>> {
    let Ok(output) = Command::new("python3").arg(root().join("deploy/validate.py")).output() else {
        println!("skipped: python3 is not installed, so manifests, chart and mixin are not validated");
        return Ok(None);
    };
    complaints(output)
}

fn complaints(output: Output) -> Result<Option<Vec<String>>> {
    let said = String::from_utf8(output.stdout).context("deploy/validate.py prints no UTF-8")?;
    match output.status.code() {
        Some(0) => Ok(Some(Vec::new())),
        Some(SKIPPED) => {
            print!("{said}");
            Ok(None)
        }
        _ => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            Ok(Some(said.lines().chain(errors.lines()).map(str::to_owned).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn missing_packages_are_neither_valid_nor_a_complaint() -> Result<()> {
        let said = |code: i32, text: &str| {
            // Bits 8 to 15 of a wait status are the exit status.
            let status = ExitStatus::from_raw(code << 8);
            complaints(Output { status, stdout: text.into(), stderr: Vec::new() })
        };
        assert_eq!(said(0, "")?, Some(Vec::new()));
        assert_eq!(said(SKIPPED, "skipped: jsonnet not installed\n")?, None);
        assert_eq!(said(1, "chart: wrong\n")?, Some(vec!["chart: wrong".to_owned()]));
        Ok(())
    }
}
