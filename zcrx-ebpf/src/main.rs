//! zcrxd's eBPF programs: one module per concept, named like its entry in the daemon's probe catalogue.
//!
//! For any other target than BPF this is an empty program, so that the whole workspace builds, lints and
//! tests on the host.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod allocation;
#[cfg(target_arch = "bpf")]
mod extack;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod loss;
#[cfg(target_arch = "bpf")]
mod page_pool;
#[cfg(target_arch = "bpf")]
mod registration;
#[cfg(target_arch = "bpf")]
mod snapshot;

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
