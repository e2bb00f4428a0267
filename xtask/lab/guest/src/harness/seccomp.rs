//! System calls that are not there, for one program.

use std::io;
use std::mem::offset_of;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets a program that is yet to be started find that the kernel has no such system call.
pub(crate) fn without(command: &mut Command, call: i64) {
    filter(
        command,
        [load(offset_of!(libc::seccomp_data, nr)), unless_equal(call as u32, 1), fail(libc::ENOSYS), allow()],
    );
}

/// Likewise, that io_uring_register knows no opcode from this one on: as an older kernel.
pub(crate) fn register_ends_before(command: &mut Command, opcode: u32) {
    /// IORING_REGISTER_USE_REGISTERED_RING.
    const REGISTERED_RING: u32 = 1 << 31;
    // The lower half of the second argument, on a machine that begins with that.
    let argument = offset_of!(libc::seccomp_data, args) + size_of::<u64>();
    filter(
        command,
        [
            load(offset_of!(libc::seccomp_data, nr)),
            unless_equal(libc::SYS_io_uring_register as u32, 4),
            load(argument),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, !REGISTERED_RING),
            statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, opcode),
            fail(libc::EINVAL),
            allow(),
        ],
    );
}

const fn statement(code: u32, jump_true: u8, jump_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k }
}

/// Loads a part of what a filter is given.
const fn load(offset: usize) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset as u32)
}

/// Leaves so many statements out if what was loaded is something else.
const fn unless_equal(value: u32, leave_out: u8) -> libc::sock_filter {
    statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, leave_out, value)
}

const fn fail(errno: i32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
}

const fn allow() -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)
}

fn filter<const N: usize>(command: &mut Command, filter: [libc::sock_filter; N]) {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe; the filter lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}
