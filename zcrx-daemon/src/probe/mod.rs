//! The kernel's side: which probes this kernel allows, and what they counted.
//!
//! [`Probes::attach`] goes through the catalogue and attaches of each probe the first alternative that works.
//! It never fails: on a kernel that allows nothing, or without the privileges, every probe carries the reasons
//! in words and the daemon runs on.

mod attach;
mod catalogue;
mod object;
mod offsets;
mod page_pool;
mod refusal;
mod registration;

use std::sync::{Mutex, PoisonError};

use aya::{Ebpf, maps::PerCpuArray};
use tracing::debug;

use crate::{
    kernel::{Kernel, Symbols},
    model::{ProbeSample, ProbeStatus},
};

/// Attached probes. Dropping detaches them.
pub struct Probes {
    status: Vec<ProbeStatus>,
    attached: Option<Mutex<Attached>>,
}

/// What only exists while the kernel holds our programs.
struct Attached {
    /// Owns programs and links.
    _ebpf: Ebpf,
    registration: Option<registration::Reader>,
    page_pool: Option<page_pool::Reader>,
    lost: Option<PerCpuArray<aya::maps::MapData, u64>>,
    log: Option<aya_log::EbpfLogger<&'static dyn tracing_log::log::Log>>,
}

impl Probes {
    /// Attaches what this kernel and this process's privileges allow.
    ///
    /// Lines that the programs log arrive through the `log` crate; how much they log is fixed by the level
    /// that is set now.
    pub fn attach(kernel: &Kernel) -> Self {
        let mut ebpf = match object::load(kernel) {
            Ok(ebpf) => ebpf,
            Err(reason) => return Self { status: catalogue::all_refused(&reason), attached: None },
        };
        let host = attach::Host {
            kernel,
            // For aya, which has to find the same types by its own means.
            btf: aya::Btf::from_sys_fs().map_err(|error| error.to_string()),
            symbols: Symbols::look_up(&catalogue::function_names()),
        };
        let status: Vec<_> =
            catalogue::CATALOGUE.iter().map(|probe| attach::attach(&mut ebpf, probe, &host)).collect();
        for probe in &status {
            debug!(probe = probe.name, attached = ?probe.attached, refused = ?probe.refused);
        }
        let is_attached =
            |name| status.iter().any(|probe: &ProbeStatus| probe.name == name && probe.attached.is_some());
        let attached = Attached {
            registration: is_attached(catalogue::REGISTRATION)
                .then(|| registration::Reader::new(&mut ebpf))
                .flatten(),
            page_pool: is_attached(catalogue::PAGE_POOL).then(|| page_pool::Reader::new(&mut ebpf)).flatten(),
            lost: object::map(&mut ebpf, "LOST"),
            log: object::logger(&mut ebpf),
            _ebpf: ebpf,
        };
        Self { status, attached: Some(Mutex::new(attached)) }
    }

    /// Reads what the probes counted, and drains what they noted since the last call.
    pub fn sample(&self) -> ProbeSample {
        let mut sample = ProbeSample { probes: self.status.clone(), ..ProbeSample::default() };
        let Some(attached) = &self.attached else { return sample };
        // A reader that panicked half-way leaves nothing worse than events already drained.
        let mut attached = attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &mut attached.registration {
            sample.registrations = reader.counts();
            sample.recent_registrations = reader.recent();
        }
        sample.page_pools = attached.page_pool.as_ref().and_then(page_pool::Reader::counts);
        sample.lost_events = attached.lost.as_ref().and_then(lost);
        if let Some(log) = &mut attached.log {
            log.flush();
        }
        sample
    }
}

/// Sum over all kinds of loss; `None` if the kernel did not say.
fn lost(slots: &PerCpuArray<aya::maps::MapData, u64>) -> Option<u64> {
    (0..zcrx_common::loss::SLOTS).map(|slot| Some(slots.get(&slot, 0).ok()?.iter().sum::<u64>())).sum()
}
