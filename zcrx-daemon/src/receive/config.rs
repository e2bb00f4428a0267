//! Configuration of one queue.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::ReceiveError;
use super::choices::{BackendChoice, SinkConfig};
use super::mapping::{huge_bytes, page_bytes};
use crate::model::BackendKind;
use zcrx_uapi::zcrx::IO_RQ_MAX_ENTRIES;

/// Largest area that the kernel accepts, bytes: 1 TiB.
const AREA_MAX_BYTES: u64 = 1 << 40;
/// Largest completion queue of the kernel: `IORING_MAX_CQ_ENTRIES`.
const CQ_MAX_ENTRIES: u32 = 65536;
/// Default size of a buffer of the `copy` backend, and the smallest number of buffers of its area.
const COPY_BUFFER_BYTES: u64 = 16 << 10;
const COPY_LEAST_BUFFERS: u64 = 1024;
/// Largest number of threads of a queue: more threads mostly wait for each other.
pub const MAX_WORKERS: u32 = 64;

/// One receive queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// The network interface; needed by the backend `device` alone.
    #[serde(default)]
    pub interface: Option<String>,
    /// Hardware queue index; without an interface, a number that distinguishes queues.
    #[serde(default)]
    pub queue: u32,
    /// Whether zcrxd prepares the interface for zcrx, and restores it at the end; see [`crate::net`].
    #[serde(default)]
    pub prepare: bool,
    /// `auto`, `device`, `nodev` or `copy`.
    #[serde(default)]
    pub backend: BackendChoice,
    /// Addresses to accept connections on. A queue of an interface may have none: then other queues of the interface accept
    /// its connections and hand them over.
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// Area size in bytes, rounded up to whole pages.
    #[serde(default = "default_area_bytes")]
    pub area_bytes: u64,
    /// Limit of all areas together while buffers run short, bytes (Linux 7.3); at most `area_bytes` for no growth.
    #[serde(default)]
    pub area_max_bytes: u64,
    /// Size of one buffer in bytes, a power of two from the page size on (more than that: Linux 7.0); 0 for the page
    /// size.
    #[serde(default)]
    pub buffer_bytes: u64,
    /// Refill ring entries, rounded up to a power of two.
    #[serde(default = "default_refill_entries")]
    pub refill_entries: u32,
    /// Completion queue entries, rounded up to a power of two.
    #[serde(default = "default_cq_entries")]
    pub cq_entries: u32,
    /// Threads that receive from the queue, each with its own ring (more than one: Linux 6.19).
    #[serde(default = "default_workers")]
    pub workers: u32,
    /// CPUs the queue's threads may run on, spread over them; empty: any.
    #[serde(default)]
    pub cpus: Vec<u32>,
    /// Time for which a wait for completions polls the NIC's queue before it sleeps (Linux 6.9); `None` for no polling.
    #[serde(default)]
    pub napi_busy_poll: Option<Duration>,
    /// Shortest time for which a wait gathers completions before the loop handles fewer than 128 (Linux 6.12); `None`: the first
    /// one ends the wait.
    #[serde(default)]
    pub min_wait: Option<Duration>,
    /// How much of the area sinks may hold together before their data is copied out, bytes: a quarter of it if `None`, without
    /// limit if it is all of it.
    #[serde(default)]
    pub hold_limit_bytes: Option<u64>,
    /// Ordinary memory for copied payload, bytes. With 0 zcrxd copies nothing and pauses slow connections at once.
    #[serde(default = "default_copy_out_bytes")]
    pub copy_out_bytes: u64,
    /// Whether forward sinks send from the area without a copy (Linux 6.15).
    #[serde(default)]
    pub forward_zero_copy: bool,
    /// How long sinks may take to pass on what has been received when the queue stops.
    #[serde(default = "default_drain_timeout")]
    pub drain_timeout: Duration,
    /// `discard`, `verify`, `forward:ADDRESS:PORT`, `forward:unix:PATH` or `file:DIRECTORY`.
    #[serde(default)]
    pub sink: SinkConfig,
}

/// Buffers of an area that is not configured: what matters is how they compare with the NIC's ring, whatever the size of a page.
const DEFAULT_AREA_BUFFERS: u64 = 4096;

/// Default size of an area, bytes: 16 MiB with pages of 4 KiB.
pub fn default_area_bytes() -> u64 {
    DEFAULT_AREA_BUFFERS * page_bytes() as u64
}

const fn default_copy_out_bytes() -> u64 {
    64 << 20
}

const fn default_refill_entries() -> u32 {
    4096
}

const fn default_cq_entries() -> u32 {
    4096
}

const fn default_drain_timeout() -> Duration {
    Duration::from_secs(5)
}

const fn default_workers() -> u32 {
    1
}

impl QueueConfig {
    /// Creates a queue that listens on `listen`, with defaults for all other values.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            interface: None,
            queue: 0,
            prepare: false,
            backend: BackendChoice::default(),
            listen,
            area_bytes: default_area_bytes(),
            area_max_bytes: 0,
            buffer_bytes: 0,
            refill_entries: default_refill_entries(),
            cq_entries: default_cq_entries(),
            workers: default_workers(),
            cpus: Vec::new(),
            napi_busy_poll: None,
            min_wait: None,
            hold_limit_bytes: None,
            copy_out_bytes: default_copy_out_bytes(),
            forward_zero_copy: false,
            drain_timeout: default_drain_timeout(),
            sink: SinkConfig::default(),
        }
    }

    /// The CPUs of one of the queue's threads: its share where there are enough for each, else one of them.
    pub(super) fn cpus_of(&self, worker: u32) -> Vec<u32> {
        let (worker, workers) = (worker as usize, self.workers.max(1) as usize);
        let share: Vec<u32> = self.cpus.iter().skip(worker).step_by(workers).copied().collect();
        if !share.is_empty() || self.cpus.is_empty() {
            return share;
        }
        vec![self.cpus[worker % self.cpus.len()]]
    }

    /// Part of the area that sinks may hold together, bytes.
    pub(crate) fn hold_limit(&self) -> u64 {
        self.hold_limit_of(self.area_bytes)
    }

    /// Part of an area of this size that sinks may hold together, bytes.
    pub(super) fn hold_limit_of(&self, area_bytes: u64) -> u64 {
        self.hold_limit_bytes.unwrap_or(area_bytes / 4)
    }

    /// Size of a buffer on the `copy` backend, bytes.
    pub(super) fn copy_buffer_bytes(&self) -> u64 {
        let most = (self.area_bytes / COPY_LEAST_BUFFERS).max(1);
        // The largest power of two that leaves a small area enough buffers.
        let fits = 1 << most.ilog2();
        let wanted = if self.buffer_bytes == 0 { COPY_BUFFER_BYTES.min(fits) } else { self.buffer_bytes };
        wanted.max(page_bytes() as u64)
    }

    /// Refuses invalid values. The error names the key, the fault and the remedy. Does not query the host.
    pub fn check(&self) -> Result<(), ReceiveError> {
        let bad = |key, what: String, remedy: &'static str| Err(ReceiveError::Config { key, what, remedy });
        let page = page_bytes() as u64;
        if self.listen.is_empty() && self.interface.is_none() {
            return bad("listen", "no address to listen on".to_owned(), "give at least one, as 0.0.0.0:9000");
        }
        if self.backend == BackendChoice::Only(BackendKind::Device) && self.interface.is_none() {
            return bad("interface", "backend device needs an interface".to_owned(), "name one, as eth0");
        }
        if !(page..=AREA_MAX_BYTES).contains(&self.area_bytes) {
            let what = format!("{} is not within {page}..={AREA_MAX_BYTES} bytes", self.area_bytes);
            return bad("area_bytes", what, "give at least one page; 16777216 is a good start");
        }
        if self.hold_limit() > self.area_bytes {
            let what = format!("{} is more than the area has", self.hold_limit());
            return bad("hold_limit_bytes", what, "a quarter of area_bytes is a good start");
        }
        if self.area_max_bytes > AREA_MAX_BYTES {
            let what = format!("{} is more than {AREA_MAX_BYTES} bytes", self.area_max_bytes);
            return bad("area_max_bytes", what, "give what the host can spare; 0 for no growth");
        }
        let buffer = self.buffer_bytes;
        let most = huge_bytes() as u64;
        if buffer != 0 && !(buffer.is_power_of_two() && (page..=most).contains(&buffer)) {
            let what = format!("{buffer} is no power of two within {page}..={most} bytes");
            return bad("buffer_bytes", what, "32768 is what some NICs take; 0 for the page size");
        }
        if !(1..=IO_RQ_MAX_ENTRIES).contains(&self.refill_entries) {
            let what = format!("{} is not within 1..={IO_RQ_MAX_ENTRIES}", self.refill_entries);
            return bad("refill_entries", what, "give about as many as the area has pages");
        }
        if !(1..=CQ_MAX_ENTRIES).contains(&self.cq_entries) {
            let what = format!("{} is not within 1..={CQ_MAX_ENTRIES}", self.cq_entries);
            return bad("cq_entries", what, "4096 is a good start");
        }
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            let what = format!("{} is not within 1..={MAX_WORKERS}", self.workers);
            return bad("workers", what, "1 is right unless one CPU is too little for one queue");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Destination;

    fn parse(text: &str) -> Result<QueueConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn an_address_is_enough() {
        let config = parse("listen = ['127.0.0.1:9000']").expect("all else has a default");
        assert_eq!(config, QueueConfig::new(vec![([127, 0, 0, 1], 9000).into()]));
        assert!(config.check().is_ok());
    }

    #[test]
    fn everything_can_be_said() {
        let config = parse(
            "interface = 'eth0'\nqueue = 3\nbackend = 'device'\nlisten = ['[::]:9000', '0.0.0.0:9001']\n\
             area_bytes = 4194304\nrefill_entries = 64\ncq_entries = 128\nsink = 'forward:unix:/run/x.sock'",
        )
        .expect("valid");
        assert_eq!(config.backend, BackendChoice::Only(BackendKind::Device));
        assert_eq!(config.sink, SinkConfig::Forward(Destination::Unix("/run/x.sock".into())));
        assert!(config.check().is_ok());
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_would_do() {
        for (text, hint) in [
            ("listen = []\nspeed = 3", "unknown field `speed`"),
            ("listen = []\nbackend = 'fast'", "use auto, device, nodev or copy"),
            (
                "listen = []\nsink = 'file'",
                "use discard, verify, forward:HOST:PORT, forward:unix:PATH or file:DIRECTORY",
            ),
            ("listen = []\nsink = 'forward:unix:'", "unknown sink"),
            ("listen = []\nsink = 'file:'", "unknown sink"),
            ("listen = []\nsink = 'forward:host:99999'", "unknown sink"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_key() {
        let good = QueueConfig::new(vec![([127, 0, 0, 1], 9000).into()]);
        for (key, bad) in [
            ("listen", QueueConfig { listen: Vec::new(), ..good.clone() }),
            ("interface", QueueConfig { backend: BackendChoice::Only(BackendKind::Device), ..good.clone() }),
            ("area_bytes", QueueConfig { area_bytes: 0, ..good.clone() }),
            ("area_bytes", QueueConfig { area_bytes: AREA_MAX_BYTES + 1, ..good.clone() }),
            ("area_max_bytes", QueueConfig { area_max_bytes: AREA_MAX_BYTES + 1, ..good.clone() }),
            ("buffer_bytes", QueueConfig { buffer_bytes: 2048, ..good.clone() }),
            ("buffer_bytes", QueueConfig { buffer_bytes: 12288, ..good.clone() }),
            ("buffer_bytes", QueueConfig { buffer_bytes: 4 << 20, ..good.clone() }),
            ("refill_entries", QueueConfig { refill_entries: 0, ..good.clone() }),
            ("refill_entries", QueueConfig { refill_entries: IO_RQ_MAX_ENTRIES + 1, ..good.clone() }),
            ("cq_entries", QueueConfig { cq_entries: 0, ..good.clone() }),
            ("workers", QueueConfig { workers: 0, ..good.clone() }),
            ("workers", QueueConfig { workers: MAX_WORKERS + 1, ..good.clone() }),
        ] {
            match bad.check() {
                Err(ReceiveError::Config { key: named, .. }) => assert_eq!(named, key),
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn cpus_are_spread_over_the_threads() {
        let config = |cpus: &[u32], workers| QueueConfig {
            cpus: cpus.to_vec(),
            workers,
            ..QueueConfig::new(Vec::new())
        };
        assert_eq!(config(&[], 4).cpus_of(3), [0_u32; 0]);
        assert_eq!(config(&[4, 5], 1).cpus_of(0), [4, 5]);
        let four = config(&[0, 1, 2, 3, 4, 5], 4);
        let all: Vec<_> = (0..4).map(|worker| four.cpus_of(worker)).collect();
        assert_eq!(all, [vec![0, 4], vec![1, 5], vec![2], vec![3]]);
        let few = config(&[6, 7], 4);
        assert_eq!((0..4).map(|worker| few.cpus_of(worker)).collect::<Vec<_>>(), [[6], [7], [6], [7]]);
    }
}
