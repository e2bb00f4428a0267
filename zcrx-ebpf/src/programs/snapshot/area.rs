//! A queue's areas: buffers, and user space's references to them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_loop, generated::bpf_probe_read_kernel},
    macros::map,
    maps::PerCpuArray,
};
use zcrx_common::snapshot::{Area, CHUNK, kind};

use super::{SNAPSHOT_CONFIG, reserve};
use crate::kernel::{offset, read};

#[map]
static SNAPSHOT_SCAN: PerCpuArray<Scan> = PerCpuArray::with_max_entries(1, 0);

#[map]
static SNAPSHOT_CHUNK: PerCpuArray<[u32; CHUNK as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Counting the references of one area. In a map, because the verifier does not follow what happens to values
/// in maps: sums on the stack would make every round of the loop a new state.
#[repr(C)]
struct Scan {
    counters: u64,
    references: u64,
    squares: u64,
    total: u32,
    scanned: u32,
    nonzero: u32,
    chunks: u32,
    /// Every so many chunks one is counted.
    stride: u32,
    /// The first chunk that is.
    first: u32,
}

#[repr(C)]
pub(super) struct AreaWalk {
    pub(super) ifq: u64,
    /// Array of pointers to areas; 0 on kernels with one area.
    pub(super) areas: u64,
}

pub(super) unsafe extern "C" fn visit_area(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `queue` passes this context.
    let walk = unsafe { &*context.cast::<AreaWalk>() };
    let area: u64 =
        if walk.areas != 0 { read(walk.areas + index * 8, 0) } else { read(walk.ifq, offset!(ifq_area)) };
    if area == 0 {
        return 0;
    }
    let buffers: u32 = read(area, offset!(area_buffers));
    let scan = count_references(area, buffers);
    if let Some(mut entry) = reserve::<Area>() {
        let record = entry.write(Area::default());
        record.kind = kind::AREA;
        record.index = index as u32;
        record.ifq = walk.ifq;
        record.buffers = buffers;
        record.free = read(area, offset!(area_free));
        record.dmabuf = u32::from(read::<u8>(area, offset!(area_is_dmabuf)) & 1);
        if !scan.is_null() {
            // SAFETY: this CPU's own value of a map, and one iterator is read at a time.
            let scan = unsafe { &*scan };
            record.scanned = scan.scanned;
            record.user_buffers = scan.nonzero;
            record.user_references = scan.references;
            record.squares = scan.squares;
            record.chunks = scan.chunks;
            record.stride = scan.stride;
        }
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

/// Counts user space's references to the buffers of an area; null if they are not to be counted.
#[inline(always)]
fn count_references(area: u64, buffers: u32) -> *const Scan {
    let (Some(config), Some(scan)) = (SNAPSHOT_CONFIG.get_ptr(0), SNAPSHOT_SCAN.get_ptr_mut(0)) else {
        return core::ptr::null();
    };
    let counters: u64 = read(area, offset!(area_user_refs));
    // SAFETY: both are values of maps; the scan is this CPU's own, one iterator is read at a time, and the
    // configuration does not change meanwhile. The callback needs no context.
    unsafe {
        if counters == 0 {
            return core::ptr::null();
        }
        let chunks = buffers.div_ceil(CHUNK);
        let most = (*config).most_buffers / CHUNK;
        // No more than the area holds; a division that the compiler thinks may fail would need a panic.
        let stride = chunks.wrapping_add(most).wrapping_sub(1).checked_div(most).unwrap_or(1).max(1);
        (*scan).counters = counters;
        (*scan).references = 0;
        (*scan).total = buffers;
        (*scan).scanned = 0;
        (*scan).nonzero = 0;
        (*scan).squares = 0;
        (*scan).chunks = 0;
        (*scan).stride = stride;
        // Another one in each snapshot, so that nothing regular in the area hides from all of them.
        (*scan).first = ((*config).generation as u32).checked_rem(stride).unwrap_or(0);
        let rounds = chunks.wrapping_add(stride).wrapping_sub(1).checked_div(stride).unwrap_or(0);
        bpf_loop(rounds, scan_chunk as *mut c_void, core::ptr::null_mut(), 0);
    }
    scan
}

unsafe extern "C" fn scan_chunk(index: u64, _context: *mut c_void) -> i64 {
    let (Some(scan), Some(chunk)) = (SNAPSHOT_SCAN.get_ptr_mut(0), SNAPSHOT_CHUNK.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: both are this CPU's own, and one iterator is read at a time.
    let (scan, chunk) = unsafe { (&mut *scan, &mut *chunk) };
    let start = (index as u32 * scan.stride + scan.first) * CHUNK;
    if start >= scan.total {
        return 1;
    }
    let mut len = scan.total - start;
    if len > CHUNK {
        len = CHUNK;
    }
    let source = scan.counters + u64::from(start) * 4;
    // SAFETY: at most `CHUNK` counters are written to the chunk; a read that fails clears what it should have
    // filled, which is how the rest of a partial chunk gets its zeroes.
    let failed = unsafe {
        let target: *mut c_void = chunk.as_mut_ptr().cast();
        if len < CHUNK {
            bpf_probe_read_kernel(target, CHUNK * 4, core::ptr::null());
        }
        bpf_probe_read_kernel(target, len * 4, source as *const c_void)
    };
    if failed != 0 {
        return 1;
    }
    // SAFETY: a chunk has that many counters.
    let Sum { nonzero, references } = unsafe { sum_128(chunk.as_ptr()) };
    scan.nonzero += nonzero;
    scan.references += references;
    scan.scanned += len;
    scan.squares += u64::from(nonzero) * u64::from(nonzero);
    scan.chunks += 1;
    0
}

/// What a piece of a chunk adds up to.
#[derive(Clone, Copy)]
struct Sum {
    nonzero: u32,
    references: u64,
}

/// The sum of one counter.
#[inline(always)]
unsafe fn sum_1(counter: *const u32) -> Sum {
    // SAFETY: the caller says so. Volatile keeps it a load of its own; every comparison would be a branch that the verifier forks
    // on, so "not zero" is taken from the sign of its negation.
    let counter = unsafe { core::ptr::read_volatile(counter) };
    Sum { nonzero: 0_u32.wrapping_sub(counter) >> 31, references: u64::from(counter) }
}

/// Defines the sum of twice as many counters. In place of a loop: the verifier keeps a state for each round of a loop and compares each
/// new one with all of them, which took a quarter of the instructions of zcrxd's start.
macro_rules! twice {
    ($half:ident, $counters:literal, $whole:ident) => {
        #[inline(always)]
        unsafe fn $whole(counters: *const u32) -> Sum {
            // SAFETY: the caller says that there are twice `$counters`.
            let (low, high) = unsafe { ($half(counters), $half(counters.add($counters))) };
            Sum { nonzero: low.nonzero + high.nonzero, references: low.references + high.references }
        }
    };
}

twice!(sum_1, 1, sum_2);
twice!(sum_2, 2, sum_4);
twice!(sum_4, 4, sum_8);
twice!(sum_8, 8, sum_16);
twice!(sum_16, 16, sum_32);
twice!(sum_32, 32, sum_64);
twice!(sum_64, 64, sum_128);

const _: () = assert!(CHUNK == 128, "`scan_chunk` sums a chunk");
