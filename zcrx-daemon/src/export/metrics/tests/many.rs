//! Scrapes of hosts with many foreign queues. Such a test also counts what a scrape costs:
//!
//! ```text
//! cargo test --release -p zcrx-daemon --lib --no-run
//! valgrind --tool=callgrind --toggle-collect='*many::Host::scrape_with_diagnosis*' \
//!     target/release/deps/zcrx_daemon-HASH scrape_of_64_queues
//! ```
//!
//! The figure contains the scrapes of no queue and of one queue: the cost of a queue is a 192nd part of the difference between the test
//! with 256 queues and the test with 64.

use std::time::Duration;

use super::super::render;
use super::Format;
use crate::diagnose::HostWatch;
use crate::model::QueueSample;
use crate::observe::Observation;
use crate::observe::fixture::{foreign_queue, full};

/// Samples that the sampling thread takes before the scrape: as many as it keeps.
const SAMPLES: u64 = 60;

struct Host {
    observation: Observation,
    watch: HostWatch,
}

impl Host {
    /// A host with so many queues without a device. Nothing starves, and no data flows.
    fn with_queues(queues: u32) -> Self {
        let mut watch = HostWatch::new(SAMPLES as usize);
        let mut observation = full();
        for second in 0..SAMPLES {
            let at = Duration::from_secs(1000 + second);
            observation.host.queues = (0..queues).map(|queue| idle(queue, at)).collect();
            drop(watch.feed(at, observation.host.queues.clone()));
        }
        Self { observation, watch }
    }

    /// Returns the text of one scrape, with all that is computed for it once the kernel has been read. Not inlined: an instruction
    /// counter finds it by its name.
    #[inline(never)]
    fn scrape_with_diagnosis(&self) -> String {
        render(&self.observation, &self.watch.outlook(), Format::Text, &[])
    }
}

fn idle(queue: u32, at: Duration) -> QueueSample {
    let mut sample = foreign_queue();
    sample.at = at;
    sample.key.interface = None;
    sample.key.queue = queue;
    if let Some(kernel) = sample.kernel_mut() {
        kernel.ifq = queue.into();
        kernel.interface = None;
        kernel.ifindex = None;
        kernel.queue = Some(queue);
        kernel.residence = None;
        kernel.areas[0].free = 1000;
        kernel.areas[0].user_buffers = Some(100);
        kernel.areas[0].user_references = Some(100);
        if let Some(allocation) = &mut kernel.allocation {
            allocation.starving_since = None;
        }
    }
    sample
}

/// The number of series in a scrape of a host with so many queues.
fn series(queues: u32) -> usize {
    let text = Host::with_queues(queues).scrape_with_diagnosis();
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Each queue adds as many series as the first one.
fn assert_linear(queues: u32) {
    let (none, one) = (series(0), series(1));
    assert_eq!(series(queues), none + queues as usize * (one - none));
}

#[test]
fn scrape_of_64_queues_has_64_times_the_series_of_one() {
    assert_linear(64);
}

#[test]
fn scrape_of_256_queues_has_256_times_the_series_of_one() {
    assert_linear(256);
}
