//! The project's other chores, as checks: each as its user would call it.

use std::process::Command;

use anyhow::Result;

use super::outfit::Outfit;
use super::summary::{Outcome, Tally};
use xtask_tools::command::shown;
use xtask_tools::workspace::cargo;

/// The demo with as little traffic as shows anything.
pub(super) fn demo(outfit: &Outfit) -> Result<Outcome> {
    let (succeeded, _) = shown(chore(outfit).args(["demo", "--seconds", "3"]))?;
    Ok(Outcome::Checked(Tally::one(succeeded)))
}

/// The lab, on the newest kernel or on all.
pub(super) fn lab(outfit: &Outfit, matrix: bool) -> Result<Outcome> {
    if let Some(why) = &outfit.no_lab {
        return Ok(Outcome::Skipped(why.clone()));
    }
    let mut command = chore(outfit);
    if matrix {
        command.args(["lab", "matrix", "--check"]);
    } else {
        command.args(["lab", "run", "--keep-going"]);
    }
    let (succeeded, printed) = shown(&mut command)?;
    Ok(Outcome::Checked(Tally::of_runner(succeeded, &printed)))
}

/// The package and the service, in a guest with systemd.
pub(super) fn service(outfit: &Outfit) -> Result<Outcome> {
    if let Some(why) = &outfit.no_lab {
        return Ok(Outcome::Skipped(why.clone()));
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(Outcome::Skipped("making the guest's system needs root".to_owned()));
    }
    let (succeeded, printed) = shown(chore(outfit).args(["lab", "systemd"]))?;
    Ok(Outcome::Checked(Tally::of_runner(succeeded, &printed)))
}

fn chore(outfit: &Outfit) -> Command {
    // By cargo, since building the workspace may have replaced the program that runs now.
    let mut command = cargo();
    command.arg("xtask").envs(outfit.path().map(|path| ("PATH", path)));
    command
}
