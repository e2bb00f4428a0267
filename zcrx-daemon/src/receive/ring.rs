//! One io_uring, as the receive path uses it.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

use super::ReceiveError;
use zcrx_uapi::zcrx::{
    IORING_SETUP_CLAMP, IORING_SETUP_CQE32, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
};

/// Submission queue entries. A batch may hold more requests: then it is submitted in parts.
const SQ_ENTRIES: u32 = 256;

/// How often a full submission queue is submitted for the sake of one request, before the ring counts as failed.
const PUSH_ATTEMPTS: u32 = 8;

/// Completions taken off the ring at once; the ring's own slots are free again before these are looked at.
pub(super) const REAP_AT_ONCE: usize = 128;

/// The flags that [`Ring::new`] sets up a ring with.
pub(super) const SETUP_FLAGS: u32 =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQE32 | IORING_SETUP_CLAMP;

/// A ring that belongs to the thread that made it.
pub(super) struct Ring {
    uring: IoUring<squeue::Entry, cqueue::Entry32>,
}

/// Room for what is reaped at once.
pub(super) type Reaped = [MaybeUninit<cqueue::Entry32>; REAP_AT_ONCE];

impl Ring {
    /// Makes a ring for the calling thread alone.
    pub(super) fn new(cq_entries: u32) -> Result<Self, ReceiveError> {
        let uring = IoUring::<squeue::Entry, cqueue::Entry32>::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_clamp()
            .setup_cqsize(cq_entries.max(SQ_ENTRIES))
            .dontfork()
            .build(SQ_ENTRIES)
            .map_err(explain)?;
        Ok(Self { uring })
    }

    /// Queues a request, to be submitted by the next [`Self::wait`] or when the submission queue is full.
    ///
    /// # Safety
    /// What the request points to must stay valid until its last completion is reaped.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..PUSH_ATTEMPTS {
            // SAFETY: the caller vouches for the request.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            match self.uring.submit() {
                Err(error) if !is_transient(&error) => return Err(error),
                _ => {}
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Submits what is queued and waits for a completion, at most so long.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
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

    /// Takes completions off the ring.
    pub(super) fn reap<'a>(&mut self, into: &'a mut Reaped) -> &'a [cqueue::Entry32] {
        self.uring.completion().fill(into)
    }

    /// Completions that wait to be reaped.
    pub(super) fn cq_depth(&mut self) -> u32 {
        self.uring.completion().len() as u32
    }

    /// Completion queue capacity, entries.
    pub(super) fn cq_entries(&self) -> u32 {
        self.uring.params().cq_entries()
    }

    /// Completions that the kernel had neither room nor memory for.
    pub(super) fn cq_lost(&mut self) -> u32 {
        self.uring.completion().overflow()
    }

    /// Whether completions wait in the kernel because the completion queue is full.
    pub(super) fn cq_overflows_now(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// The ring's file descriptor, for register calls.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the ring is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }

    /// Breaks the ring, on purpose: puts another file in the place of its descriptor.
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

/// Errors of io_uring_enter after which one reaps and tries again: a signal; completions to be reaped first; no
/// memory for a request right now.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// What the errno of io_uring_setup means.
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
