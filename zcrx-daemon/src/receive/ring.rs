//! The io_uring of one receive thread.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

use super::ReceiveError;
use zcrx_uapi::zcrx::{
    IORING_SETUP_CLAMP, IORING_SETUP_CQE32, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
};

/// Submission queue entries. The ring submits a batch with more requests in parts.
const SQ_ENTRIES: u32 = 256;

/// Wait for completions while requests remain that the kernel could not accept.
const LEFTOVER_WAIT: Duration = Duration::from_millis(5);

/// Longest wait of a ring that gathers completions.
const LONGEST_GATHERING: Duration = Duration::from_mins(1);

/// Setup flags of [`Ring::new`].
pub(super) const SETUP_FLAGS: u32 =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQE32 | IORING_SETUP_CLAMP;

/// A ring that belongs to one thread.
pub(super) struct Ring {
    uring: IoUring<squeue::Entry, cqueue::Entry32>,
    min_wait: Option<MinWait>,
}

/// How a wait gathers completions.
#[derive(Clone, Copy, Debug)]
struct MinWait {
    time: Duration,
    /// Completions that end the wait before its time.
    completions: u32,
}

impl Ring {
    /// Creates a ring for the calling thread only.
    pub(super) fn new(cq_entries: u32) -> Result<Self, ReceiveError> {
        Self::build(cq_entries, false)
    }

    /// Creates a ring without an owner: any thread may register with it, until a thread calls [`Self::enable`].
    pub(super) fn disabled(cq_entries: u32) -> Result<Self, ReceiveError> {
        Self::build(cq_entries, true)
    }

    fn build(cq_entries: u32, disabled: bool) -> Result<Self, ReceiveError> {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry32>::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_clamp()
            .setup_cqsize(cq_entries.max(SQ_ENTRIES))
            .dontfork();
        if disabled {
            builder.setup_r_disabled();
        }
        Ok(Self { uring: builder.build(SQ_ENTRIES).map_err(explain)?, min_wait: None })
    }

    /// Makes the calling thread the owner of a disabled ring.
    pub(super) fn enable(&self) -> io::Result<()> {
        self.uring.submitter().register_enable_rings()
    }

    /// Makes waits gather completions: for this time, or until so many wait, whichever comes first. A completion after that time
    /// ends the wait at once. Returns whether the kernel supports that (Linux 6.12).
    pub(super) fn gather(&mut self, time: Duration, completions: u32) -> bool {
        // A wait for more would outlast a full completion queue.
        let completions = completions.min(self.cq_entries() / 2);
        let supported = self.uring.params().is_feature_min_timeout();
        self.min_wait = supported.then_some(MinWait { time, completions });
        supported
    }

    /// Shortest time of a wait; `None` if the first completion ends each wait.
    pub(super) fn min_wait(&self) -> Option<Duration> {
        self.min_wait.map(|wait| wait.time)
    }

    /// Submits requests and waits for completions. Requests that the kernel cannot accept now stay in
    /// `pending`: then the wait is short.
    pub(super) fn submit_and_wait(&mut self, pending: &mut Vec<squeue::Entry>) -> io::Result<()> {
        if !pending.is_empty() && !self.queue(pending)? {
            return self.enter(Some(LEFTOVER_WAIT));
        }
        match self.min_wait {
            None => self.enter(None),
            Some(wait) => self.enter_and_gather(wait),
        }
    }

    /// As [`Self::submit_and_wait`], and waits at most `limit`.
    pub(super) fn submit_and_wait_within(
        &mut self,
        pending: &mut Vec<squeue::Entry>,
        limit: Duration,
    ) -> io::Result<()> {
        let all = self.queue(pending)?;
        self.enter(Some(if all { limit } else { limit.min(LEFTOVER_WAIT) }))
    }

    /// Moves requests to the submission queue, and submits the queue whenever it is full. Returns whether all have been moved.
    fn queue(&mut self, pending: &mut Vec<squeue::Entry>) -> io::Result<bool> {
        let mut moved = 0;
        let result = loop {
            let mut submission = self.uring.submission();
            // SAFETY: the callers of `Requests::push` guarantee that the requests' memory stays valid.
            while moved < pending.len() && unsafe { submission.push(&pending[moved]) }.is_ok() {
                moved += 1;
            }
            drop(submission);
            if moved == pending.len() {
                break Ok(true);
            }
            match self.uring.submit() {
                Ok(1..) => {}
                Ok(0) => break Ok(false),
                Err(error) if is_transient(&error) => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        pending.drain(..moved);
        result
    }

    /// Submits the submission queue and waits for a completion, at most for the given time.
    fn enter(&self, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.uring.submitter();
        let result = match timeout {
            None => submitter.submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        forgive(result)
    }

    /// Submits the submission queue and gathers completions.
    fn enter_and_gather(&self, wait: MinWait) -> io::Result<()> {
        let micros = u32::try_from(wait.time.as_micros()).unwrap_or(u32::MAX);
        // Without a longest time, the kernel ends the wait after the shortest one even if nothing has completed.
        let longest = Timespec::from(LONGEST_GATHERING);
        let args = SubmitArgs::new().min_wait_usec(micros).timespec(&longest);
        forgive(self.uring.submitter().submit_with_args(wait.completions as usize, &args))
    }

    /// The waiting completions. Dropping the iterator returns their slots to the kernel.
    #[inline]
    pub(super) fn completions(&mut self) -> cqueue::CompletionQueue<'_, cqueue::Entry32> {
        self.uring.completion()
    }

    /// Completions that wait to be reaped.
    pub(super) fn cq_depth(&mut self) -> u32 {
        self.uring.completion().len() as u32
    }

    /// Completion queue capacity, entries.
    pub(super) fn cq_entries(&self) -> u32 {
        self.uring.params().cq_entries()
    }

    /// Completions that the kernel lost, because it had neither room nor memory for them.
    pub(super) fn cq_lost(&mut self) -> u32 {
        self.uring.completion().overflow()
    }

    /// Whether completions wait in the kernel because the completion queue is full.
    pub(super) fn cq_overflows_now(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Whether one completion of a receive may bring several buffers (Linux 6.10).
    pub(super) fn has_bundles(&self) -> bool {
        self.uring.params().is_feature_recvsend_bundle()
    }

    /// The ring's file descriptor, for register calls.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the ring is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }

    /// Breaks the ring for a test: replaces its descriptor by another file.
    pub(super) fn spoil(&self) -> io::Result<()> {
        let other = fs::File::open("/dev/null")?;
        // SAFETY: the descriptor stays open, as another file. Its owner closes it as it would have closed the ring; the
        // ring's memory is mapped independently of it.
        match unsafe { libc::dup3(other.as_raw_fd(), self.uring.as_raw_fd(), libc::O_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Register calls that the io-uring crate offers.
    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.uring.submitter()
    }
}

/// Takes an end of a wait without completions for success: the time is over, or the loop must reap first.
fn forgive(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ETIME) || is_transient(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// Errors of io_uring_enter after which the loop reaps and retries: a signal; completions to be reaped first; no
/// memory for a request right now.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// Explains an errno of io_uring_setup.
fn explain(source: io::Error) -> ReceiveError {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let (meaning, remedy) = match (source.raw_os_error(), disabled.trim()) {
        (Some(libc::EPERM), level @ ("1" | "2")) => (
            format!("the sysctl kernel.io_uring_disabled is {level}"),
            "set it to 0, or to 1 and the sysctl kernel.io_uring_group to a group of this user",
        ),
        (Some(libc::EPERM), _) => (
            "io_uring is forbidden to this process, most likely by a seccomp filter".to_owned(),
            "allow the system calls io_uring_setup, io_uring_enter and io_uring_register",
        ),
        (Some(libc::ENOSYS), _) => (
            "this kernel has no io_uring, or a seccomp filter hides it".to_owned(),
            "use a kernel with CONFIG_IO_URING and allow the system call",
        ),
        (Some(libc::EINVAL), _) => ("this kernel's io_uring is too old".to_owned(), "use Linux 6.1 or later"),
        (Some(libc::ENOMEM), _) => (
            "over the limit for locked memory, or out of memory".to_owned(),
            "raise the limit (`ulimit -l`, LimitMEMLOCK=), or ask for fewer cq_entries",
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            ("too many open files".to_owned(), "raise the limit (`ulimit -n`, LimitNOFILE=)")
        }
        _ => (source.to_string(), "io_uring_setup(2) lists the reasons"),
    };
    ReceiveError::Ring { source, meaning, remedy }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;
    use std::thread;

    use io_uring::{opcode, types};
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    /// A request that completes when the descriptor is written to.
    fn poll(file: &OwnedFd) -> squeue::Entry {
        opcode::PollAdd::new(types::Fd(file.as_raw_fd()), libc::POLLIN as u32).build()
    }

    /// Polls one descriptor that is ready and one that another thread makes ready during the wait, or before it. Returns the number
    /// of completions after one wait.
    fn completions_of_a_wait(ring: &mut Ring) -> usize {
        let [first, second] = [1, 0].map(|value| eventfd(value, EventfdFlags::CLOEXEC).expect("an eventfd"));
        let mut pending = vec![poll(&first), poll(&second)];
        let second = &second;
        thread::scope(|scope| {
            scope.spawn(move || {
                // Long enough for the other thread to wait. Too short a time does not change the result.
                thread::sleep(Duration::from_millis(20));
                rustix::io::write(second, &1_u64.to_ne_bytes()).expect("an eventfd takes a number");
            });
            ring.submit_and_wait(&mut pending).expect("a wait");
            ring.completions().count()
        })
    }

    #[test]
    fn ring_that_gathers_takes_several_completions_with_one_wait() {
        let mut ring = Ring::new(8).expect("a ring");
        if !ring.gather(Duration::from_mins(10), 2) {
            assert_eq!(ring.min_wait(), None, "a kernel before Linux 6.12");
            return;
        }
        assert_eq!(completions_of_a_wait(&mut ring), 2);
    }

    #[test]
    fn completion_after_the_shortest_wait_ends_it() {
        let mut ring = Ring::new(8).expect("a ring");
        ring.gather(Duration::from_micros(1), 2);
        let [late, later] = [0, 0].map(|value| eventfd(value, EventfdFlags::CLOEXEC).expect("an eventfd"));
        let mut pending = vec![poll(&late), poll(&later)];
        let (over, is_over) = mpsc::channel();
        let completed = thread::scope(|scope| {
            let (late, later) = (&late, &later);
            scope.spawn(move || {
                let complete = |file: &OwnedFd| rustix::io::write(file, &1_u64.to_ne_bytes());
                thread::sleep(Duration::from_millis(20));
                complete(late).expect("an eventfd takes a number");
                // A wait for two completions would still last, and gets the second one here.
                if is_over.recv_timeout(Duration::from_secs(30)).is_err() {
                    complete(later).expect("an eventfd takes a number");
                }
            });
            ring.submit_and_wait(&mut pending).expect("a wait");
            // Fails if the other thread has ended.
            over.send(()).ok();
            ring.completions().count()
        });
        assert_eq!(completed, 1);
    }
}
