//! The eBPF object: loading it into aya, and getting at its maps.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapError},
};
use tracing::warn;
use tracing_log::log;
use zcrx_common::{offsets::Offsets, residence};

use super::refusal;
use crate::kernel::{Capability, Kernel, Lockdown};

/// The compiled programs; empty if the daemon was built without them.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/zcrx-ebpf"));

/// Room for what the programs log until the next sample: a line for each refused registration, at the level debug.
const LOG_BYTES: u32 = 16 << 10;

/// Creates the maps and prepares the programs. No program is handed to the kernel yet: one that is refused
/// must not take the others down.
///
/// One buffer in `sampled` will be sampled; for 0 there is no room for any.
pub(super) fn load(kernel: &Kernel, offsets: &Offsets, sampled: u32) -> Result<Ebpf, String> {
    if OBJECT.is_empty() {
        return Err("built without its eBPF programs: run `cargo xtask setup`, then build again".to_owned());
    }
    // Without them not even a map can be made; CAP_SYS_ADMIN stands for both.
    if !kernel.privileges.has(Capability::CAP_SYS_ADMIN) {
        let lacking = kernel.privileges.lacking(&[Capability::CAP_BPF, Capability::CAP_PERFMON]);
        if !lacking.is_empty() {
            return Err(refusal::lacking(&lacking));
        }
    }
    if kernel.privileges.lockdown == Ok(Lockdown::Confidentiality) {
        return Err(refusal::CONFIDENTIALITY.to_owned());
    }
    let level = log_level();
    let limit = residence::limit(sampled);
    let page_shift = rustix::param::page_size().trailing_zeros();
    let mut loader = EbpfLoader::new();
    if limit == 0 {
        loader.map_max_entries("RESIDENTS", 1);
    }
    loader
        // The programs have no relocations by type: aya would read the kernel's type information for nothing.
        .btf(None)
        .map_max_entries("AYA_LOGS", LOG_BYTES)
        .override_global("OFFSETS", offsets, true)
        .override_global("RESIDENCE_LIMIT", &limit, true)
        .override_global("PAGE_SHIFT", &page_shift, true)
        .override_global("AYA_LOG_LEVEL", &level, false)
        .load(OBJECT)
        .map_err(|error| {
            let refused = io_error(&error).and_then(|error| refusal::of_bpf(error, kernel));
            refused.unwrap_or_else(|| words(&error))
        })
}

/// The error of the system call at the bottom of an error of aya's.
fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.filter_map(|error| error.downcast_ref()).last()
}

/// An error with its causes, on one line.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}

/// A map by name, as the type that the caller expects.
pub(super) fn map<M>(ebpf: &mut Ebpf, name: &str) -> Option<M>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name)?;
    M::try_from(map).inspect_err(|error| warn!("map {name}: {error}")).ok()
}

/// Reader of what the programs log.
pub(super) fn logger(ebpf: &mut Ebpf) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
    aya_log::EbpfLogger::init(ebpf)
        .inspect_err(|error| warn!("log lines of the programs are lost: {error}"))
        .ok()
}

/// The most verbose enabled log level, in aya's numbers: they are those of the `log` crate.
fn log_level() -> u8 {
    log::max_level() as u8
}

/// One value per CPU, added up.
pub(super) fn values<V, T>(per_cpu: &aya::maps::PerCpuValues<V>, part: impl Fn(&V) -> T) -> T
where
    V: aya::Pod,
    T: std::iter::Sum,
{
    per_cpu.iter().map(part).sum()
}

/// What readers hold.
pub(super) type PerCpuHashMap<K, V> = aya::maps::PerCpuHashMap<MapData, K, V>;
