//! Waits for episodes of starvation and reads their causes.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::daemon::Daemon;
use super::namespace::Namespace;
use super::promptness;
use super::scenario::Skip;
use super::{STEP_LIMIT, artefacts, eventually, work};

/// What all of these need: a queue, and probes that see into the kernel.
pub(crate) const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf];

/// Sent in each: more than any of these queues gets through before its scenario is over.
pub(crate) const BYTES: u64 = 1 << 30;

/// A daemon that records its episodes.
pub(crate) fn watching<'a>(namespace: &'a Namespace, further: &[&str]) -> Result<Daemon<'a>> {
    let directory = recordings();
    let directory = directory.to_str().context("a path that is no text")?;
    let mut arguments = vec!["--recordings.directory", directory];
    arguments.extend(further);
    let daemon = Daemon::start(namespace, &arguments)?;
    if daemon.metrics()?.sum("zcrxd_snapshot_queues").is_none() {
        return Err(Skip("no snapshot can be taken here".to_owned()).into());
    }
    Ok(daemon)
}

/// The daemon's answer; it becomes an artefact too.
pub(crate) fn answer(daemon: &Daemon<'_>) -> Result<Value> {
    let page = daemon.page("/diagnose.json")?;
    fs::write(artefacts().join("diagnose.json"), &page).context("cannot keep the diagnosis")?;
    serde_json::from_str(&page).context("/diagnose.json is no JSON")
}

/// Every episode there is: of queues that are there, and those that are over.
pub(crate) fn episodes(answer: &Value) -> Vec<Value> {
    let open = answer["queues"].as_array().into_iter().flatten().map(|queue| &queue["episode"]);
    let over = answer["recent"].as_array().into_iter().flatten();
    open.chain(over).filter(|episode| !episode.is_null()).cloned().collect()
}

/// The causes that an episode was found to have, first one first.
pub(crate) fn causes(episode: &Value) -> Vec<String> {
    let findings = episode["diagnosis"]["causes"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["cause"].as_str().map(str::to_owned)).collect()
}

/// Waits for an episode with this cause first, which must have been named by the second sample after its begin.
pub(crate) fn named(daemon: &Daemon<'_>, cause: &str) -> Result<Value> {
    named_by(daemon, cause, promptness::SAMPLES)
}

/// Likewise, by another sample: `docs/causes.md` says for which causes, and why.
pub(crate) fn named_by(daemon: &Daemon<'_>, cause: &str, samples: usize) -> Result<Value> {
    let episode = named_in_the_end(daemon, cause)?;
    promptness::ensure_prompt(&recordings(), &episode, cause, samples)?;
    Ok(episode)
}

/// Where the daemon records.
pub(crate) fn recordings() -> PathBuf {
    work().join("recordings")
}

/// Waits for an episode with this cause first. zcrxd may report an episode before its cause is clear, and it is
/// reconsidered then; which causes came first on the way is printed, and so is how soon the episode was noticed.
pub(crate) fn named_in_the_end(daemon: &Daemon<'_>, cause: &str) -> Result<Value> {
    let mut seen: Vec<String> = Vec::new();
    let found = eventually(&format!("an episode's first cause is {cause}"), STEP_LIMIT, || {
        for episode in episodes(&answer(daemon)?) {
            let first = causes(&episode).first().cloned().unwrap_or_else(|| "unknown".to_owned());
            if seen.last() != Some(&first) {
                seen.push(first.clone());
            }
            if first == cause {
                return Ok(Some(episode));
            }
        }
        Ok(None)
    });
    println!("first causes, as they came: {}", seen.join(", "));
    // Keeps the recordings of other causes too.
    keep_recordings()?;
    let episode = found?;
    println!(
        "{} since {:.3} s, noticed {:.3} s later; causes: {}",
        episode["trouble"],
        seconds(&episode["began"]),
        seconds(&episode["noticed"]) - seconds(&episode["began"]),
        causes(&episode).join(", ")
    );
    println!("{}", episode["diagnosis"]["causes"][0]["evidence"]);
    Ok(episode)
}

/// A time in an answer.
pub(crate) fn seconds(time: &Value) -> f64 {
    time["secs"].as_f64().unwrap_or(0.0) + time["nanos"].as_f64().unwrap_or(0.0) / 1e9
}

/// Lets the daemon go, and hands over what it recorded.
pub(crate) fn close(daemon: Daemon<'_>) -> Result<()> {
    daemon.stop()?;
    keep_recordings().map(drop)
}

/// Hands over what was recorded, if anything was; how many recordings there are.
pub(crate) fn keep_recordings() -> Result<usize> {
    let mut kept = 0;
    let directory = recordings();
    if !directory.exists() {
        return Ok(0);
    }
    for entry in directory.read_dir().context("there is no directory of recordings")? {
        let path = entry.context("cannot read the recordings")?.path();
        let name = path.file_name().context("a recording without a name")?;
        if path.is_file() {
            match fs::copy(&path, artefacts().join(name)) {
                Ok(_) => kept += 1,
                // zcrxd gave a recording that ended another name: look again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return keep_recordings(),
                Err(error) => return Err(error).context("cannot keep a recording"),
            }
        }
    }
    Ok(kept)
}

/// The kernel checks a pending pool once a second, so zcrxd reports it after two and a half; and it is detached in whole
/// seconds.
pub(crate) const TEARDOWN_SAMPLES: usize = 4;
