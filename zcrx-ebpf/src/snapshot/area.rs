//! A queue's areas: buffers, and user space's references to them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_loop, generated::bpf_probe_read_kernel},
    macros::map,
    maps::PerCpuArray,
};
use zcrx_common::snapshot::{Area, kind};

use super::{SNAPSHOT_CONFIG, reserve};
use crate::kernel::{offset, read};

/// Counters fetched by one probe read. More make the verifier walk a longer straight line.
const CHUNK: u32 = 128;

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
    total: u32,
    scanned: u32,
    nonzero: u32,
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
        if !scan.is_null() {
            // SAFETY: this CPU's own value of a map, and one iterator is read at a time.
            let scan = unsafe { &*scan };
            record.scanned = scan.scanned;
            record.user_buffers = scan.nonzero;
            record.user_references = scan.references;
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
        if counters == 0 || buffers > (*config).most_buffers {
            return core::ptr::null();
        }
        (*scan).counters = counters;
        (*scan).references = 0;
        (*scan).total = buffers;
        (*scan).scanned = 0;
        (*scan).nonzero = 0;
        bpf_loop(buffers.div_ceil(CHUNK), scan_chunk as *mut c_void, core::ptr::null_mut(), 0);
    }
    scan
}

unsafe extern "C" fn scan_chunk(index: u64, _context: *mut c_void) -> i64 {
    let (Some(scan), Some(chunk)) = (SNAPSHOT_SCAN.get_ptr_mut(0), SNAPSHOT_CHUNK.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: both are this CPU's own, and one iterator is read at a time.
    let (scan, chunk) = unsafe { (&mut *scan, &mut *chunk) };
    let start = index as u32 * CHUNK;
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
    let (mut nonzero, mut references, mut position) = (0_u32, 0_u64, 0);
    while position < CHUNK as usize {
        // SAFETY: in bounds. Volatile keeps the loop a straight line of loads; every comparison would be a
        // branch that the verifier forks on, so "not zero" is taken from the sign of its negation.
        let counter = unsafe { core::ptr::read_volatile(chunk.as_ptr().add(position)) };
        nonzero += 0_u32.wrapping_sub(counter) >> 31;
        references += u64::from(counter);
        position += 1;
    }
    scan.nonzero += nonzero;
    scan.references += references;
    scan.scanned += len;
    0
}
