//! Takes snapshots: runs the iterators to their end and puts their records together.

mod assemble;
mod operations;
mod sockets;

use std::time::Duration;

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use zcrx_common::{loss::SNAPSHOT_RECORD, snapshot::Config};

use self::assemble::Assembly;
use super::{iterator, object};
use crate::model::KernelSnapshot;

/// Iterators, in the order in which they are read.
const PROGRAMS: [&str; 2] = ["snapshot_task_file", "snapshot_task"];

/// Largest area in which references are counted: 4 GiB of 4 KiB buffers, a millisecond of counting.
const MOST_BUFFERS: u32 = 1 << 20;

/// Inode number of the initial pid namespace: fixed in every kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

pub(super) struct Reader {
    config: Array<MapData, Config>,
    records: RingBuf<MapData>,
    asked: Config,
    sockets: Option<sockets::Reader>,
    /// Reasons, known from the start, why every snapshot lacks something.
    incomplete: Vec<String>,
}

impl Reader {
    /// Learns what kind of file a ring is.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, String> {
        let mut reader = Self {
            config: object::map(ebpf, "SNAPSHOT_CONFIG").ok_or("the eBPF object has no SNAPSHOT_CONFIG")?,
            records: object::map(ebpf, "SNAPSHOT_RECORDS")
                .ok_or("the eBPF object has no SNAPSHOT_RECORDS")?,
            asked: Config { most_buffers: MOST_BUFFERS, ..Config::default() },
            sockets: None,
            incomplete: Vec::new(),
        };
        let found = operations::find(|own_fd| reader.learn(ebpf, own_fd))?;
        reader.asked.ring_operations = found.rings;
        reader.asked.exported_operations = found.exported;
        reader.incomplete.extend(found.incomplete);
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        if namespace.is_ok_and(|namespace| namespace.as_os_str() != INITIAL_PID_NAMESPACE) {
            reader.incomplete.push("only processes of zcrxd's own pid namespace are looked at".to_owned());
        }
        Ok(reader)
    }

    /// Looks at the owners' sockets too, from now on.
    pub(super) fn with_sockets(&mut self, ebpf: &mut Ebpf) {
        self.sockets = sockets::Reader::new(ebpf);
    }

    /// The operations of the file behind an own descriptor, as the kernel's address.
    fn learn(&mut self, ebpf: &mut Ebpf, own_fd: u32) -> Result<u64, String> {
        let asked = Config { own_fd, ..self.asked };
        self.config.set(0, asked, 0).map_err(|error| format!("SNAPSHOT_CONFIG: {error}"))?;
        iterator::run(ebpf, PROGRAMS[0])?;
        let answered = self.config.get(&0, 0).map_err(|error| format!("SNAPSHOT_CONFIG: {error}"))?;
        Ok(answered.ring_operations)
    }

    /// Reads the state of every queue. Takes some 0.2 ms on a small host, and grows with open files.
    pub(super) fn take(
        &mut self,
        ebpf: &mut Ebpf,
        lost: Option<&PerCpuArray<MapData, u64>>,
    ) -> KernelSnapshot {
        self.asked.generation += 1;
        let mut incomplete = self.incomplete.clone();
        let lost_before = lost.and_then(lost_records);
        let began = monotonic();
        if let Err(error) = self.config.set(0, self.asked, 0) {
            incomplete.push(format!("SNAPSHOT_CONFIG: {error}"));
        }
        for program in PROGRAMS {
            if let Err(reason) = iterator::run(ebpf, program) {
                incomplete.push(reason);
            }
        }
        let sums = match &self.sockets {
            Some(sockets) => sockets.read(ebpf, self.asked.generation),
            None => Err("the probe for sockets is not attached".to_owned()),
        };
        let ended = monotonic();
        let mut assembly = Assembly::default();
        while let Some(record) = self.records.next() {
            assembly.add(&record);
        }
        if let (Some(before), Some(after)) = (lost_before, lost.and_then(lost_records))
            && before != after
        {
            incomplete.push(format!("{} records found the buffer full", after - before));
        }
        assembly.finish(began, ended, incomplete, sums.as_ref().map_err(String::as_str))
    }
}

fn lost_records(lost: &PerCpuArray<MapData, u64>) -> Option<u64> {
    Some(lost.get(&SNAPSHOT_RECORD, 0).ok()?.iter().sum())
}

/// The clock that `bpf_ktime_get_ns` reads.
fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime fills the structure it is given; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::{super::offsets, *};
    use crate::kernel::{Kernel, Symbols};

    /// Two sources that know nothing of each other: a file met by the iterator, and the symbol table.
    #[test]
    fn what_is_learnt_is_what_the_symbol_table_says() -> Result<(), String> {
        let kernel = Kernel::inspect();
        let mut ebpf = match object::load(&kernel, &offsets::resolve(&kernel.btf).offsets, 0) {
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
        for (name, kind) in PROGRAMS.iter().zip(["task_file", "task"]) {
            let program = ebpf.program_mut(name).ok_or("a program is missing")?;
            let program: &mut aya::programs::Iter =
                program.try_into().map_err(|_| "a program is no iterator")?;
            program.load(kind, &btf).map_err(|error| error.to_string())?;
        }
        let mut reader = Reader::new(&mut ebpf)?;
        let ring = operations::own_ring()?;
        assert_eq!(reader.asked.ring_operations, address);
        reader.asked.ring_operations = 0;
        let learnt = reader.learn(&mut ebpf, ring.as_raw_fd() as u32);
        assert_eq!(learnt, Ok(address));
        Ok(())
    }
}
