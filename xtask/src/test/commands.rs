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
    let kernels: &[&str] = if matrix { &["matrix", "--check"] } else { &["run", "--keep-going"] };
    // NIC drivers of the kernel's own, where QEMU can emulate their devices and the module is there or can be built; else the lab says
    // why they are skipped. fbnic, with what is cheap and its own: a boot of about a minute.
    let gve = &["run", "--keep-going", "--nic", "gve"];
    let fbnic =
        &["run", "--keep-going", "--nic", "fbnic", "driver-prepares", "fbnic-configured", "zero-copy"];
    let run = |arguments: &[&str]| -> Result<Tally> {
        let (succeeded, printed) = shown(xtask(prerequisites).arg("lab").args(arguments))?;
        Ok(Tally::of_runner(succeeded, &printed))
    };
    Ok(Outcome::Checked([run(kernels)?, run(gve)?, run(fbnic)?].into_iter().sum()))
}

/// The gated costs, on a machine that counts instructions.
pub(super) fn cost(prerequisites: &Prerequisites) -> Result<Outcome> {
    if let Some(why) = &prerequisites.no_lab {
        return Ok(Outcome::Skipped(why.clone()));
    }
    let (succeeded, printed) = shown(xtask(prerequisites).args(["bench", "--check"]))?;
    Ok(match printed.lines().find_map(|line| line.strip_prefix("not compared: ")) {
        Some(why) if succeeded => Outcome::Skipped(why.to_owned()),
        _ => Outcome::Checked(Tally::one(succeeded)),
    })
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
