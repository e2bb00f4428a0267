//! What a registration answers.

use std::fmt;

use zcrx_uapi::errno;

/// What a successful registration answers with, or a positive errno.
pub(crate) type Outcome = Result<Geometry, i32>;

/// What user space must know to use a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Refill ring entries that were given.
    pub(crate) rq_entries: u32,
    /// What goes into the upper bits of refill entries.
    pub(crate) area_token: u64,
    /// Byte offset of the head, the tail and the first entry.
    pub(crate) offsets: [u32; 3],
}

/// Describes an outcome.
pub(crate) struct Words(pub(crate) Outcome);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(Geometry { rq_entries, area_token, offsets: [head, tail, rqes] }) => write!(
                f,
                "registered: {rq_entries} entries, area token {area_token:#x}, head at {head}, tail at {tail}, \
                 entries at {rqes}"
            ),
            Err(number) => match errno::name(number) {
                Some(name) => f.write_str(name),
                None => write!(f, "errno {number}"),
            },
        }
    }
}
