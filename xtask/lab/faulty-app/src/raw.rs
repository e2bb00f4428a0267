//! An io_uring by system calls: for rings that the io-uring crate does not make, with completions of both sizes (`CQE_MIXED`, Linux
//! 6.18) or without a file descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use io_uring::squeue;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const SETUP_CQSIZE: u32 = 1 << 3;
const SETUP_CLAMP: u32 = 1 << 4;
const SETUP_CQE32: u32 = 1 << 11;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
const SETUP_NO_SQARRAY: u32 = 1 << 16;
const SETUP_CQE_MIXED: u32 = 1 << 18;

const OFF_SQES: u64 = 0x1000_0000;
const SQE_BYTES: usize = 64;

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;

const REGISTER_RING_FDS: u32 = 20;
/// `IORING_REGISTER_USE_REGISTERED_RING`
const USE_REGISTERED_RING: u32 = 1 << 31;

/// `IORING_CQE_F_SKIP`: the slot is padding at the end of the completion queue.
const CQE_SKIP: u32 = 1 << 5;
/// `IORING_CQE_F_32`: the completion takes two slots.
const CQE_32: u32 = 1 << 15;

#[repr(C)]
#[derive(Default)]
struct SubmissionOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct CompletionOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq: SubmissionOffsets,
    cq: CompletionOffsets,
}
const _: () = assert!(size_of::<Params>() == 120);

/// `struct io_uring_rsrc_update`
#[repr(C)]
struct RingUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`
#[repr(C)]
struct WaitArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// A mapping of a ring's memory, unmapped on drop.
struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

impl Memory {
    fn of(fd: BorrowedFd<'_>, bytes: usize, offset: u64) -> io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, flags, fd, offset) }?;
        NonNull::new(start.cast())
            .map(|start| Self { start, bytes })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// A counter that the kernel placed at this offset.
    fn counter(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel's offset lies in the mapping and is aligned; both sides access the counter atomically.
        unsafe { self.start.add(offset as usize).cast::<AtomicU32>().as_ref() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, unmapped nowhere else.
        unsafe { munmap(self.start.as_ptr().cast(), self.bytes) }.ok();
    }
}

/// How the kernel knows the ring in calls.
enum Handle {
    File(OwnedFd),
    /// Registered with this thread under this index; its file descriptor is closed.
    Registered(u32),
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
    /// The first half of the second 16 bytes; 0 for a completion without them.
    pub(crate) off: u64,
}

/// A ring of the thread that made it.
pub(crate) struct RawRing {
    handle: Handle,
    mixed: bool,
    memory: Memory,
    requests: Memory,
    params: Params,
}

impl RawRing {
    /// Makes a ring as zcrx needs it, with completions of 32 bytes or of both sizes.
    pub(crate) fn new(cq_entries: u32, mixed: bool) -> io::Result<Self> {
        let size = if mixed { SETUP_CQE_MIXED } else { SETUP_CQE32 };
        let base = SETUP_CQSIZE | SETUP_CLAMP | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_NO_SQARRAY;
        let mut params = Params { cq_entries, flags: base | size, ..Params::default() };
        // SAFETY: the structure has the kernel's layout and lives to the end of the call.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, cq_entries.min(256), &raw mut params) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just opened it for this call.
        let file = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let slot = if mixed { 16 } else { 32 };
        let bytes = params.cq.cqes as usize + params.cq_entries as usize * slot;
        let memory = Memory::of(file.as_fd(), bytes, 0)?;
        let requests = Memory::of(file.as_fd(), params.sq_entries as usize * SQE_BYTES, OFF_SQES)?;
        Ok(Self { handle: Handle::File(file), mixed, memory, requests, params })
    }

    /// The file descriptor, unless it is closed.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.handle {
            Handle::File(file) => Some(file.as_fd()),
            Handle::Registered(_) => None,
        }
    }

    /// Registers the ring with this thread and closes its file descriptor: only the thread holds the ring then.
    pub(crate) fn hide(&mut self) -> io::Result<()> {
        let Handle::File(file) = &self.handle else { return Ok(()) };
        let mut update = RingUpdate { offset: u32::MAX, resv: 0, data: file.as_raw_fd() as u64 };
        // SAFETY: one structure of the kernel's layout, which lives to the end of the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                file.as_raw_fd(),
                REGISTER_RING_FDS,
                &raw mut update,
                1,
            )
        };
        if result != 1 {
            return Err(io::Error::last_os_error());
        }
        self.handle = Handle::Registered(update.offset);
        Ok(())
    }

    /// Calls `io_uring_register(2)` for this ring.
    ///
    /// # Safety
    /// As of [`zcrx_uapi::register::register`].
    pub(crate) unsafe fn register<T>(&self, opcode: u32, argument: &mut T, count: u32) -> io::Result<()> {
        let (fd, opcode) = match &self.handle {
            Handle::File(file) => (file.as_raw_fd(), opcode),
            Handle::Registered(index) => (*index as i32, opcode | USE_REGISTERED_RING),
        };
        // SAFETY: the caller vouches for the argument.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, &raw mut *argument, count) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Submits one request at once.
    pub(crate) fn submit(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        const { assert!(size_of::<squeue::Entry>() == SQE_BYTES) };
        let tail = self.memory.counter(self.params.sq.tail);
        let at = tail.load(Ordering::Relaxed);
        let slot = (at & (self.params.sq_entries - 1)) as usize;
        // SAFETY: the slot is in the mapped array, and each submission is consumed before the next, so the slot is free; an
        // entry is 64 bytes and nothing else.
        unsafe {
            ptr::copy_nonoverlapping(
                ptr::from_ref(entry).cast(),
                self.requests.start.add(slot * SQE_BYTES).as_ptr(),
                SQE_BYTES,
            );
        }
        tail.store(at.wrapping_add(1), Ordering::Release);
        self.enter(1, 0, Duration::ZERO)
    }

    /// Lets the kernel post completions, and sleeps until one more has come or the time is over.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<()> {
        self.enter(0, u32::from(!limit.is_zero()), limit)
    }

    fn enter(&mut self, submit: u32, wait: u32, limit: Duration) -> io::Result<()> {
        let timeout =
            libc::timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        let argument = WaitArgument {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_us: 0,
            timeout: (&raw const timeout).expose_provenance() as u64,
        };
        let (fd, registered) = match &self.handle {
            Handle::File(file) => (file.as_raw_fd(), 0),
            Handle::Registered(index) => (*index as i32, ENTER_REGISTERED_RING),
        };
        let flags = ENTER_GETEVENTS | ENTER_EXT_ARG | registered;
        // SAFETY: both structures live to the end of the call and have the kernel's layout.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                submit,
                wait,
                flags,
                &raw const argument,
                size_of::<WaitArgument>(),
            )
        };
        match io::Error::last_os_error() {
            _ if result >= 0 => Ok(()),
            error if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => Ok(()),
            error => Err(error),
        }
    }

    /// Takes all completions.
    pub(crate) fn reap(&mut self) -> Vec<Completion> {
        let (completions, end) = self.look();
        self.memory.counter(self.params.cq.head).store(end, Ordering::Release);
        completions
    }

    /// Completions that wait.
    pub(crate) fn unread(&self) -> usize {
        self.look().0.len()
    }

    /// Capacity of the completion queue, slots.
    pub(crate) const fn cq_entries(&self) -> u32 {
        self.params.cq_entries
    }

    pub(crate) const fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Completions that wait, and where they end.
    fn look(&self) -> (Vec<Completion>, u32) {
        let mut at = self.memory.counter(self.params.cq.head).load(Ordering::Relaxed);
        let tail = self.memory.counter(self.params.cq.tail).load(Ordering::Acquire);
        let bytes = if self.mixed { 16 } else { 32 };
        let mut found = Vec::new();
        while at != tail {
            let slot = (at & (self.params.cq_entries - 1)) as usize * bytes + self.params.cq.cqes as usize;
            // SAFETY: the slot is in the mapped array and was written before the tail moved past it; a completion of two slots
            // does not wrap.
            let (user_data, result, flags, off) = unsafe {
                let slot = self.memory.start.add(slot);
                (
                    slot.cast::<u64>().read(),
                    slot.add(8).cast::<i32>().read(),
                    slot.add(12).cast::<u32>().read(),
                    slot.add(if bytes == 32 || slot.add(12).cast::<u32>().read() & CQE_32 != 0 {
                        16
                    } else {
                        0
                    })
                    .cast::<u64>()
                    .read(),
                )
            };
            at = at.wrapping_add(if self.mixed && flags & CQE_32 != 0 { 2 } else { 1 });
            if !(self.mixed && flags & CQE_SKIP != 0) {
                found.push(Completion { user_data, result, flags, off });
            }
        }
        (found, at)
    }
}
