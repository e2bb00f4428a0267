//! Keeps zcrxd's own memory small.
//!
//! glibc keeps what a thread has freed in that thread's arena: without this, the type information that attaching probes
//! reads, and the histories of queues that have ended, would count as zcrxd's memory until it stops.

use std::time::{Duration, Instant};

/// Free memory at the end of an arena that is kept for the next allocation, bytes.
const KEPT_BYTES: i32 = 2 << 20;

/// Makes the kernel and the allocator give no more memory than is used. Comes before threads start.
pub(super) fn keep_small() {
    use_small_pages();
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt sets numbers of the allocator, which no other thread uses yet.
    unsafe {
        // Without these, glibc raises both to what the largest freed block was: a block of type information lets it keep 12 MiB at the end of
        // an arena, which malloc_trim does not look at.
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES);
    }
}

/// Asks for pages of the ordinary size wherever zcrxd does not ask for huge ones itself, as it does for areas.
///
/// Where all processes get transparent huge pages, 2 MiB count as used as soon as a byte of them is: zcrxd's stacks and heap then
/// take 5 to 21 MiB, depending on the addresses that the kernel chose. Linux 6.18; an older kernel refuses this, and zcrxd is larger.
fn use_small_pages() {
    // Of the kernel's include/uapi/linux/prctl.h.
    const PR_THP_DISABLE_EXCEPT_ADVISED: libc::c_ulong = 1 << 1;
    const NONE: libc::c_ulong = 0;
    const YES: libc::c_ulong = 1;
    // SAFETY: this prctl reads its arguments, which are numbers, and no memory.
    let _refused =
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, YES, PR_THP_DISABLE_EXCEPT_ADVISED, NONE, NONE) };
}

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
