//! What a line of standard input says.

use std::str::FromStr;

use anyhow::{Context, bail};

use super::worker::Kind;

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A further thread with a ring.
    Ring(Kind),
    /// The thread of a ring closes the ring and ends.
    Close(usize),
    /// So many further file descriptors of a ring; 0 closes all of them.
    Dup(usize, u32),
    /// A child that holds the same files.
    Fork,
    /// The end of the child.
    Exit,
    /// Keeps an exported descriptor of the queue.
    Keep,
    /// Closes the kept descriptor.
    Drop,
    /// A further area with so many buffers.
    Area(u32),
    /// Posts completions of 16 and of 32 bytes, which stay unread while the ring is stalled.
    Nops(usize, u32, u32),
    /// Stops reading completions, or goes on.
    Stall(usize, bool),
    /// Keeps what is delivered from now on.
    Hold,
    /// Returns all that was kept.
    Resume,
    /// Prints the truth.
    Report,
    /// Ends the program.
    Quit,
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let mut number = || -> anyhow::Result<u32> {
            let word = words.next().with_context(|| format!("order `{line}` lacks a number"))?;
            word.parse().with_context(|| format!("order `{line}`: `{word}` is not a number"))
        };
        Ok(match name {
            "ring" => Self::Ring(Kind::Plain),
            "mixed" => Self::Ring(Kind::Mixed),
            "hidden" => Self::Ring(Kind::Hidden),
            "close" => Self::Close(number()? as usize),
            "dup" => Self::Dup(number()? as usize, number()?),
            "fork" => Self::Fork,
            "exit" => Self::Exit,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "area" => Self::Area(number()?),
            "nops" => Self::Nops(number()? as usize, number()?, number()?),
            "stall" => Self::Stall(number()? as usize, true),
            "go" => Self::Stall(number()? as usize, false),
            "hold" => Self::Hold,
            "resume" => Self::Resume,
            "report" => Self::Report,
            "quit" => Self::Quit,
            _ => bail!("order `{line}` is unknown; --help lists the orders"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_names_and_numbers() {
        assert_eq!("nops 2 30 4".parse::<Order>().expect("an order"), Order::Nops(2, 30, 4));
        assert_eq!("hidden".parse::<Order>().expect("an order"), Order::Ring(Kind::Hidden));
        assert!("close".parse::<Order>().is_err_and(|error| error.to_string().contains("lacks a number")));
        assert!("dance".parse::<Order>().is_err());
    }
}
