//! Probes that are attached: their readers, and how a sample is put together from them.

use std::io;
use std::sync::Arc;

use aya::{Ebpf, maps::PerCpuArray};

use super::keep::{self, Kept};
use super::{
    allocation, catalogue, cost, events, identity, page_pool, registration, residence, snapshot, stacks,
};
use crate::model::{KernelSnapshot, Lives, ProbeSample};

/// What only exists while the kernel holds our programs.
pub(super) struct Attached {
    /// Owns programs and links.
    pub(super) ebpf: Ebpf,
    /// Holds programs and links that aya does not know of.
    pub(super) cost: cost::Reader,
    pub(super) registration: Option<registration::Reader>,
    pub(super) page_pool: Option<page_pool::Reader>,
    pub(super) snapshot: Option<snapshot::Reader>,
    pub(super) identities: identity::Identities,
    pub(super) stacks: stacks::Stacks,
    pub(super) allocation: Option<allocation::Reader>,
    pub(super) events: Option<events::Reader>,
    pub(super) residence: Option<residence::Reader>,
    /// Whether a sampler takes samples of queues: then others only show them.
    pub(super) has_sampler: bool,
    /// Rings with queues that had ended when last sampled.
    pub(super) rings_ended: Option<u64>,
    pub(super) lost: Option<PerCpuArray<aya::maps::MapData, u64>>,
    /// Maps that may outlive this process.
    pub(super) lasting: Option<keep::Maps>,
    pub(super) log: Option<aya_log::EbpfLogger<&'static dyn tracing_log::log::Log>>,
}

impl Attached {
    /// Adds all that the probes counted, and what they noted since the last call. Without `is_whole` only what concerns queues.
    pub(super) fn add_to(&mut self, sample: &mut ProbeSample, is_whole: bool) {
        self.has_sampler |= !is_whole;
        // Extremes and stacks are for the samples that are kept: the sampler's, or all where there is no sampler.
        let is_kept = !is_whole || !self.has_sampler;
        if let Some(reader) = &mut self.registration {
            if is_whole {
                // Counts before events: a registration of zcrxd itself is then never counted as another process's.
                sample.registrations = reader.counts();
            }
            sample.recent_registrations = reader.recent();
            sample.foreign_registrations = sample.registrations.as_deref().map(|all| reader.foreign(all));
        }
        if is_whole {
            sample.page_pools = self.page_pool.as_ref().and_then(page_pool::Reader::counts);
        }
        if let Some(reader) = &mut self.snapshot {
            sample.snapshot = reader.take_checked(&mut self.ebpf, self.lost.as_ref());
            if is_whole && reader.wrong().next().is_some() {
                Arc::make_mut(sample.self_check.get_or_insert_default()).add_wrong(reader.wrong().cloned());
            }
            if reader.is_unusable() {
                let probe = sample.probes.iter_mut().find(|probe| probe.name == catalogue::state::SNAPSHOT);
                let wrong: Vec<_> = reader.wrong().map(ToString::to_string).collect();
                if let Some(probe) = probe {
                    probe.fail(format!("areas are read wrongly: {}", wrong.join(", ")));
                }
            }
        }
        // Whether a queue has counts and was not found.
        let mut missing = false;
        if let (Some(snapshot), Some(reader)) = (&mut sample.snapshot, &mut self.allocation) {
            missing |= reader.forget_missed(snapshot);
            reader.join(snapshot);
            if is_kept {
                reader.begin_interval();
            }
        }
        if let Some(reader) = &mut self.events {
            sample.lives = reader.lives();
            if let Some(snapshot) = &mut sample.snapshot {
                let (gone, new) = reader.forget_missed(snapshot);
                missing |= new;
                reader.join(snapshot);
                if let Some(reader) = &mut self.residence {
                    reader.forget(&gone, sample.lives.queues_ended);
                    reader.join(snapshot);
                }
            }
        }
        if let Some(snapshot) = &mut sample.snapshot {
            self.finish(snapshot, &sample.lives, missing, is_kept);
        }
        if is_whole {
            let lost = self.lost.as_ref().and_then(cost::lost);
            sample.lost_events = lost.as_ref().map(|lost| lost.values().sum());
            sample.cost = Some(self.cost.read(lost));
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Programs and counts for the next zcrxd.
    pub(super) fn keep(&self) -> io::Result<Option<Kept>> {
        self.lasting.as_ref().map_or(Ok(None), Kept::of)
    }

    /// What is left to do when every reader has found its counts by the kernel's addresses.
    fn finish(&mut self, snapshot: &mut KernelSnapshot, lives: &Lives, missing: bool, is_kept: bool) {
        let Some(reader) = &mut self.snapshot else { return };
        if missing {
            reader.walk_next("a queue has counts and is in no snapshot");
        }
        if self.rings_ended.is_some() && lives.rings_ended != self.rings_ended {
            // An exported file may keep a queue that the ring had.
            reader.walk_next("a ring with queues ended");
        }
        self.rings_ended = lives.rings_ended;
        self.identities.replace(snapshot, reader.registered());
        if is_kept {
            self.stacks.fill(snapshot, &self.ebpf);
        }
    }
}
