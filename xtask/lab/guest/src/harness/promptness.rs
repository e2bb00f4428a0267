//! How soon a cause was named, in samples: what the daemon looked at, and not how busy the machine was.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::diagnosis::{causes, seconds};
use super::nic::Driver;
use super::{STEP_LIMIT, eventually};

/// Samples after the begin of an episode, as the kernel stamped it, by which its cause must have been named first. One
/// is taken every second: the first may come a moment after the begin, and the second shows that it lasts.
pub(crate) const SAMPLES: usize = 2;

/// The same where no figure counts dropped packets: failures must then last for five seconds before they are an alarm.
const SAMPLES_WITHOUT_DROPS: usize = 6;

/// Fails unless the recording of this episode shows its cause named first by that sample after its begin.
pub(crate) fn ensure_prompt(recordings: &Path, episode: &Value, cause: &str, limit: usize) -> Result<()> {
    // A verdict can be read before it is recorded.
    let what = format!("a recording has the episode with {cause} first");
    let samples = eventually(&what, STEP_LIMIT, || samples_until_named(recordings, episode, cause))?;
    let limit = if Driver::of_this_guest().is_ok_and(|driver| !driver.counts_drops()) {
        limit.max(SAMPLES_WITHOUT_DROPS)
    } else {
        limit
    };
    println!("{cause} was named first with sample {samples} after the begin");
    ensure!(samples <= limit, "{cause} was named first only with sample {samples} after the begin");
    Ok(())
}

/// Samples after the begin of the episode up to the one with which this cause was first, if that is recorded.
fn samples_until_named(recordings: &Path, episode: &Value, cause: &str) -> Result<Option<usize>> {
    let Ok(entries) = recordings.read_dir() else { return Ok(None) };
    for entry in entries {
        let path = entry.context("cannot read the recordings")?.path();
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(samples) = in_recording(&text, episode, cause) {
            return Ok(Some(samples));
        }
    }
    Ok(None)
}

/// The same in one recording, if it has the episode and its cause was named.
fn in_recording(text: &str, episode: &Value, cause: &str) -> Option<usize> {
    let began = seconds(&episode["began"]);
    let mut samples = 0;
    // The last line may be in the making.
    for line in text.lines().skip(1).map_while(|line| serde_json::from_str::<Value>(line).ok()) {
        samples += usize::from(line["sample"].is_object() && seconds(&line["sample"]["at"]) > began);
        let recorded =
            ["began", "reconsidered"].iter().map(|kind| &line[*kind]).find(|kind| kind.is_object());
        let same =
            recorded.filter(|other| other["began"] == episode["began"] && other["key"] == episode["key"]);
        if same.is_some_and(|same| causes(same).first().is_some_and(|first| first == cause)) {
            return Some(samples);
        }
    }
    None
}
