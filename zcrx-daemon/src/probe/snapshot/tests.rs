//! Snapshots of the running kernel, where it lets this process take them.

use std::os::fd::AsRawFd as _;

use aya::programs::Iter;

use super::{super::offsets, *};
use crate::kernel::{Kernel, Symbols};

/// Two sources that know nothing of each other: a file met by the iterator, and the symbol table.
#[test]
fn learned_operations_are_those_of_the_symbol_table() -> Result<(), String> {
    let kernel = Kernel::inspect();
    let fields = offsets::resolve(&kernel.btf);
    let mut ebpf = match object::load(&kernel, &fields.offsets, 0) {
        Ok(ebpf) => ebpf,
        Err(reason) => {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
    let table = Symbols::look_up(&["io_uring_fops"])?;
    let Some(address) = table.get("io_uring_fops").and_then(|symbol| symbol.address) else {
        println!("skipped: this kernel hides its addresses");
        return Ok(());
    };
    let btf = aya::Btf::from_sys_fs().map_err(|error| error.to_string())?;
    for (name, kind) in
        [(WALK[0], "task_file"), (WALK[1], "task"), (REGISTRY, "task"), ("stack_task", "task")]
    {
        let program = ebpf.program_mut(name).ok_or("a program is missing")?;
        let program: &mut Iter = program.try_into().map_err(|_| "a program is no iterator")?;
        program.load(kind, &btf).map_err(|error| error.to_string())?;
    }
    let mut reader = Reader::new(&mut ebpf, &fields)?;
    let ring = operations::own_ring()?;
    assert_eq!(reader.asked.ring_operations, address);
    assert_ne!(reader.asked.superblock, 0);
    reader.asked.ring_operations = 0;
    let learned = reader.learn(&mut ebpf, ring.as_raw_fd() as u32)?;
    assert_eq!(learned.rings, address);
    let walked = reader.take(&mut ebpf, None);
    assert_eq!(walked.discovery, Some(Discovery::Walk));
    reader.with_registry();
    let registered = reader.take(&mut ebpf, None);
    assert_eq!((registered.discovery, registered.incomplete.len()), (Some(Discovery::Registry), 0));
    assert_eq!(registered.queues.len(), walked.queues.len());
    let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let stack = Reader::stack(&ebpf, own)?;
    assert!(!stack.is_empty(), "this thread is in a system call");
    Ok(())
}
