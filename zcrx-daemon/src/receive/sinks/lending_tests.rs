//! Sends without a copy against an independent ledger: each buffer is returned once, and after every send that used it.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use zcrx_uapi::ZcrxOffsets;

use super::outbox::Outbox;
use super::{Backlog, Storage, Verified};
use crate::model::BacklogStatistics;
use crate::receive::mapping::{Mapping, page_bytes};
use crate::receive::pool::Pool;
use crate::receive::refill::{MappedRing, RingMemory};

/// Buffers of the area, each of a page. Each is delivered once.
const BUFFERS: usize = 96;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// A completion delivers this many buffers.
    Deliver(usize),
    /// The sink submits a request, without a copy where it can.
    Send,
    /// The request in flight ends, with this part of its bytes of 256.
    Sent(usize),
    /// The request in flight fails at once: no notification follows.
    Failed,
    /// One of the notifications arrives.
    Notified(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..16_usize).prop_map(Act::Deliver),
        Just(Act::Send),
        prop_oneof![Just(256), 0..256_usize].prop_map(Act::Sent),
        Just(Act::Failed),
        any::<usize>().prop_map(Act::Notified),
    ]
}

/// A send: the pages that it lists, and its slot if it copies nothing.
#[derive(Debug)]
struct Send {
    slot: Option<u8>,
    pages: BTreeSet<usize>,
    bytes: usize,
}

struct Ledger {
    outbox: Outbox,
    pool: Pool,
    backlog: Backlog,
    statistics: BacklogStatistics,
    verified: Verified,
    delivered: usize,
    in_flight: Option<Send>,
    /// Sends that have ended and whose notification has not arrived.
    unnotified: Vec<Send>,
    returned: BTreeSet<usize>,
}

macro_rules! storage {
    ($ledger:ident) => {
        &mut Storage {
            pool: &mut $ledger.pool,
            backlog: &mut $ledger.backlog,
            statistics: &mut $ledger.statistics,
            verified: &mut $ledger.verified,
            connections: 1,
        }
    };
}

impl Ledger {
    /// `hold_limit` is the number of buffers above which payload is copied out.
    fn new(hold_limit: u64) -> Self {
        let region = Arc::new(Mapping::new(2 * page_bytes()).expect("two pages"));
        let offsets = ZcrxOffsets { head: 0, tail: 64, rqes: 128, ..ZcrxOffsets::default() };
        let refill = MappedRing::new(region, &offsets, 128).expect("128 entries fit");
        let mut pool = Pool::new(refill, page_bytes() as u64);
        let area = Mapping::new(BUFFERS * page_bytes()).expect("some pages");
        pool.add_area(area, 0).expect("the first area");
        pool.set_lends(true);
        Self {
            outbox: Outbox::new(),
            pool,
            backlog: Backlog::new(Some(hold_limit), 1 << 30),
            statistics: BacklogStatistics::default(),
            verified: Verified::default(),
            delivered: 0,
            in_flight: None,
            unnotified: Vec::new(),
            returned: BTreeSet::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Deliver(buffers) => {
                for _ in 0..buffers.min(BUFFERS - self.delivered) {
                    let off = (self.delivered * page_bytes()) as u64;
                    let buffer = self.pool.dispense(off, page_bytes() as u32).expect("inside the area");
                    self.outbox.take(buffer, storage!(self));
                    self.delivered += 1;
                }
            }
            Act::Send if self.in_flight.is_none() => {
                let area = self.pool.first_area().expect("an area").start().as_ptr() as usize;
                self.in_flight = if let Some((header, slot)) = self.outbox.lend(&self.pool) {
                    Some(listed(header, Some(slot), area))
                } else {
                    self.outbox.list(&self.pool).map(|header| listed(header, None, area))
                };
            }
            Act::Sent(part) => {
                let Some(send) = self.in_flight.take() else { return };
                self.outbox.written(send.bytes * part / 256, storage!(self));
                if send.slot.is_some() {
                    self.unnotified.push(send);
                }
            }
            Act::Failed => {
                let Some(send) = self.in_flight.take() else { return };
                if let Some(slot) = send.slot {
                    self.outbox.released(slot, storage!(self));
                }
            }
            Act::Notified(which) if !self.unnotified.is_empty() => {
                let send = self.unnotified.swap_remove(which % self.unnotified.len());
                self.outbox.released(send.slot.expect("a send without a copy"), storage!(self));
            }
            Act::Send | Act::Notified(_) => {}
        }
        self.check();
    }

    /// Reads the refill ring as the kernel does.
    fn check(&mut self) {
        let known = self.returned.len() as u32;
        let published = self.pool.publish();
        for at in known..known + published {
            let page = self.pool.refill_memory().read(at).off as usize / page_bytes();
            assert!(self.returned.insert(page), "page {page} is returned twice");
            // A send that copies out of the area reads only while it is in flight, and so does one without a copy until its
            // notification.
            let in_use = self.in_flight.iter().chain(&self.unnotified).any(|send| send.pages.contains(&page));
            assert!(!in_use, "page {page} is returned while the kernel sends from it");
        }
        assert_eq!(self.outbox.lending() as usize, self.outstanding());
    }

    fn outstanding(&self) -> usize {
        self.unnotified.len() + self.in_flight.iter().filter(|send| send.slot.is_some()).count()
    }
}

/// What a request lists. Pieces outside the area are copies.
fn listed(header: &libc::msghdr, slot: Option<u8>, area: usize) -> Send {
    // SAFETY: the outbox has just written the list, which lives as long as the outbox.
    let iovecs = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
    let pages = iovecs.iter().filter_map(|iovec| (iovec.iov_base as usize).checked_sub(area));
    let pages =
        pages.map(|offset| offset / page_bytes()).filter(|page| *page < BUFFERS).collect::<BTreeSet<_>>();
    assert!(
        slot.is_none() || pages.len() == iovecs.len(),
        "a send without a copy lists memory outside the area"
    );
    Send { slot, pages, bytes: iovecs.iter().map(|iovec| iovec.iov_len).sum() }
}

proptest! {
    #[test]
    fn lent_buffers_return_once_and_after_their_notifications(
        acts in prop::collection::vec(act(), 0..200),
        hold_limit in 1..BUFFERS as u64 * 2,
    ) {
        let mut ledger = Ledger::new(hold_limit);
        for act in acts {
            ledger.act(act);
        }
        // The destination dies: the request fails, and the notifications of all others arrive.
        ledger.act(Act::Failed);
        while !ledger.unnotified.is_empty() {
            ledger.act(Act::Notified(0));
        }
        ledger.outbox.clear(storage!(ledger));
        ledger.check();
        prop_assert_eq!(ledger.returned.len(), ledger.delivered);
        prop_assert_eq!(ledger.backlog.held(), 0);
    }
}

#[test]
fn buffer_split_between_two_sends_waits_for_both() {
    let mut ledger = Ledger::new(BUFFERS as u64);
    let half = |pages: usize| Act::Sent(256 * (2 * pages - 1) / (2 * 8));
    for act in [Act::Deliver(8), Act::Send, half(4), Act::Deliver(8), Act::Send, Act::Sent(256)] {
        ledger.act(act);
    }
    assert_eq!((ledger.returned.len(), ledger.unnotified.len()), (0, 2));
    ledger.act(Act::Notified(1));
    assert_eq!(ledger.returned.len(), 0, "the first send still uses the first buffers");
    ledger.act(Act::Notified(0));
    assert_eq!(ledger.returned.len(), 16);
}

#[test]
fn slots_limit_the_sends_without_a_notification() {
    let mut ledger = Ledger::new(BUFFERS as u64);
    for _ in 0..super::lent::SENDS {
        for act in [Act::Deliver(5), Act::Send, Act::Sent(256)] {
            ledger.act(act);
        }
    }
    assert_eq!(ledger.unnotified.len(), super::lent::SENDS);
    ledger.act(Act::Deliver(5));
    ledger.act(Act::Send);
    assert!(ledger.in_flight.as_ref().is_some_and(|send| send.slot.is_none()), "the next send copies");
}
