//! Reads what the registration probe counted and noted.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use zcrx_common::registration::{Event, HAS_ARGUMENTS, HAS_DURATION, IS_UNPRIVILEGED};

use super::object::{self, PerCpuHashMap};
use crate::model::{Registration, RegistrationCount, from_kernel};

/// Registrations that are remembered one by one.
const RECENT: usize = 64;
/// Registrations of callers without privileges that are remembered beside those.
const RECENT_UNPRIVILEGED: usize = 16;

/// `ZCRX_REG_IMPORT` and `ZCRX_REG_NODEV`: no interface is meant.
const WITHOUT_INTERFACE: u32 = 1 << 0 | 1 << 1;

pub(super) struct Reader {
    results: PerCpuHashMap<i32, u64>,
    events: Recent,
    unprivileged: Recent,
    /// Whether the programs see begin and end of every registration that reaches zcrx.
    sees_calls: bool,
    /// Attempts of zcrxd itself by errno: trials of its backends, which are no application's failures.
    local: BTreeMap<i32, u64>,
    /// What [`Self::foreign`] returned last. A counter must not go back.
    foreign: BTreeMap<i32, u64>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf, sees_calls: bool) -> Option<Self> {
        Some(Self {
            results: object::map(ebpf, "REGISTRATIONS")?,
            events: Recent::new(object::map(ebpf, "REGISTRATION_EVENTS")?, RECENT),
            unprivileged: Recent::new(object::map(ebpf, "UNPRIVILEGED_EVENTS")?, RECENT_UNPRIVILEGED),
            sees_calls,
            local: BTreeMap::new(),
            foreign: BTreeMap::new(),
        })
    }

    /// Attempts by result; `None` if the kernel did not say.
    pub(super) fn counts(&self) -> Option<Vec<RegistrationCount>> {
        let mut counts = BTreeMap::new();
        for entry in &self.results {
            let (result, attempts) = entry.ok()?;
            counts.insert(errno(result), object::values(&attempts, |&count| count));
        }
        Some(counts.into_iter().map(|(errno, count)| RegistrationCount { errno, count }).collect())
    }

    /// Of these attempts, those of other processes. An attempt whose event was lost counts as one of them.
    pub(super) fn foreign(&mut self, all: &[RegistrationCount]) -> Vec<RegistrationCount> {
        without_local(all, &self.local, &mut self.foreign)
    }

    /// Drains new events and returns the last ones, newest last. Callers without privileges cannot displace others.
    pub(super) fn recent(&mut self) -> Vec<Registration> {
        let (local, sees_calls) = (&mut self.local, self.sees_calls);
        let mut take = |event: &Event| {
            if event.pid == std::process::id() {
                *local.entry(errno(event.result)).or_default() += 1;
            }
            registration(event, sees_calls)
        };
        self.events.drain(&mut take);
        self.unprivileged.drain(&mut take);
        let mut recent: Vec<_> = self.events.last.iter().chain(&self.unprivileged.last).cloned().collect();
        recent.sort_by_key(|registration| registration.at);
        recent
    }
}

/// Events of a ring buffer, and the last ones.
struct Recent {
    events: RingBuf<MapData>,
    last: VecDeque<Registration>,
    most: usize,
}

impl Recent {
    fn new(events: RingBuf<MapData>, most: usize) -> Self {
        Self { events, last: VecDeque::with_capacity(most), most }
    }

    fn drain(&mut self, mut take: impl FnMut(&Event) -> Registration) {
        while let Some(item) = self.events.next() {
            if item.len() < size_of::<Event>() {
                continue;
            }
            // SAFETY: the record is at least as long as `Event`, which is valid for every byte pattern;
            // the read is unaligned because a ring buffer promises 8 bytes only.
            let event = unsafe { item.as_ptr().cast::<Event>().read_unaligned() };
            if self.last.len() == self.most {
                self.last.pop_front();
            }
            self.last.push_back(take(&event));
        }
    }
}

/// All attempts without those of zcrxd, never less than `before`.
fn without_local(
    all: &[RegistrationCount],
    local: &BTreeMap<i32, u64>,
    before: &mut BTreeMap<i32, u64>,
) -> Vec<RegistrationCount> {
    for one in all {
        let foreign = one.count.saturating_sub(local.get(&one.errno).copied().unwrap_or(0));
        let shown = before.entry(one.errno).or_default();
        *shown = foreign.max(*shown);
    }
    before.iter().map(|(&errno, &count)| RegistrationCount { errno, count }).collect()
}

/// 0, or the positive errno.
const fn errno(result: i32) -> i32 {
    if result < 0 { result.wrapping_neg() } else { 0 }
}

/// What an event says. Where the programs see calls, a message without one was not about a queue.
fn registration(event: &Event, sees_calls: bool) -> Registration {
    let asked = (event.known & HAS_ARGUMENTS != 0).then_some(event.arguments);
    let ifindex = asked.filter(|asked| asked.flags & WITHOUT_INTERFACE == 0).map(|asked| asked.if_idx);
    Registration {
        at: Duration::from_nanos(event.at_ns),
        pid: event.pid,
        tid: event.tid,
        comm: from_kernel(&event.comm),
        errno: errno(event.result),
        duration: (event.known & HAS_DURATION != 0).then(|| Duration::from_nanos(event.duration_ns)),
        ifindex,
        interface: ifindex.map(|_| from_kernel(&event.interface)).filter(|name| !name.is_empty()),
        queue: ifindex.and(asked).map(|asked| asked.if_rxq),
        netns: (event.netns != 0).then_some(u64::from(event.netns)),
        words: Some(from_kernel(&event.words))
            .filter(|words| !words.is_empty() && (!sees_calls || event.known & HAS_DURATION != 0)),
        unprivileged: event.known & IS_UNPRIVILEGED != 0,
        hints: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use zcrx_common::registration::Arguments;

    use super::*;

    fn event() -> Event {
        Event {
            at_ns: 5,
            duration_ns: 0,
            pid: 10,
            tid: 11,
            result: -libc::EPERM,
            known: HAS_ARGUMENTS,
            netns: 77,
            reserved: 0,
            interface: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            arguments: Arguments { if_idx: 1, if_rxq: 3, rq_entries: 8, flags: 0 },
            comm: *b"caller\0\0\0\0\0\0\0\0\0\0",
            words: [0; 96],
        }
    }

    #[test]
    fn trials_of_zcrxd_are_nobody_elses_failures_and_counts_never_decrease() {
        let all = |count| [RegistrationCount { errno: libc::EOPNOTSUPP, count }];
        let mut shown = BTreeMap::new();
        let mut foreign = |all: &[_], local| {
            without_local(all, &BTreeMap::from([(libc::EOPNOTSUPP, local)]), &mut shown)[0].count
        };
        assert_eq!(foreign(&all(2), 2), 0, "zcrxd tried two backends");
        assert_eq!(foreign(&all(5), 2), 3);
        // The event of a trial is seen before the kernel's count of it.
        assert_eq!(foreign(&all(5), 3), 3);
        assert_eq!(foreign(&all(6), 3), 3);
        assert_eq!(foreign(&all(7), 3), 4);
    }

    #[test]
    fn interface_and_queue_of_a_request_are_shown() {
        let asked = registration(&event(), false);
        assert_eq!((asked.ifindex, asked.queue, asked.interface.as_deref()), (Some(1), Some(3), Some("lo")));
        let nameless = registration(&Event { interface: [0; 16], ..event() }, false);
        assert_eq!((nameless.ifindex, nameless.interface), (Some(1), None));
    }

    #[test]
    fn request_that_was_not_read_is_unknown() {
        let unseen = registration(&Event { known: 0, ..event() }, false);
        assert_eq!((unseen.ifindex, unseen.queue, unseen.duration), (None, None, None));
        assert_eq!(unseen.interface, None);
        assert_eq!(unseen.errno, libc::EPERM);
        assert_eq!(unseen.comm, "caller");
        assert_eq!(unseen.words, None);
    }

    #[test]
    fn message_of_the_kernel_is_shown() {
        let mut words = [0; 96];
        words[..4].copy_from_slice(b"busy");
        let said = registration(&Event { words, ..event() }, false).words;
        assert_eq!(said.as_deref(), Some("busy"));
        assert_eq!(registration(&event(), false).netns, Some(77));
    }

    #[test]
    fn message_of_a_call_that_did_not_reach_zcrx_is_dropped() {
        let words = [b'x'; 96];
        let before = Event { words, known: HAS_ARGUMENTS, ..event() };
        assert_eq!(registration(&before, true).words, None);
        let within = Event { known: HAS_DURATION, ..before };
        assert!(registration(&within, true).words.is_some());
    }

    #[test]
    fn a_queue_without_device_has_no_interface() {
        let nodev = Arguments { if_idx: 0, if_rxq: 0, rq_entries: 8, flags: 1 << 1 };
        let nodev = registration(&Event { arguments: nodev, result: 0, ..event() }, false);
        assert_eq!((nodev.ifindex, nodev.queue, nodev.errno), (None, None, 0));
    }
}
