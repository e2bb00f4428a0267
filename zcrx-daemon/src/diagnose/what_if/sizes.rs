//! Sizes to try, as the command line has them: `area=8192,refill=4096`.

use std::str::FromStr;

/// Sizes to try; `None` is the recorded size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriedSizes {
    /// Area, buffers.
    pub area: Option<u64>,
    /// Refill ring, entries.
    pub refill: Option<u32>,
}

/// Why sizes cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizesError {
    /// Not a list of sizes.
    #[error(
        "'{0}' is not SIZE=NUMBER: write area=BUFFERS, refill=ENTRIES, or both with a comma between them"
    )]
    Form(String),
    /// Neither of the two sizes.
    #[error("unknown size '{0}': the sizes are area (in buffers) and refill (in entries)")]
    Unknown(String),
    /// The same size twice.
    #[error("{0} is given twice: keep one")]
    Twice(&'static str),
    /// No area can have this size.
    #[error("area={0}: write a number of buffers from 1 to 4294967295, not of bytes")]
    Area(String),
    /// No refill ring can have this size.
    #[error("refill={0}: write a number of entries from 1 to 32768, the most that the kernel takes")]
    Refill(String),
}

/// The kernel takes no more entries (`IO_RQ_MAX_ENTRIES`).
const MOST_REFILL_ENTRIES: u32 = 32_768;

impl FromStr for TriedSizes {
    type Err = SizesError;

    fn from_str(text: &str) -> Result<Self, SizesError> {
        let mut sizes = Self::default();
        for part in text.split(',') {
            let (name, number) =
                part.trim().split_once('=').ok_or_else(|| SizesError::Form(part.trim().to_owned()))?;
            match name.trim() {
                "area" => {
                    let area = number.trim().parse::<u32>().ok().filter(|&buffers| buffers > 0);
                    let area = area.ok_or_else(|| SizesError::Area(number.trim().to_owned()))?;
                    if sizes.area.replace(u64::from(area)).is_some() {
                        return Err(SizesError::Twice("area"));
                    }
                }
                "refill" => {
                    let entries = number.trim().parse::<u32>().ok();
                    let entries = entries.filter(|entries| (1..=MOST_REFILL_ENTRIES).contains(entries));
                    let entries = entries.ok_or_else(|| SizesError::Refill(number.trim().to_owned()))?;
                    if sizes.refill.replace(entries).is_some() {
                        return Err(SizesError::Twice("refill"));
                    }
                }
                other => return Err(SizesError::Unknown(other.to_owned())),
            }
        }
        Ok(sizes)
    }
}
