//! Prints what a command is doing, and how long each part took.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;

/// Says what begins, does it, and says how long it took or that it failed.
///
/// On a terminal the line stands there while the work is under way; in a log it appears once, complete.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let terminal = std::io::stdout().is_terminal();
    if terminal {
        print!("  {what} ...");
        // Only decoration: if it cannot be shown yet, it will be shown later.
        std::io::stdout().flush().ok();
    }
    let begin = Instant::now();
    let result = work();
    let start = if terminal { "\r" } else { "" };
    let failed = if result.is_ok() { "" } else { ": failed" };
    println!("{start}  {what}{failed} ({:.1} s)", begin.elapsed().as_secs_f64());
    result
}
