//! The functions that a thread is in, as text. User space reads the iterator for one thread.

use aya_ebpf::{
    bindings::{seq_file, task_struct},
    helpers::generated::{bpf_get_task_stack, bpf_seq_printf},
    macros::map,
    maps::PerCpuArray,
};

/// Largest number of functions of a reported stack.
const DEEPEST: usize = 24;

#[map]
static STACK_ENTRIES: PerCpuArray<[u64; DEEPEST]> = PerCpuArray::with_max_entries(1, 0);

/// One line a function: its name, offset and size.
static LINE: [u8; 5] = *b"%pB\n\0";

/// Context of `iter/task`.
#[repr(C)]
struct Task {
    meta: *const Meta,
    task: *mut task_struct,
}

/// What every iterator's context begins with.
#[repr(C)]
struct Meta {
    file: *mut seq_file,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn stack_task(ctx: *const Task) -> i32 {
    // SAFETY: the kernel passes a context of this shape. Volatile, so that each field is loaded with its own width.
    let (meta, task) = unsafe {
        (core::ptr::read_volatile(&raw const (*ctx).meta), core::ptr::read_volatile(&raw const (*ctx).task))
    };
    if task.is_null() {
        return 0;
    }
    let Some(entries) = STACK_ENTRIES.get_ptr_mut(0) else { return 0 };
    // SAFETY: the buffer is this CPU's own, of the size given; task and file are pointers that the kernel has just passed.
    unsafe {
        let file = core::ptr::read_volatile(&raw const (*meta).file);
        let bytes = bpf_get_task_stack(task, entries.cast(), (DEEPEST * 8) as u32, 0);
        for place in 0..DEEPEST {
            if ((place * 8) as i64) < bytes {
                let entry = entries.cast::<u64>().add(place);
                bpf_seq_printf(file, LINE.as_ptr().cast(), LINE.len() as u32, entry.cast(), 8);
            }
        }
    }
    0
}
