//! Other commands of xtask as checks: each is started as a user starts it.

use std::process::Command;

use anyhow::Result;

use super::prerequisites::Prerequisites;
use super::summary::{Outcome, Tally};
use xtask_tools::command::shown;
use xtask_tools::workspace::cargo;

/// The demo with as little traffic as shows anything.
pub(super) fn demo(prerequisites: &Prerequisites) -> Result<Outcome> {
    let (succeeded, _) = shown(xtask(prerequisites).args(["demo", "--seconds", "3"]))?;
    Ok(Outcome::Checked(Tally::one(succeeded)))
}

/// The lab, on the newest kernel or on all.
pub(super) fn lab(prerequisites: &Prerequisites, matrix: bool) -> Result<Outcome> {
    if let Some(why) = &prerequisites.no_lab {
        return Ok(Outcome::Skipped(why.clone()));
    }
    let mut command = xtask(prerequisites);
    if matrix {
        command.args(["lab", "matrix", "--check"]);
    } else {
        command.args(["lab", "run", "--keep-going"]);
    }
    let (succeeded, printed) = shown(&mut command)?;
    Ok(Outcome::Checked(Tally::of_runner(succeeded, &printed)))
}

/// The package and the service, in a guest with systemd.
pub(super) fn service(prerequisites: &Prerequisites) -> Result<Outcome> {
    if let Some(why) = &prerequisites.no_lab {
        return Ok(Outcome::Skipped(why.clone()));
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(Outcome::Skipped("making the guest's system needs root".to_owned()));
    }
    let (succeeded, printed) = shown(xtask(prerequisites).args(["lab", "systemd"]))?;
    Ok(Outcome::Checked(Tally::of_runner(succeeded, &printed)))
}

fn xtask(prerequisites: &Prerequisites) -> Command {
    // By cargo, since building the workspace may have replaced the program that runs now.
    let mut command = cargo();
    command.arg("xtask").envs(prerequisites.path().map(|path| ("PATH", path)));
    command
}
