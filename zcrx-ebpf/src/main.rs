//! zcrxd's eBPF programs, and what they share.
//!
//! For any other target than BPF this is an empty program, so that the whole workspace builds, lints and
//! tests on the host.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// The target's atomic operations have no stable form: see `atomic`.
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "the target's atomic operations have no stable form")
)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "a call costs stack, and what the verifier knew of the arguments"
    ),
    expect(
        clippy::needless_pass_by_value,
        reason = "aya-ebpf hands contexts over by value: each is one pointer"
    ),
    expect(clippy::fn_to_numeric_cast_any, reason = "bpf_loop takes its callback as a pointer"),
    expect(clippy::implicit_saturating_sub, reason = "the comparison is what the verifier follows"),
    expect(clippy::single_match_else, reason = "both arms of a look-up are equally likely"),
    expect(clippy::verbose_bit_mask, reason = "pointer tags are masked as in the kernel's text")
)]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod event;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod loss;
#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod registry;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
