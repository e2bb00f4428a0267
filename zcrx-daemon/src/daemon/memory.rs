//! Returns freed memory to the kernel.
//!
//! glibc keeps what a thread has freed in that thread's arena: without this, the type information that attaching probes
//! reads, and the histories of queues that have ended, would count as zcrxd's memory until it stops.

use std::time::{Duration, Instant};

/// Time between two passes over the heap, which take about a millisecond each.
const PAUSE: Duration = Duration::from_secs(10);

/// Returns freed memory of all threads to the kernel. Does nothing where the C library is not glibc.
pub(super) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the locks of the arenas and moves no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Trims the heap after queues have ended.
#[derive(Debug, Default)]
pub(super) struct Trimmer {
    queues: usize,
    due: bool,
    last: Option<Instant>,
}

impl Trimmer {
    /// Takes the number of queues in a new sample.
    pub(super) fn sampled(&mut self, queues: usize) {
        self.due |= queues < self.queues;
        self.queues = queues;
        if self.due && self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            trim();
            self.due = false;
            self.last = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_is_trimmed_once_for_queues_that_ended() {
        let mut trimmer = Trimmer::default();
        trimmer.sampled(3);
        assert_eq!(trimmer.last, None, "no queue has ended");
        trimmer.sampled(2);
        let first = trimmer.last;
        assert!(first.is_some() && !trimmer.due);
        trimmer.sampled(0);
        assert!(trimmer.due && trimmer.last == first, "the last pass was just now");
        trimmer.last = first.and_then(|first| first.checked_sub(PAUSE));
        trimmer.sampled(0);
        assert!(!trimmer.due, "a pass that was put off is made");
    }
}
