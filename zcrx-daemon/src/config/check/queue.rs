//! Validates one queue.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::Checker;
use crate::config::address::{FORMS, parse_address};
use crate::config::file::{QueueDraft, SizeDraft};
use crate::config::interval::parse_interval;
use crate::config::said::Said;
use crate::config::size::parse_size;
use crate::model::BackendKind;
use crate::receive::{BackendChoice, MAX_WORKERS, QueueConfig, SinkConfig};

/// IORING_MAX_CQ_ENTRIES: twice the 32768 submission entries that io_uring allows.
const MAX_CQ_ENTRIES: u32 = 65536;
/// IO_RQ_MAX_ENTRIES.
const MAX_REFILL_ENTRIES: u32 = 32768;
/// The kernel refuses areas above this.
const MAX_AREA_BYTES: u64 = bytesize::TIB;
/// Buffers larger than a page are cut from huge pages, which have at least this size on every kernel.
const MAX_BUFFER_BYTES: u64 = 2 * bytesize::MIB;
/// ALTIFNAMSIZ less its terminator: names of 16 and more characters are alternative names.
const MAX_INTERFACE_NAME: usize = 127;
/// CPUs that an affinity mask has room for.
const MAX_CPUS: u32 = 1024;
/// Longest time that sinks get at the end.
const MAX_DRAIN_TIMEOUT: Duration = Duration::from_hours(1);
/// Times for which a wait may poll, and for which it may gather completions.
const WAITS: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_millis(10);
impl Checker<'_> {
    fn address(&mut self, said: &Said<String>) -> Option<SocketAddr> {
        parse_address(&said.value).map_err(|what| self.refuse(&said.source, what, FORMS)).ok()
    }

    /// `position` is the number of a queue without an interface.
    pub(super) fn queue(
        &mut self,
        said: &Said<QueueDraft>,
        position: u32,
        all: &[Said<QueueDraft>],
    ) -> Option<QueueConfig> {
        let before = self.problems.len();
        let draft = &said.value;
        let default = QueueConfig::new(Vec::new());
        let mut config = QueueConfig {
            interface: draft.interface.as_ref().map(|said| self.interface(said)),
            queue: self.number(
                "queue",
                draft.queue.as_ref(),
                0..=u32::MAX - 1,
                if draft.interface.is_some() { 0 } else { position },
            ),
            prepare: draft.prepare.as_ref().is_some_and(|said| said.value),
            backend: self
                .word(draft.backend.as_ref(), "backend", "auto, device, nodev or copy")
                .unwrap_or(default.backend),
            listen: self.listen(said, all),
            area_bytes: self.area("area", draft.area.as_ref()).unwrap_or(default.area_bytes),
            workers: self.number("workers", draft.workers.as_ref(), 1..=MAX_WORKERS, default.workers),
            cpus: self.cpus(draft.cpus.as_ref()),
            napi_busy_poll: self.wait("napi_busy_poll", draft.napi_busy_poll.as_ref()),
            min_wait: self.wait("min_wait", draft.min_wait.as_ref()),
            hold_limit_bytes: None,
            copy_out_bytes: self.size("copy_out", draft.copy_out.as_ref()).unwrap_or(default.copy_out_bytes),
            forward_zero_copy: draft.forward_zero_copy.as_ref().is_some_and(|said| said.value),
            drain_timeout: self.drain_timeout(draft.drain_timeout.as_ref()).unwrap_or(default.drain_timeout),
            area_max_bytes: self.area("area_max", draft.area_max.as_ref()).unwrap_or(default.area_max_bytes),
            buffer_bytes: self.buffer(draft.buffer.as_ref()).unwrap_or(default.buffer_bytes),
            refill_entries: self.number(
                "refill_entries",
                draft.refill_entries.as_ref(),
                1..=MAX_REFILL_ENTRIES,
                default.refill_entries,
            ),
            cq_entries: self.number(
                "cq_entries",
                draft.cq_entries.as_ref(),
                1..=MAX_CQ_ENTRIES,
                default.cq_entries,
            ),
            sink: self
                .word(
                    draft.sink.as_ref(),
                    "sink",
                    "discard, verify, forward:HOST:PORT, forward:unix:PATH or file:DIRECTORY",
                )
                .unwrap_or(default.sink),
        };
        config.hold_limit_bytes = self.hold_limit(draft.hold_limit.as_ref(), config.area_bytes);
        self.device_matches_backend(said, config.backend);
        self.area_grows(said, &config);
        self.forwards(said, &config);
        (self.problems.len() == before).then_some(config)
    }

    fn interface(&mut self, said: &Said<String>) -> String {
        let name = &said.value;
        if name.is_empty()
            || name.len() > MAX_INTERFACE_NAME
            || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
        {
            self.refuse(
                &said.source,
                format!("{name:?} cannot be the name of an interface"),
                "`ip link` lists those of this host",
            );
        }
        name.clone()
    }

    fn number(
        &mut self,
        key: &str,
        said: Option<&Said<i64>>,
        allowed: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(said) = said else { return default };
        match u32::try_from(said.value) {
            Ok(value) if allowed.contains(&value) => value,
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                self.refuse(
                    &said.source,
                    format!("{key} {} is out of range", said.value),
                    format!("write a number from {least} to {most}"),
                );
                default
            }
        }
    }

    /// Parses one of a few words by a type of the receive path.
    fn word<T: FromStr>(&mut self, said: Option<&Said<String>>, key: &str, allowed: &str) -> Option<T> {
        let said = said?;
        let known = said.value.parse();
        known
            .map_err(|_| {
                self.refuse(
                    &said.source,
                    format!("{key} {:?} is not known", said.value),
                    format!("write {allowed}"),
                );
            })
            .ok()
    }

    fn listen(&mut self, said: &Said<QueueDraft>, all: &[Said<QueueDraft>]) -> Vec<SocketAddr> {
        let addresses = said.value.listen.as_deref().unwrap_or_default();
        // A hardware queue may receive only connections that other queues of its interface accept.
        let interface = said.value.interface.as_ref().map(|said| &said.value);
        let fed = |other: &Said<QueueDraft>| {
            interface.is_some()
                && other.value.interface.as_ref().map(|said| &said.value) == interface
                && other.value.listen.as_ref().is_some_and(|listen| !listen.is_empty())
        };
        if addresses.is_empty() && !all.iter().any(fed) {
            self.refuse(
                &said.source,
                "the queue has no address to accept connections on",
                "give it one: listen = [\"127.0.0.1:7000\"] in the file, or --listen 127.0.0.1:7000",
            );
        }
        addresses.iter().filter_map(|said| self.address(said)).collect()
    }

    /// Possible CPUs; only the start of the thread shows whether this host has them and permits them.
    fn cpus(&mut self, said: Option<&Said<Vec<u32>>>) -> Vec<u32> {
        let Some(said) = said else { return Vec::new() };
        if said.value.is_empty() || said.value.iter().any(|cpu| *cpu >= MAX_CPUS) {
            self.refuse(
                &said.source,
                "the thread needs a CPU that there can be",
                format!("write at least one number from 0 to {}, or leave cpus out", MAX_CPUS - 1),
            );
        }
        said.value.clone()
    }

    fn wait(&mut self, key: &str, said: Option<&Said<String>>) -> Option<Duration> {
        let said = said?;
        match parse_interval(&said.value) {
            Ok(time) if WAITS.contains(&time) => return Some(time),
            Ok(_) => self.refuse(
                &said.source,
                format!("{key} {:?} is out of range", said.value),
                "write a time from 1us to 10ms, such as 50us",
            ),
            Err(what) => self.refuse(&said.source, format!("{key} {what}"), ""),
        }
        None
    }

    fn drain_timeout(&mut self, said: Option<&Said<String>>) -> Option<Duration> {
        let said = said?;
        match parse_interval(&said.value) {
            Ok(time) if time <= MAX_DRAIN_TIMEOUT => return Some(time),
            Ok(_) => self.refuse(
                &said.source,
                format!("drain_timeout {:?} is out of range", said.value),
                "write a time from 0s to 3600s; keep systemd's TimeoutStopSec above it",
            ),
            Err(what) => self.refuse(&said.source, format!("drain_timeout {what}"), ""),
        }
        None
    }

    /// A size without limits.
    fn size(&mut self, key: &str, said: Option<&Said<SizeDraft>>) -> Option<u64> {
        let said = said?;
        bytes(key, &said.value).map_err(|what| self.refuse(&said.source, what, "")).ok()
    }

    fn hold_limit(&mut self, said: Option<&Said<SizeDraft>>, area: u64) -> Option<u64> {
        let bytes = self.size("hold_limit", said)?;
        if bytes > area
            && let Some(said) = said
        {
            self.refuse(
                &said.source,
                format!("hold_limit {bytes} is more than the area, {area}"),
                "a quarter of the area is the default",
            );
        }
        Some(bytes)
    }

    fn area(&mut self, key: &str, said: Option<&Said<SizeDraft>>) -> Option<u64> {
        let said = said?;
        let page = procfs::page_size();
        match bytes(key, &said.value) {
            Err(what) => self.refuse(&said.source, what, ""),
            Ok(0) => self.refuse(&said.source, format!("{key} 0 holds no buffer"), "64MiB is a good start"),
            Ok(bytes) if bytes > MAX_AREA_BYTES => {
                self.refuse(
                    &said.source,
                    format!("{key} {bytes} is more than the kernel takes"),
                    "1TiB is the most",
                );
            }
            Ok(bytes) if !bytes.is_multiple_of(page) => {
                let rounded = bytes.next_multiple_of(page);
                self.refuse(
                    &said.source,
                    format!("{key} {bytes} is not a multiple of the page size, {page}"),
                    format!("{rounded} is the next that is"),
                );
            }
            Ok(bytes) => return Some(bytes),
        }
        None
    }

    fn buffer(&mut self, said: Option<&Said<SizeDraft>>) -> Option<u64> {
        let said = said?;
        let page = procfs::page_size();
        match bytes("buffer", &said.value) {
            Err(what) => self.refuse(&said.source, what, ""),
            Ok(bytes) if bytes.is_power_of_two() && (page..=MAX_BUFFER_BYTES).contains(&bytes) => {
                return Some(bytes);
            }
            Ok(bytes) => self.refuse(
                &said.source,
                format!("buffer {bytes} is no size that a NIC's buffer can have"),
                format!("write a power of two from {page} to 2MiB; 32KiB is what some NICs take"),
            ),
        }
        None
    }

    /// A queue cannot grow to less than its initial size.
    fn area_grows(&mut self, said: &Said<QueueDraft>, config: &QueueConfig) {
        if let Some(most) = &said.value.area_max
            && (1..config.area_bytes).contains(&config.area_max_bytes)
        {
            self.refuse(
                &most.source,
                format!("area_max {} is less than area {}", config.area_max_bytes, config.area_bytes),
                "write more than area, or leave area_max out",
            );
        }
    }

    /// Only a forward sink sends.
    fn forwards(&mut self, said: &Said<QueueDraft>, config: &QueueConfig) {
        if let Some(zero_copy) = &said.value.forward_zero_copy
            && zero_copy.value
            && !matches!(config.sink, SinkConfig::Forward(_))
        {
            self.refuse(
                &zero_copy.source,
                format!("forward_zero_copy has no effect on the sink {}", config.sink.name()),
                "set sink to forward:HOST:PORT, or leave forward_zero_copy out",
            );
        }
    }

    /// An interface needs a backend with a device, and the reverse.
    fn device_matches_backend(&mut self, said: &Said<QueueDraft>, backend: BackendChoice) {
        let draft = &said.value;
        match (&draft.interface, backend) {
            (None, BackendChoice::Only(BackendKind::Device)) => self.refuse(
                draft.backend.as_ref().map_or(&said.source, |said| &said.source),
                "backend device receives on a queue of an interface, and none is named",
                "name it: interface = \"eth0\" and queue = 0 in the file, or --interface eth0 --queue 0",
            ),
            (Some(interface), BackendChoice::Only(kind @ (BackendKind::Nodev | BackendKind::Copy))) => self
                .refuse(
                    &interface.source,
                    format!("backend {kind} has no device, yet interface {} is named", interface.value),
                    "leave interface out, or set backend to device or auto",
                ),
            (None, _) => {
                if let Some(prepare) = draft.prepare.as_ref().filter(|said| said.value) {
                    self.refuse(
                        &prepare.source,
                        "there is no interface to prepare",
                        "name the interface, or leave prepare out",
                    );
                }
                if let Some(queue) = &draft.queue {
                    self.refuse(
                        &queue.source,
                        "a hardware queue is named without its interface",
                        "name the interface too, or leave queue out",
                    );
                }
            }
            (Some(_), BackendChoice::Auto | BackendChoice::Only(BackendKind::Device)) => {}
        }
    }
}

/// A size in bytes, however it was written.
fn bytes(key: &str, said: &SizeDraft) -> Result<u64, String> {
    match said {
        SizeDraft::Bytes(bytes) => {
            u64::try_from(*bytes).map_err(|_| format!("{key} {bytes} is less than nothing"))
        }
        SizeDraft::Text(text) => parse_size(text).map_err(|what| format!("{key} {what}")),
    }
}
