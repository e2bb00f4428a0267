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

/// Setup flags of [`Ring::new`].
pub(super) const SETUP_FLAGS: u32 =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQE32 | IORING_SETUP_CLAMP;

/// A ring that belongs to one thread.
pub(super) struct Ring {
    uring: IoUring<squeue::Entry, cqueue::Entry32>,
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
        Ok(Self { uring: builder.build(SQ_ENTRIES).map_err(explain)? })
    }

    /// Makes the calling thread the owner of a disabled ring.
    pub(super) fn enable(&self) -> io::Result<()> {
        self.uring.submitter().register_enable_rings()
    }

    /// Submits requests and waits for a completion. Requests that the kernel cannot accept now stay in
    /// `pending`: then the wait is short.
    pub(super) fn submit_and_wait(&mut self, pending: &mut Vec<squeue::Entry>) -> io::Result<()> {
        if pending.is_empty() || self.queue(pending)? {
            self.enter(None)
        } else {
            self.enter(Some(LEFTOVER_WAIT))
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
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) || is_transient(&error) => Ok(()),
            other => other.map(drop),
        }
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
