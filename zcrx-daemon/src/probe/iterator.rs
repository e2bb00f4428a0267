//! Runs BPF iterators.

use std::io::Read as _;

use aya::Ebpf;
use aya::programs::Iter;

/// Runs an iterator program over all its objects.
pub(super) fn run(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let program = ebpf.program_mut(name).ok_or_else(|| said(&"not in the eBPF object"))?;
    let program: &mut Iter = program.try_into().map_err(|error| said(&error))?;
    let link = program.attach().map_err(|error| said(&error))?;
    let link = program.take_link(link).map_err(|error| said(&error))?;
    let mut file = link.into_file().map_err(|error| said(&error))?;
    // The programs write nothing here: the first read walks everything and reports the end. The kernel asks
    // for another one if there is very much to walk.
    let mut nothing = [0; 8];
    loop {
        match file.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(said(&error)),
        }
    }
}
