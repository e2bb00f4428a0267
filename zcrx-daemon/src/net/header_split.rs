//! Configures header split, and determines what was configured before.
//!
//! The kernel accepts a zcrx queue only if header split is *configured* on. Drivers do not report the configuration: fbnic
//! always reports "on", bnxt "on" whenever it uses aggregation rings, mlx5 nothing until a user sets it. So zcrxd always requests
//! "on". That changes nothing where it is configured already; whether it changed something shows what was configured.

use super::NetError;
use super::step::Taken;
use crate::model::HeaderSplit;

/// An interface whose ring parameters can be requested.
pub trait RingRequests {
    /// Header split and its threshold as the driver reports them.
    fn reported(&mut self) -> Result<(HeaderSplit, Option<u32>), NetError>;

    /// Asks for header split, its threshold or both. Says whether that changed the configuration; `None` if unknown.
    fn request(
        &mut self,
        split: Option<HeaderSplit>,
        threshold: Option<u32>,
    ) -> Result<Option<bool>, NetError>;
}

/// Takes a header split step. Passes on what was configured before as soon as that is known, and before it changes more: nothing
/// shows it afterwards.
pub fn configure(
    rings: &mut impl RingRequests,
    split: Option<HeaderSplit>,
    threshold: Option<u32>,
    learned: &mut dyn FnMut(HeaderSplit),
) -> Result<Taken, NetError> {
    if split != Some(HeaderSplit::On) {
        let changed = rings.request(split, threshold)?;
        return Ok(Taken { changed, ..Taken::default() });
    }
    let (reported, _) = rings.reported()?;
    if reported == HeaderSplit::On {
        // Alone, so that an announced change is its own. The driver may take the threshold over with it.
        let changed = rings.request(split, None)?;
        if let Some(changed) = changed {
            learned(if changed { HeaderSplit::Auto } else { HeaderSplit::On });
        }
        let (_, present) = rings.reported()?;
        let late = match threshold.filter(|wanted| present.is_some_and(|present| present != *wanted)) {
            Some(wanted) => rings.request(None, Some(wanted))?,
            None => Some(false),
        };
        let changed = changed.zip(late).map(|(first, second)| first || second);
        return Ok(Taken { changed, ..Taken::default() });
    }
    // "On" is not configured, so a request for the driver's default can disturb only a NIC that is configured "off".
    let before = match rings.request(Some(HeaderSplit::Auto), None) {
        Ok(changed) => changed.map(|changed| if changed { HeaderSplit::Off } else { HeaderSplit::Auto }),
        Err(_) => None,
    };
    if let Some(before) = before {
        learned(before);
    }
    let changed = match rings.request(split, threshold) {
        Ok(changed) => changed,
        Err(error) => {
            // The refused step leaves the interface as it was found.
            if before == Some(HeaderSplit::Off) {
                rings.request(Some(HeaderSplit::Off), None)?;
            }
            return Err(error);
        }
    };
    Ok(Taken { changed, ..Taken::default() })
}
