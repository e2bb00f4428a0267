//! Whether a queue would have starved with other sizes: recorded arrivals and returns, run through a counting model of the queue.
//!
//! The model keeps the conservation law: each buffer is posted, in the pool's cache, out (in a socket or with user space), or
//! allocatable. It is no evidence about kernels. What a recording does not show, such as what happens between two samples, becomes
//! a bound ([`Need`]); between the bounds the answer is "unknown". No answer assumes that senders would have sent more.

mod interval;
mod need;
mod sizes;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use need::{Need, Needs};
pub use sizes::{SizesError, TriedSizes};

use super::words;

/// Whether a queue would have starved: an allocation, or a copy by the kernel, would have found no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No allocation would have failed.
    NotStarved,
    /// An allocation would have failed.
    Starved,
    /// The recording does not show it.
    Unknown,
}

/// The answer for one pair of sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Buffers of the area that was tried.
    pub area_buffers: u64,
    /// Entries of the refill ring that was tried.
    pub refill_entries: u64,
    /// Whether the queue would have starved.
    pub outcome: Outcome,
    /// What the outcome follows from, as text.
    pub reasons: Vec<String>,
    /// What the recording shows of the need for buffers and entries.
    pub need: Need,
}

impl WhatIf {
    /// Tries sizes on what the recording shows; a size that is `None` stays as recorded.
    pub fn of(need: &Need, sizes: &TriedSizes) -> Self {
        let area_buffers = sizes.area.unwrap_or(need.recorded_area);
        let refill_entries =
            sizes.refill.map_or(need.recorded_refill, |entries| u64::from(entries).next_power_of_two());
        let (outcome, reasons) = judge(need, area_buffers, refill_entries);
        Self { area_buffers, refill_entries, outcome, reasons, need: need.clone() }
    }
}

fn judge(need: &Need, area: u64, refill: u64) -> (Outcome, Vec<String>) {
    let larger_refill = refill > need.recorded_refill && need.refill_was_full;
    if area < need.least {
        let from = need.first_beyond(area).map_or_else(String::new, |at| format!(" from {} on", time(at)));
        let reason = if need.starved && area <= need.recorded_area {
            format!("it starved with {} buffers", need.recorded_area)
        } else {
            format!("at least {} buffers were in use at once{from}", need.least)
        };
        if !larger_refill {
            return (Outcome::Starved, vec![reason]);
        }
        return (
            Outcome::Unknown,
            vec![format!(
                "{reason}; how much of that a larger refill ring would have returned is not recorded"
            )],
        );
    }
    let mut doubts = Vec::new();
    match &need.most {
        Ok(most) if area >= *most => {}
        Ok(most) => doubts.push(format!(
            "between {} and {most} buffers would have been in use at once{}",
            need.least,
            need.lasts(area)
        )),
        Err(why) => doubts.push(format!("at least {} buffers would have been in use: {why}", need.least)),
    }
    if need.starved {
        // With more buffers more returns and completions wait at once than the recording shows.
        let references = (area as f64 * need.references_per_buffer()).ceil() as u64;
        if refill < references {
            doubts.push(format!("{references} entries may have waited in a refill ring of {refill}"));
        }
        if need.completion_entries.is_some_and(|entries| entries < references) {
            doubts.push(format!("{references} completions may have filled the completion queue"));
        }
    } else if refill < need.recorded_refill && refill < need.most_entries {
        doubts.push(format!(
            "up to {} refill entries waited at once: what the owner does with returns that do not fit is not recorded",
            need.most_entries
        ));
    }
    if !doubts.is_empty() {
        return (Outcome::Unknown, doubts);
    }
    let reason = match &need.most {
        Ok(most) => {
            format!("at most {most} buffers and {} refill entries were needed at once", need.most_entries)
        }
        Err(_) => String::new(),
    };
    (Outcome::NotStarved, vec![reason])
}

/// A time since the first sample, as the rows of `zcrxd replay` have it.
fn time(at: Duration) -> String {
    format!("{:.1} s", at.as_secs_f64())
}

/// Writes the answer: the outcome first, then why, then what the model leaves out.
pub fn write_what_if(out: &mut impl Write, answer: &WhatIf) -> fmt::Result {
    let outcome = match answer.outcome {
        Outcome::NotStarved => "would not have starved",
        Outcome::Starved => "would have starved",
        Outcome::Unknown => "may have starved (the recording does not show it)",
    };
    let need = &answer.need;
    writeln!(
        out,
        "{outcome} with an area of {} buffers (recorded: {}) and a refill ring of {} entries (recorded: {})",
        answer.area_buffers, need.recorded_area, answer.refill_entries, need.recorded_refill
    )?;
    for reason in &answer.reasons {
        writeln!(out, "  + {reason}")?;
    }
    writeln!(
        out,
        "  - by a counting model of the queue over {}; it bounds what happens between samples ({} apart at most)",
        words::seconds(need.span),
        words::time(need.longest_interval)
    )?;
    if need.starved {
        writeln!(out, "  - senders that lost packets may have sent less than they would have without loss")?;
    }
    Ok(())
}
