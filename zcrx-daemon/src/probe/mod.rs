//! The kernel's side: which probes this kernel allows, and what they counted.
//!
//! [`Probes::attach`] goes through the catalogue and attaches the first alternative of each probe that works. It never
//! fails: on a kernel that allows no probe, or without the privileges, every probe carries the reasons as text, and the
//! daemon continues.

mod allocation;
#[cfg(test)]
mod alterations;
mod attach;
mod attached;
mod bpf;
mod catalogue;
mod cost;
mod events;
mod identity;
mod iterator;
mod keep;
mod multi;
mod object;
mod offsets;
mod options;
mod page_pool;
mod prototype;
mod refusal;
mod registration;
mod residence;
mod self_check;
mod snapshot;
mod stacks;
mod start;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use self::attached::Attached;
use self::start::{Started, start};
use crate::{
    kernel::Kernel,
    model::{ProbeSample, ProbeStatus, Scope, SelfCheck},
};

pub use keep::Kept;
pub use options::{MechanismChoice, Options};

/// Attached probes. Dropping detaches them.
pub struct Probes {
    status: Vec<ProbeStatus>,
    self_check: Option<Arc<SelfCheck>>,
    attached: Option<Mutex<Attached>>,
    inherited: Option<Result<usize, String>>,
}

impl Probes {
    /// Attaches what this kernel and this process's privileges allow, and checks snapshots before they are used.
    ///
    /// Lines that the programs log arrive through the `log` crate; how much they log is fixed by the level
    /// that is set now.
    pub fn attach(kernel: &Kernel) -> Self {
        Self::attach_with(kernel, Options { self_check: true, ..Options::default() })
    }

    /// The same, as the options say.
    pub fn attach_with(kernel: &Kernel, options: Options) -> Self {
        Self::attach_after(kernel, options, None)
    }

    /// The same, and takes over the counts of queues from programs that an earlier zcrxd kept. Those programs then end.
    pub fn attach_after(kernel: &Kernel, options: Options, kept: Option<Kept>) -> Self {
        let Started { status, self_check, attached, inherited } = start(kernel, options, kept);
        let self_check = self_check.map(Arc::new);
        Self { status, self_check, attached: attached.map(Mutex::new), inherited }
    }

    /// Number of queues whose counts go on from an earlier zcrxd, or why none do. `None` if there was no earlier one.
    pub const fn inherited(&self) -> Option<&Result<usize, String>> {
        self.inherited.as_ref()
    }

    /// Programs and counts for the next zcrxd. `None` if nothing is attached, or if the probe that sees queues end is not: then counts
    /// could become those of another queue.
    pub fn keep(&self) -> io::Result<Option<Kept>> {
        let Some(attached) = &self.attached else { return Ok(None) };
        let attached = attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.keep()
    }

    /// Reads all that the probes counted, and drains what they noted since the last call.
    pub fn sample(&self) -> ProbeSample {
        self.sample_of(Scope::All)
    }

    /// Like [`Probes::sample`], and leaves out what is not in the scope.
    pub fn sample_of(&self, scope: Scope) -> ProbeSample {
        let is_whole = scope == Scope::All;
        let mut sample = ProbeSample::default();
        if is_whole {
            sample.probes.clone_from(&self.status);
            sample.self_check.clone_from(&self.self_check);
        }
        if let Some(attached) = &self.attached {
            // A reader that panicked half-way leaves nothing worse than events already drained.
            attached.lock().unwrap_or_else(PoisonError::into_inner).add_to(&mut sample, is_whole);
        }
        sample
    }
}

/// Whether zcrxd cannot do what it is for without the probe of that name: show the queues there are.
pub fn is_essential(name: &str) -> bool {
    name == catalogue::state::SNAPSHOT
}

/// The name of every probe.
pub fn names() -> Vec<&'static str> {
    catalogue::probes().map(|probe| probe.name).collect()
}
