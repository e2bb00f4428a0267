//! All queues that zcrxd follows: the sampling thread changes them, and others ask about them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::diagnose::{Event, HostDiagnosis, HostOutlook, HostWatch, Life, Tracker};
use crate::export::http::Source;
use crate::model::QueueSample;

/// History that a diagnosis uses and with which a recording starts.
const MEMORY: Duration = Duration::from_mins(1);

/// All queues of the host. The sampling thread changes it, and holds it alone only while it computes: a reader never waits for a
/// driver or a disk.
#[derive(Clone)]
pub(super) struct Queues(Arc<RwLock<HostWatch>>);

impl Queues {
    /// None yet; samples will be taken at this interval.
    pub(super) fn new(interval: Duration) -> Self {
        let samples = (MEMORY.as_millis() / interval.as_millis().max(1)).try_into().unwrap_or(2);
        Self(Arc::new(RwLock::new(HostWatch::new(samples))))
    }

    /// What the last sample says of them, as text.
    pub(super) fn diagnosis(&self) -> Source<HostDiagnosis> {
        let queues = self.clone();
        Box::new(move || queues.read(HostWatch::diagnosis))
    }

    /// The same in figures.
    pub(super) fn outlook(&self) -> Source<HostOutlook> {
        let queues = self.clone();
        Box::new(move || queues.read(HostWatch::outlook))
    }

    // After a panic of the sampling thread, what it left can still be read.
    fn read<T>(&self, read: impl FnOnce(&HostWatch) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a sample of each queue, and passes on every queue with its events.
    pub(super) fn feed(
        &self,
        now: Duration,
        samples: Vec<QueueSample>,
        tell: impl FnMut(&Life, &Tracker, &[Event]),
    ) {
        let changes = self.0.write().unwrap_or_else(PoisonError::into_inner).feed(now, samples);
        // Beside readers: this may write to a disk.
        self.read(|host| changes.tell(host.queues(), tell));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::diagnose::queue_model::Queue;

    #[test]
    fn readers_are_answered_while_an_episode_is_recorded() {
        let queues = Queues::new(Duration::from_secs(1));
        assert_eq!(queues.diagnosis()().at, None, "there was no sample yet");
        let mut recorded = 0;
        Queue { leak: 1.0, ..Queue::default() }.run_with(8, |sample| {
            let at = sample.at;
            queues.feed(at, vec![sample], |_, _, events| {
                let (diagnosis, outlook) = (queues.diagnosis(), queues.outlook());
                let (answer, answered) = mpsc::channel();
                thread::spawn(move || answer.send(Box::new((diagnosis(), outlook()))));
                let (said, figures) = *answered
                    .recv_timeout(Duration::from_secs(10))
                    .expect("a reader does not wait for a disk");
                assert_eq!((said.at, figures.at), (Some(at), Some(at)));
                assert_eq!(said.troubled(), figures.queues[0].troubled());
                recorded += events.len();
            });
        });
        assert_eq!(recorded, 1, "the episode began");
    }
}
