//! What is true of a case: the program's ledger and the NIC's counters, never a rule.

use anyhow::Result;
use serde_json::Value;

use super::case::{Case, Fault};
use crate::harness::nic::Nic;

/// What the NIC counts on the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Packets that found no buffer.
    pub(super) lost: u64,
}

impl Counters {
    pub(super) fn read(nic: &Nic) -> Result<Self> {
        Ok(Self { lost: nic.stat("rx1_drop_no_buffer")? })
    }
}

/// The ledger of the program, and what was counted when the fault began.
pub(super) struct Truth {
    now: Value,
    at_begin: Value,
    lost_at_begin: u64,
    /// Packets and failed receives when last read, to see whether harm goes on.
    last: u64,
    /// The most buffers that the program held.
    most_held: u64,
    most_unread: u64,
}

fn number(ledger: &Value, name: &str) -> u64 {
    ledger[name].as_u64().unwrap_or(0)
}

/// Receives that ended because of a lack: of completions, of buffers to copy into.
fn failed(ledger: &Value) -> u64 {
    ["ENOSPC", "ENOMEM", "EFAULT"].iter().map(|errno| number(&ledger["endings"], errno)).sum()
}

impl Truth {
    pub(super) fn of(ledger: Value) -> Self {
        let at_begin = ledger.clone();
        Self { now: ledger, at_begin, lost_at_begin: 0, last: 0, most_held: 0, most_unread: 0 }
    }

    /// Whether receives failed so far.
    pub(super) fn failed(&self) -> bool {
        failed(&self.now) > 0
    }

    /// Notes what was counted when the fault began.
    pub(super) fn begin(&mut self, ledger: Value, counters: Counters) {
        self.at_begin = ledger;
        self.lost_at_begin = counters.lost;
        self.last = self.harm(counters);
    }

    pub(super) fn update(&mut self, ledger: Value) {
        self.most_held = self.most_held.max(number(&ledger, "held_buffers"));
        let sockets = ledger["sockets"].as_array().into_iter().flatten();
        let unread = sockets.filter_map(|socket| socket["unread_bytes"].as_u64()).sum();
        self.most_unread = self.most_unread.max(unread);
        self.now = ledger;
    }

    fn harm(&self, counters: Counters) -> u64 {
        counters.lost.saturating_sub(self.lost_at_begin)
            + failed(&self.now).saturating_sub(failed(&self.at_begin))
    }

    /// Whether the fault has done harm: packets were lost, or receives failed.
    pub(super) fn harmed(&self, counters: Counters) -> bool {
        self.harm(counters) > 0
    }

    /// Whether more harm was done since this was asked last.
    pub(super) fn still_harms(&mut self, counters: Counters) -> bool {
        let harm = self.harm(counters);
        let more = harm > self.last;
        self.last = harm;
        more
    }

    /// What the ledger shows of the fault; `None` if it shows none.
    pub(super) fn marks(&self, case: &Case) -> Option<String> {
        let area = u64::from(case.area);
        let (now, begin) = (&self.now, &self.at_begin);
        let grown = |name: &str| number(now, name).saturating_sub(number(begin, name));
        let shows = match case.fault {
            Fault::None => false,
            Fault::Slow(_) => self.most_held * 4 >= area && grown("returned") > 0,
            Fault::Unreaped => number(now, "cq_ready") > 0,
            Fault::NotReading => self.most_unread > 0,
            Fault::NeverReturned => self.most_held * 2 >= area && grown("returned") <= area,
            Fault::Leak(_) => self.most_held * 2 >= area,
            Fault::RefillRingFull(_) => number(now, "dropped") * 4 >= area,
            Fault::BadEntries { .. } => number(now, "bad") * 4 >= area,
            Fault::DoubleEntries(_) => number(now, "returned_twice") * 4 >= area,
            Fault::WrongQueue => number(&now["endings"], "ENOMEM") > 0,
            Fault::SmallCompletionQueue(_) => number(&now["endings"], "ENOSPC") > 0,
            Fault::SmallArea
            | Fault::Stopped
            | Fault::Blocked
            | Fault::Throttled(_)
            | Fault::InterfaceDown => true,
            Fault::NoDevice => number(now, "refill_pending") * 4 >= area,
            Fault::NoRetry => number(now, "refill_pending") > 0,
        };
        shows.then(|| self.words())
    }

    /// The ledger in a line.
    pub(super) fn words(&self) -> String {
        let now = &self.now;
        let names = [
            "buffers",
            "delivered",
            "returned",
            "dropped",
            "bad",
            "returned_twice",
            "cq_ready",
            "refill_pending",
        ];
        let counts: Vec<String> = names.iter().map(|name| format!("{name} {}", number(now, name))).collect();
        format!(
            "{}, held at most {}, unread at most {} bytes, endings {}",
            counts.join(", "),
            self.most_held,
            self.most_unread,
            now["endings"]
        )
    }
}
