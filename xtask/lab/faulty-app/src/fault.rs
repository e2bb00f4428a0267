//! The faults, and what each does with a buffer that the application is done with.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};

/// Buffers that are the first ones: more than areas of tests have.
const FIRST: u64 = 4096;

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Holds each buffer that long. A slow consumer.
    Slow(Duration),
    /// Holds each buffer that long, and then drops what does not fit into the refill ring.
    SlowAndDropping(Duration),
    /// Holds each of the first buffers that long, and none thereafter. Slow for a moment.
    SlowAtFirst(Duration),
    /// Holds every buffer for ever. A leak.
    NeverReturn,
    /// Returns every Nth completion's buffer a second time.
    ReturnTwice(u64),
    /// Returns every Nth completion's buffer under an area token that does not exist.
    BadToken(u64),
    /// Returns every Nth completion's buffer with an offset behind the end of the area.
    BadOffset(u64),
    /// A refill ring of 64 entries, and what does not fit is dropped, as liburing's example does.
    RingOverflow,
    /// Does not receive: data stays in the socket.
    NotReading,
    /// Makes the kernel post completions, but takes none.
    CqStall,
    /// Returns buffers out of order, and keeps every Nth completion's for ever.
    Fragments(u64),
    /// Holds what lies in that many buffers, then returns all of it, the last completion of each buffer after all others.
    /// Of effect with receives that are capped below a buffer's size.
    FragmentsApart(u64),
    /// An area of 64 buffers, less than the NIC's ring.
    SmallArea,
    /// Registers the queue after the requested one.
    WrongQueue,
}

/// What the application does with a buffer that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Returned; kept for later if the refill ring is full.
    Return,
    /// Returned; lost if the refill ring is full.
    ReturnOrDrop,
    /// Returned, and returned again.
    ReturnTwice,
    /// An entry with an unknown area is published; the buffer stays held.
    BadToken,
    /// An entry with an offset outside the area is published; the buffer stays held.
    BadOffset,
    /// Held that long.
    HoldFor(Duration),
    /// Held that long, then returned; lost if the refill ring is full.
    HoldForThenDrop(Duration),
    /// Held until the fault ends.
    Hold,
    /// Collected, and returned with others in an order that keeps neighbours apart.
    Scatter,
    /// Collected until so many buffers are held, and then returned with the completions of one buffer far apart.
    Apart(u64),
}

impl Fault {
    /// What the application does with the `nth` buffer, counted from 1, while the fault is active.
    pub(crate) fn fate(self, nth: u64) -> Fate {
        let is_due = |every: u64| nth.is_multiple_of(every);
        match self {
            Self::Slow(time) => Fate::HoldFor(time),
            Self::SlowAndDropping(time) => Fate::HoldForThenDrop(time),
            Self::SlowAtFirst(time) if nth <= FIRST => Fate::HoldFor(time),
            Self::NeverReturn => Fate::Hold,
            Self::ReturnTwice(every) if is_due(every) => Fate::ReturnTwice,
            Self::BadToken(every) if is_due(every) => Fate::BadToken,
            Self::BadOffset(every) if is_due(every) => Fate::BadOffset,
            Self::RingOverflow => Fate::ReturnOrDrop,
            Self::Fragments(every) if is_due(every) => Fate::Hold,
            Self::Fragments(_) => Fate::Scatter,
            Self::FragmentsApart(buffers) => Fate::Apart(buffers),
            Self::ReturnTwice(_)
            | Self::BadToken(_)
            | Self::BadOffset(_)
            | Self::NotReading
            | Self::CqStall
            | Self::SmallArea
            | Self::SlowAtFirst(_)
            | Self::WrongQueue => Fate::Return,
        }
    }

    /// The name it is chosen by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slow(_) => "slow",
            Self::SlowAndDropping(_) => "slow-and-dropping",
            Self::SlowAtFirst(_) => "slow-at-first",
            Self::NeverReturn => "never-return",
            Self::ReturnTwice(_) => "return-twice",
            Self::BadToken(_) => "bad-token",
            Self::BadOffset(_) => "bad-offset",
            Self::RingOverflow => "ring-overflow",
            Self::NotReading => "not-reading",
            Self::CqStall => "cq-stall",
            Self::Fragments(_) => "fragments",
            Self::FragmentsApart(_) => "fragments-apart",
            Self::SmallArea => "small-area",
            Self::WrongQueue => "wrong-queue",
        }
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    /// `name` or `name=number`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => {
                let number: u64 = number
                    .parse()
                    .with_context(|| format!("`{number}` in `{text}` is not a whole number"))?;
                if number == 0 {
                    bail!("the number in `{text}` must not be 0");
                }
                (name, Some(number))
            }
            None => (text, None),
        };
        let every = number.unwrap_or(16);
        let fault = match name {
            "slow" => return Ok(Self::Slow(Duration::from_millis(number.unwrap_or(100)))),
            "slow-and-dropping" => {
                return Ok(Self::SlowAndDropping(Duration::from_millis(number.unwrap_or(100))));
            }
            "slow-at-first" => {
                return Ok(Self::SlowAtFirst(Duration::from_millis(number.unwrap_or(100))));
            }
            "return-twice" => return Ok(Self::ReturnTwice(every)),
            "bad-token" => return Ok(Self::BadToken(every)),
            "bad-offset" => return Ok(Self::BadOffset(every)),
            "fragments" => return Ok(Self::Fragments(every)),
            "fragments-apart" => return Ok(Self::FragmentsApart(number.unwrap_or(512))),
            "never-return" => Self::NeverReturn,
            "ring-overflow" => Self::RingOverflow,
            "not-reading" => Self::NotReading,
            "cq-stall" => Self::CqStall,
            "small-area" => Self::SmallArea,
            "wrong-queue" => Self::WrongQueue,
            _ => bail!(
                "no fault `{name}`; there are slow=MS, slow-and-dropping=MS, slow-at-first=MS, never-return, return-twice=N, bad-token=N, bad-offset=N, \
                 fragments=N, fragments-apart=N, ring-overflow, not-reading, cq-stall, small-area and wrong-queue"
            ),
        };
        if number.is_some() {
            bail!("`{name}` takes no number");
        }
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_chosen_by_its_name_and_number() {
        let parse = |text: &str| text.parse::<Fault>().expect(text);
        assert_eq!(parse("slow=250"), Fault::Slow(Duration::from_millis(250)));
        assert_eq!(parse("bad-token"), Fault::BadToken(16));
        assert_eq!(parse("cq-stall").name(), "cq-stall");
        for wrong in ["", "slow=", "slow=x", "return-twice=0", "cq-stall=3", "fast"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_nth_buffer_meets_its_fate_and_the_others_do_not() {
        let fates: Vec<Fate> = (1..=4).map(|nth| Fault::ReturnTwice(2).fate(nth)).collect();
        assert_eq!(fates, [Fate::Return, Fate::ReturnTwice, Fate::Return, Fate::ReturnTwice]);
        assert_eq!(Fault::Fragments(3).fate(2), Fate::Scatter);
        assert_eq!(Fault::Fragments(3).fate(3), Fate::Hold);
    }
}
