//! Runs BPF iterators.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::programs::{Iter, ProgramFd};

use super::bpf::{self, Tasks};

/// Runs an iterator program over all its objects.
pub(super) fn run(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let explain = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let program = ebpf.program_mut(name).ok_or_else(|| explain(&"not in the eBPF object"))?;
    let program: &mut Iter = program.try_into().map_err(|error| explain(&error))?;
    let link = program.attach().map_err(|error| explain(&error))?;
    let link = program.take_link(link).map_err(|error| explain(&error))?;
    let mut file = link.into_file().map_err(|error| explain(&error))?;
    read_to_end(&mut file).map_err(|error| explain(&error))
}

/// Runs an iterator over tasks for the calling thread alone. Linux 6.1.
pub(super) fn run_once(ebpf: &Ebpf, name: &str) -> Result<(), String> {
    let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let mut file = open(ebpf, name, Tasks::Thread(tid))?;
    read_to_end(&mut file).map_err(|error| format!("{name}: {error}"))
}

/// Runs an iterator over tasks, or over their files, for one process, which may have exited. Linux 6.1.
pub(super) fn run_for_process(ebpf: &Ebpf, name: &str, pid: u32) -> Result<(), String> {
    let program = program(ebpf, name)?;
    let mut file = match bpf::iterate(program.as_fd(), Tasks::Process(pid)) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        opened => opened.map_err(|error| format!("{name}: {error}"))?,
    };
    read_to_end(&mut file).map_err(|error| format!("{name}: {error}"))
}

/// Opens an iterator over tasks for one thread. Linux 6.1.
pub(super) fn open_once(ebpf: &Ebpf, name: &str, tid: u32) -> Result<File, String> {
    open(ebpf, name, Tasks::Thread(tid))
}

fn open(ebpf: &Ebpf, name: &str, tasks: Tasks) -> Result<File, String> {
    bpf::iterate(program(ebpf, name)?.as_fd(), tasks).map_err(|error| format!("{name}: {error}"))
}

fn program<'e>(ebpf: &'e Ebpf, name: &str) -> Result<&'e ProgramFd, String> {
    let explain = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let program = ebpf.program(name).ok_or_else(|| explain(&"not in the eBPF object"))?;
    let aya::programs::Program::Iter(program) = program else {
        return Err(explain(&"not an iterator"));
    };
    program.fd().map_err(|error| explain(&error))
}

/// Reads an iterator whose programs write nothing: the first read walks everything and reports the end. The kernel asks
/// for another one if there is very much to walk.
fn read_to_end(file: &mut File) -> io::Result<()> {
    let mut nothing = [0; 8];
    loop {
        match file.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}
