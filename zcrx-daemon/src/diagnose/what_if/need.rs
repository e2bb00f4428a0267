//! The need of a recorded queue for buffers and refill entries, counted sample by sample.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::interval::Interval;
use super::time;
use crate::diagnose::placement::{Placement, available};
use crate::diagnose::thresholds::POOL_CACHE;
use crate::model::QueueSample;

/// What a recording shows of the need for buffers and refill entries. Times count from the first sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Buffers of the recorded area, the most there were.
    pub recorded_area: u64,
    /// Entries of the recorded refill ring.
    pub recorded_refill: u64,
    /// Whether an allocation failed in the recording.
    pub starved: bool,
    /// With fewer buffers an allocation certainly fails.
    pub least: u64,
    /// With as many buffers or more no allocation fails; else why the recording gives no such number.
    pub most: Result<u64, String>,
    /// Largest number of refill entries that waited at once; an upper bound.
    pub most_entries: u64,
    /// Whether the refill ring was full, or may have been.
    pub refill_was_full: bool,
    /// References per buffer, the most of any sample, in thousandths: a buffer is delivered in fragments above 1000.
    pub fragments_in_thousandths: u64,
    /// Entries of the completion queue.
    pub completion_entries: Option<u64>,
    /// Time from the first sample to the last.
    pub span: Duration,
    /// Longest time between two samples.
    pub longest_interval: Duration,
    /// Rising least needs with their times: when an area of some size certainly starves.
    least_at: Vec<(Duration, u64)>,
    /// Rising most needs with their times: until when an area of some size certainly lasts.
    most_at: Vec<(Duration, u64)>,
}

impl Need {
    /// References per buffer, the most of any sample.
    pub fn references_per_buffer(&self) -> f64 {
        self.fragments_in_thousandths as f64 / 1000.0
    }

    /// From when on an area of so many buffers certainly starves.
    pub(super) fn first_beyond(&self, area: u64) -> Option<Duration> {
        self.least_at.iter().find(|(_, least)| *least > area).map(|(at, _)| *at)
    }

    /// Until when an area of so many buffers lasts, if the owner returns no more than it did.
    pub(super) fn lasts(&self, area: u64) -> String {
        let until = self.most_at.iter().find(|(_, most)| *most > area).map(|(at, _)| *at);
        until.map_or_else(String::new, |at| {
            format!("; {area} last for {} if the owner returns no more than it did", time(at))
        })
    }
}

/// Counts the need of a queue, sample by sample.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    first: Option<Duration>,
    last: Option<QueueSample>,
    longest_interval: Duration,
    area: u64,
    refill: u64,
    completion_entries: Option<u64>,
    receive_ring: Option<u64>,
    fragments_in_thousandths: u64,
    failed: bool,
    lost: u64,
    entries: (u64, u64),
    stashed: bool,
    by_freelist: Option<u64>,
    by_mark: Option<u64>,
    /// Why there is no upper bound, whatever comes.
    unbounded: Option<String>,
    /// Why there is none if the queue starved.
    unbounded_if_starved: Option<String>,
    least_at: Vec<(Duration, u64)>,
    most_at: Vec<(Duration, u64)>,
}

impl Needs {
    /// Counts one sample, in the order of time.
    pub fn take(&mut self, sample: &QueueSample) {
        let first = *self.first.get_or_insert(sample.at);
        let at = sample.at.saturating_sub(first);
        // After the end of a queue nothing is allocated. What was, since the last sample before it, is not recorded.
        if sample.nic.pool_detached_for.is_some() {
            self.unbounded.get_or_insert_with(|| {
                format!("the queue ended before {}, after the last sample that shows its buffers", time(at))
            });
            return;
        }
        let Some(earlier) = self.last.replace(sample.clone()) else {
            self.begin(sample);
            return;
        };
        self.longest_interval = self.longest_interval.max(sample.at.saturating_sub(earlier.at));
        let Some(interval) = Interval::between(&earlier, sample) else {
            self.unbounded
                .get_or_insert_with(|| format!("the sample at {} does not show the area", time(at)));
            return;
        };
        self.shape(sample);
        self.count(at, &interval);
    }

    fn begin(&mut self, sample: &QueueSample) {
        self.shape(sample);
        let placement = Placement::of(sample);
        self.entries.0 = placement.refill_depth.unwrap_or(0);
        if let Some((total, available)) = placement.total.zip(available(sample, &placement)) {
            let slack = POOL_CACHE + 2 * placement.error.unwrap_or(0);
            self.least_at.push((Duration::ZERO, total.saturating_sub(available + slack)));
        }
        let starving = |sample: &QueueSample| sample.kernel.as_ref()?.allocation?.starving_since;
        if starving(sample).is_some() {
            self.failed = true;
            self.least_at.push((Duration::ZERO, placement.total.unwrap_or(0) + 1));
        }
        (self.by_freelist, self.by_mark) = (Some(0), Some(0));
    }

    /// What does not change in most recordings.
    fn shape(&mut self, sample: &QueueSample) {
        let placement = Placement::of(sample);
        self.area = self.area.max(placement.total.unwrap_or(0));
        self.refill = self.refill.max(placement.refill_entries.unwrap_or(0));
        self.completion_entries = placement.cq_entries.or(self.completion_entries);
        self.receive_ring = sample.nic.ring.map(u64::from).or(self.receive_ring);
        let fragments = (placement.fragments.unwrap_or(1.0) * 1000.0).ceil() as u64;
        self.fragments_in_thousandths = self.fragments_in_thousandths.max(fragments);
        self.stashed |= placement.stashed.is_some_and(|stashed| stashed > 0);
    }

    fn count(&mut self, at: Duration, interval: &Interval) {
        self.entries.0 = self.entries.0.max(interval.entries.0);
        self.entries.1 = self.entries.1.max(interval.entries.1);
        let larger = |sum: Option<u64>, next: Option<u64>| Some(sum?.max(next?));
        self.by_freelist = larger(self.by_freelist, interval.by_freelist);
        self.by_mark = larger(self.by_mark, interval.by_mark);
        let mut least = interval.least;
        match interval.failed {
            Some(true) => {
                self.failed = true;
                least = least.max(interval.area.1 + 1);
            }
            Some(false) => {}
            None => {
                self.unbounded.get_or_insert_with(|| {
                    format!("nothing counts failed allocations at {}: attach the allocation probe", time(at))
                });
            }
        }
        if self.least_at.last().is_none_or(|(_, last)| least > *last) {
            self.least_at.push((at, least));
        }
        if !self.failed {
            return;
        }
        match interval.lost {
            Some(lost) => self.lost += lost,
            None => drop(self.unbounded_if_starved.get_or_insert_with(|| {
                "the NIC does not count dropped packets, so what arrived is not recorded".to_owned()
            })),
        }
        if !interval.whole_buffers {
            self.unbounded_if_starved.get_or_insert_with(|| {
                "fragments, copies or refill entries without effect hide how many buffers came back"
                    .to_owned()
            });
        }
        // Every lost packet would have taken a buffer, and none of these need have come back.
        let most = interval.area.1 + self.lost + self.receive_ring.unwrap_or(0) + POOL_CACHE + 1;
        if self.most_at.last().is_none_or(|(_, last)| most > *last) {
            self.most_at.push((at, most));
        }
    }

    /// The need so far; `None` without two samples that show the area and the refill ring.
    pub fn need(&self) -> Option<Need> {
        let (first, last) = (self.first?, self.last.as_ref()?);
        if last.at == first || self.area == 0 || self.refill == 0 {
            return None;
        }
        let starved_most = || {
            if self.receive_ring.is_none() {
                return Err("the size of the receive ring is not recorded".to_owned());
            }
            let reason = self.unbounded_if_starved.clone();
            reason.map_or_else(|| Ok(self.most_at.last().map_or(u64::MAX, |(_, most)| *most)), Err)
        };
        let most = if let Some(why) = &self.unbounded {
            Err(why.clone())
        } else if self.failed {
            starved_most()
        } else {
            // The recorded area was enough.
            Ok([self.by_freelist, self.by_mark, Some(self.area)].into_iter().flatten().min().unwrap_or(0))
        };
        Some(Need {
            recorded_area: self.area,
            recorded_refill: self.refill,
            starved: self.failed,
            least: self.least_at.iter().map(|(_, least)| *least).max().unwrap_or(0),
            most,
            most_entries: self.entries.1.max(self.entries.0),
            refill_was_full: self.stashed || self.entries.0.max(self.entries.1) >= self.refill,
            fragments_in_thousandths: self.fragments_in_thousandths.max(1000),
            completion_entries: self.completion_entries,
            span: last.at.saturating_sub(first),
            longest_interval: self.longest_interval,
            least_at: self.least_at.clone(),
            most_at: self.most_at.clone(),
        })
    }
}
