//! What systemd itself says of the units in `deploy/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::summary::{Outcome, Tally};
use xtask_tools::command::{find, shown};
use xtask_tools::workspace::root;

/// The exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "--threshold=19";

/// Drop-ins for a newer systemd than the oldest that the unit is for.
const NEWER: &str = "notify-reload.conf";

/// Verifies the units alone and with each drop-in, and the exposure of the service.
pub(super) fn check() -> Result<Outcome> {
    if find("systemd-analyze").is_none() {
        return Ok(Outcome::Skipped(
            "systemd-analyze is not installed (Debian: apt-get install systemd)".to_owned(),
        ));
    }
    let deploy = root().join("deploy");
    let (exposed, _) = shown(
        Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", EXPOSURE])
            .arg(deploy.join("zcrxd.service")),
    )?;
    let mut tally = vec![exposed];
    let scratch = std::env::temp_dir().join(format!("zcrxd-units-{}", std::process::id()));
    tally.push(verify(&deploy, &scratch, None)?);
    for entry in fs::read_dir(deploy.join("drop-ins"))? {
        let drop_in = entry?.path();
        if !drop_in.ends_with(NEWER) {
            tally.push(verify(&deploy, &scratch, Some(&drop_in))?);
        }
    }
    Ok(Outcome::Checked(tally.into_iter().map(Tally::one).sum()))
}

/// Verifies copies whose program exists on every machine: verification wants that.
fn verify(deploy: &Path, scratch: &Path, drop_in: Option<&Path>) -> Result<bool> {
    let folder = scratch.join("zcrxd.service.d");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for unit in ["zcrxd.service", "zcrxd.socket"] {
        let text = fs::read_to_string(deploy.join(unit))?;
        fs::write(scratch.join(unit), text.replace("/usr/bin/zcrxd", "/bin/true"))?;
    }
    if let Some(drop_in) = drop_in {
        fs::copy(drop_in, folder.join("drop-in.conf"))?;
    }
    let verified = shown(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(["zcrxd.service", "zcrxd.socket"].map(|unit| scratch.join(unit))),
    );
    fs::remove_dir_all(scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    let (succeeded, said) = verified?;
    // What systemd only ignores is a mistake here.
    Ok(succeeded && !said.contains("ignoring"))
}
