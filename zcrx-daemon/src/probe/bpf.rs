//! The bpf system call, as far as aya does not make it: programs and links of the kind kprobe_multi, and what the
//! kernel says of a program, a link or a map.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use aya_obj::generated::{
    bpf_attach_type::{BPF_TRACE_ITER, BPF_TRACE_KPROBE_MULTI},
    bpf_attr,
    bpf_cmd::{
        self, BPF_ITER_CREATE, BPF_LINK_CREATE, BPF_MAP_GET_NEXT_KEY, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_LOAD,
    },
    bpf_insn, bpf_link_info, bpf_prog_info,
    bpf_prog_type::BPF_PROG_TYPE_KPROBE,
};

/// `BPF_F_KPROBE_MULTI_RETURN`: run when the function returns.
const ON_RETURN: u32 = 1;

/// Room for the verifier's words about one program.
const LOG_BYTES: usize = 1 << 16;

/// A program that the kernel did not take.
#[derive(Debug)]
pub(super) struct NotLoaded {
    pub(super) error: io::Error,
    /// What the verifier said.
    pub(super) log: String,
}

/// Loads a program that [`link_kprobe_multi`] will take. Linux 5.18.
pub(super) fn load_kprobe_multi(
    name: &str,
    instructions: &[bpf_insn],
    license: &CStr,
) -> Result<OwnedFd, NotLoaded> {
    let load = |log: &mut [u8]| {
        let mut attr = zeroed();
        // SAFETY: all bytes are zero, which is a value of every member of the union.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = BPF_PROG_TYPE_KPROBE as u32;
        load.expected_attach_type = BPF_TRACE_KPROBE_MULTI as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = license.as_ptr() as u64;
        // The last byte stays zero.
        let room = load.prog_name.len() - 1;
        for (place, byte) in load.prog_name[..room].iter_mut().zip(name.bytes()) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        if !log.is_empty() {
            load.log_level = 1;
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
        }
        // SAFETY: instructions, licence and log outlive the call, and have the lengths given.
        unsafe { descriptor(BPF_PROG_LOAD, &mut attr) }
    };
    // Words cost the verifier time: they are asked for when there is something to say.
    load(&mut []).or_else(|_| {
        let mut log = vec![0; LOG_BYTES];
        load(&mut log).map_err(|error| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            NotLoaded { error, log: String::from_utf8_lossy(&log[..end]).into_owned() }
        })
    })
}

/// Attaches a program to a function's entry, or to its return. The link ends with its descriptor. Linux 5.18.
pub(super) fn link_kprobe_multi(
    program: BorrowedFd<'_>,
    function: &str,
    on_return: bool,
) -> io::Result<OwnedFd> {
    let function = CString::new(function).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let functions = [function.as_ptr() as u64];
    let mut attr = zeroed();
    // SAFETY: all bytes are zero, which is a value of every member of the union.
    unsafe {
        let link = &mut attr.link_create;
        link.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        link.attach_type = BPF_TRACE_KPROBE_MULTI as u32;
        let multi = &mut link.__bindgen_anon_3.kprobe_multi;
        multi.flags = if on_return { ON_RETURN } else { 0 };
        multi.cnt = functions.len() as u32;
        multi.syms = functions.as_ptr() as u64;
    }
    // SAFETY: the name and the array that points to it outlive the call.
    unsafe { descriptor(BPF_LINK_CREATE, &mut attr) }
}

/// `union bpf_iter_link_info`, as far as it chooses tasks. Linux 6.1.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TaskChoice {
    tid: u32,
    pid: u32,
    pid_fd: u32,
}

/// Which tasks an iterator meets; ids are those of the caller's pid namespace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tasks {
    /// One thread.
    Thread(u32),
    /// All threads of a process.
    Process(u32),
}

/// Opens an iterator over tasks, or over their files, that meets these tasks only.
pub(super) fn iterate(program: BorrowedFd<'_>, tasks: Tasks) -> io::Result<File> {
    let choice = match tasks {
        Tasks::Thread(tid) => TaskChoice { tid, ..TaskChoice::default() },
        Tasks::Process(pid) => TaskChoice { pid, ..TaskChoice::default() },
    };
    let mut attr = zeroed();
    // SAFETY: all bytes are zero, which is a value of every member of the union.
    unsafe {
        let link = &mut attr.link_create;
        link.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        link.attach_type = BPF_TRACE_ITER as u32;
        let iterator = &mut link.__bindgen_anon_3.__bindgen_anon_1;
        iterator.iter_info = std::ptr::from_ref(&choice) as u64;
        iterator.iter_info_len = size_of::<TaskChoice>() as u32;
    }
    // SAFETY: the choice outlives the call and has the length given.
    let link = unsafe { descriptor(BPF_LINK_CREATE, &mut attr) }?;
    let mut attr = zeroed();
    attr.iter_create.link_fd = link.as_raw_fd() as u32;
    // SAFETY: there are no pointers. The iterator keeps the link.
    unsafe { descriptor(BPF_ITER_CREATE, &mut attr) }.map(File::from)
}

/// What the kernel says of a program's runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramInfo {
    /// Runs; 0 while the kernel keeps no statistics.
    pub(super) runs: u64,
    /// Time they took.
    pub(super) run_time: Duration,
    /// Runs that were left out because the program was running on that CPU already.
    pub(super) missed: u64,
    /// Instructions that the verifier looked at, each as often as it did. 0 before Linux 5.16.
    pub(super) verified: u32,
}

/// Asks for a program's runs. Linux 5.1; 5.12 for those that were missed.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    // SAFETY: integers and arrays of integers: zeroes are a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    // SAFETY: plain integers, among them addresses that are zero: the kernel fills in no arrays.
    unsafe { object_info(program, &mut info) }?;
    Ok(ProgramInfo {
        runs: info.run_cnt,
        run_time: Duration::from_nanos(info.run_time_ns),
        missed: info.recursion_misses,
        verified: info.verified_insns,
    })
}

/// Calls that a link of the kind kprobe_multi did not see. Linux 6.7, 0 before.
pub(super) fn link_missed(link: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: as in `program_info`.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    // SAFETY: as in `program_info`; for this kind of link the kernel fills in this member of the union.
    unsafe {
        object_info(link, &mut info)?;
        Ok(info.__bindgen_anon_1.kprobe_multi.missed)
    }
}

/// Has the kernel fill in what it knows of a BPF object.
///
/// # Safety
/// `T` must be what the kernel fills in for this kind of object, and hold no address that is not zero.
unsafe fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = zeroed();
    attr.info.bpf_fd = object.as_raw_fd() as u32;
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = std::ptr::from_mut(info) as u64;
    // SAFETY: the structure is as long as said, and outlives the call.
    unsafe { call(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

/// Counts the keys of a map, up to `most`. The map may change meanwhile.
pub(super) fn count_keys(map: BorrowedFd<'_>, key_bytes: usize, most: u64) -> u64 {
    let mut key = vec![0_u8; key_bytes];
    let mut next = vec![0_u8; key_bytes];
    let mut count = 0;
    while count < most {
        let mut attr = zeroed();
        // SAFETY: all bytes are zero, which is a value of every member of the union.
        unsafe {
            let step = &mut attr.__bindgen_anon_2;
            step.map_fd = map.as_raw_fd() as u32;
            // Without a key the kernel begins.
            step.key = if count == 0 { 0 } else { key.as_ptr() as u64 };
            step.__bindgen_anon_1.next_key = next.as_mut_ptr() as u64;
        }
        // SAFETY: both keys have the map's key size and outlive the call.
        if unsafe { call(BPF_MAP_GET_NEXT_KEY, &mut attr) }.is_err() {
            break;
        }
        std::mem::swap(&mut key, &mut next);
        count += 1;
    }
    count
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structures of integers: zeroes are a value of each.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf for a command that answers with a descriptor.
///
/// # Safety
/// What `attr` points to must be as long as it says, and live to the end of the call.
unsafe fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { call(command, attr) }?;
    // SAFETY: the call returned a new descriptor that no other code owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls bpf.
///
/// # Safety
/// What `attr` points to must be as long as it says, and live to the end of the call.
unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes are of the size given; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
