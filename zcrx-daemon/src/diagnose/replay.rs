//! Replays recorded samples: repeats the events that zcrxd reported when the queue was live.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::episodes::Event;
use super::report::Report;
use super::watch::{Life, Watch};
use super::what_if::{Needs, TriedSizes, WhatIf};
use crate::model::{Episode, QueueKey, QueueSample};

/// One queue after a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// The queue.
    pub key: QueueKey,
    /// Its episodes, oldest first, as they ended; the last one may be open.
    pub episodes: Vec<Episode>,
    /// What there is to say at the last sample.
    pub report: Report,
    /// Whether the sizes that the report recommends would have starved on these samples; `None` where it recommends none, and for
    /// a queue that is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<WhatIf>,
}

/// Feeds samples, in the order of their time, to trackers that remember `window` samples. Passes each event on with the time of
/// its sample.
pub fn replay(
    samples: &mut dyn Iterator<Item = &QueueSample>,
    window: usize,
    mut tell: impl FnMut(&QueueSample, &Event),
) -> Vec<Replayed> {
    let mut watches: BTreeMap<Life, Watch> = BTreeMap::new();
    let mut episodes: BTreeMap<Life, BTreeMap<Duration, Episode>> = BTreeMap::new();
    let mut needs: BTreeMap<Life, Needs> = BTreeMap::new();
    for sample in samples {
        let life = (sample.key.clone(), sample.generation);
        needs.entry(life.clone()).or_default().take(sample);
        // A watch for each: a recording does not say when a queue was gone.
        let watch = watches.entry(life.clone()).or_insert_with(|| Watch::new(window));
        let changes = watch.feed(vec![sample.clone()]);
        for (life, event) in changes.events() {
            let (Event::Began(episode) | Event::Reconsidered(episode) | Event::Ended(episode)) = event;
            episodes.entry(life.clone()).or_default().insert(episode.began, episode.clone());
            tell(sample, event);
        }
    }
    let mut replayed = Vec::new();
    for (life, watch) in &watches {
        for (_, tracker) in watch.trackers() {
            let mut past = episodes.remove(life).unwrap_or_default();
            if let Some(open) = tracker.open() {
                past.insert(open.began, open.clone());
            }
            let Some(report) = Report::of_tracker(tracker) else { continue };
            let need = needs.get(life).and_then(Needs::need);
            let recommended = report.forecast.sizes.known().zip(need).map(|(sizes, need)| {
                let area = Some(sizes.area_buffers);
                WhatIf::of(&need, &TriedSizes { area, refill: Some(sizes.refill_entries) })
            });
            let episodes = past.into_values().collect();
            replayed.push(Replayed { key: life.0.clone(), episodes, report, recommended });
        }
    }
    replayed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::Queue;
    use crate::model::Cause;

    #[test]
    fn two_queues_are_told_apart() {
        let mut samples = Vec::new();
        Queue { leak: 1.0, ..Queue::default() }.run_with(8, |sample| samples.push(sample));
        Queue::default().run_with(8, |mut sample| {
            sample.key.queue = 4;
            samples.push(sample);
        });
        let mut told = 0;
        let replayed = replay(&mut samples.iter(), 120, |_, _| told += 1);
        let [leaky, healthy] = replayed.as_slice() else { panic!("{replayed:#?}") };
        assert_eq!(leaky.episodes.len(), 1);
        assert_eq!(leaky.episodes[0].cause(), Some(Cause::NeverReturned));
        assert!(leaky.report.troubled() && !healthy.report.troubled());
        assert_eq!((healthy.key.queue, healthy.episodes.len(), told), (4, 0, 1));
    }
}
