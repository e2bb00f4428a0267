//! The line that a verifier answers.

use std::fmt;
use std::str::FromStr;

/// What a verifier found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All payload was what was sent.
    Ok {
        /// Payload, bytes.
        payload: u64,
    },
    /// Some was not.
    Bad {
        /// Bytes that differed.
        mismatched: u64,
        /// Payload, bytes.
        payload: u64,
        /// Payload offset of the first one that differed.
        first: u64,
    },
    /// The stream did not begin with a header.
    BadHeader,
}

/// A line that is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no verdict of a verifier: is that a `verify` sink?")]
pub struct ParseVerdictError(pub String);

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { payload } => write!(f, "ok {payload}"),
            Self::Bad { mismatched, payload, first } => {
                write!(f, "bad {mismatched} of {payload}, first at {first}")
            }
            Self::BadHeader => f.write_str("bad header"),
        }
    }
}

impl FromStr for Verdict {
    type Err = ParseVerdictError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let line = line.trim_end_matches('\n');
        parse(line).ok_or_else(|| ParseVerdictError(line.to_owned()))
    }
}

fn parse(line: &str) -> Option<Verdict> {
    if line == "bad header" {
        return Some(Verdict::BadHeader);
    }
    if let Some(payload) = line.strip_prefix("ok ") {
        return Some(Verdict::Ok { payload: payload.parse().ok()? });
    }
    let (mismatched, rest) = line.strip_prefix("bad ")?.split_once(" of ")?;
    let (payload, first) = rest.split_once(", first at ")?;
    Some(Verdict::Bad {
        mismatched: mismatched.parse().ok()?,
        payload: payload.parse().ok()?,
        first: first.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for verdict in [
            Verdict::Ok { payload: 0 },
            Verdict::Ok { payload: u64::MAX },
            Verdict::Bad { mismatched: 3, payload: 4096, first: 17 },
            Verdict::BadHeader,
        ] {
            assert_eq!(format!("{verdict}\n").parse(), Ok(verdict));
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "ok", "ok -1", "bad 1", "bad 1 of 2, first at", "HTTP/1.1 400 Bad Request"] {
            assert_eq!(line.parse::<Verdict>(), Err(ParseVerdictError(line.to_owned())));
        }
    }
}
