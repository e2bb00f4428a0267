//! Totals of all queues for the last log line.

use std::fmt;

use crate::model::ReceiveSample;

/// Sums over all queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    queues: usize,
    accepted: u64,
    open: u64,
    bytes: u64,
    completions: u64,
    dispensed: u64,
    returned: u64,
    reclaimed: u64,
    held: u64,
    mismatched: u64,
    lost: u64,
}

impl Totals {
    pub(super) fn of(queues: &[ReceiveSample]) -> Self {
        queues.iter().fold(Self { queues: queues.len(), ..Self::default() }, |sum, queue| Self {
            queues: sum.queues,
            accepted: sum.accepted + queue.accepted,
            open: sum.open + queue.connections,
            bytes: sum.bytes + queue.bytes,
            completions: sum.completions + queue.completions,
            dispensed: sum.dispensed + queue.dispensed,
            returned: sum.returned + queue.returned,
            reclaimed: sum.reclaimed + queue.reclaimed,
            held: sum.held + queue.held(),
            mismatched: sum.mismatched + queue.mismatched_bytes,
            lost: sum.lost + queue.ring.map_or(0, |ring| ring.lost_bytes),
        })
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.queues == 0 {
            return f.write_str("no queues, observed only");
        }
        write!(
            f,
            "{} bytes in {} completions of {} connections ({} open); buffers delivered {} = returned {} + held {}",
            self.bytes, self.completions, self.accepted, self.open, self.dispensed, self.returned, self.held
        )?;
        if self.reclaimed > 0 {
            write!(f, " + reclaimed {} by new registrations", self.reclaimed)?;
        }
        if self.lost > 0 {
            write!(f, "; {} acknowledged bytes lost", self.lost)?;
        }
        if self.mismatched > 0 {
            write!(f, "; {} bytes differ from the sent data", self.mismatched)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::queue;

    #[test]
    fn queues_are_summed() {
        let mut other = queue();
        other.mismatched_bytes = 5;
        assert_eq!(
            Totals::of(&[queue(), other]).to_string(),
            "246913578 bytes in 18000 completions of 8 connections (4 open); \
             buffers delivered 18000 = returned 17800 + held 200; 8192 acknowledged bytes lost; 5 bytes differ from the sent data"
        );
        assert_eq!(Totals::of(&[]).to_string(), "no queues, observed only");
    }
}
