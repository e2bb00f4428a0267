//! Giving capabilities up.
//!
//! Capabilities belong to threads. Only the thread that attaches probes has all that zcrxd was given, and it ends when
//! they are attached; the main thread gives up the rest before any other thread begins, and all others come from it.

use std::collections::HashSet;
use std::io;

use caps::CapSet;
use tracing::{info, warn};

use crate::config::Config;
use crate::kernel::Capability;
use crate::model::BackendKind;
use crate::receive::BackendChoice;

/// What is needed once the probes are attached: programs and maps are open files by then.
fn needed(config: &Config) -> HashSet<Capability> {
    let mut needed: HashSet<_> = config.privileges.keep.iter().copied().collect();
    // To read what /proc says of the owners of queues.
    needed.insert(Capability::CAP_SYS_PTRACE);
    // A queue that failed is registered again.
    if config.queues.iter().any(|queue| queue.backend != BackendChoice::Only(BackendKind::Copy)) {
        needed.insert(Capability::CAP_NET_ADMIN);
    }
    needed
}

/// Takes from the calling thread what it does not need any more, and says what that was.
pub(super) fn give_up(config: &Config) -> GivenUp {
    if !config.privileges.drop {
        return GivenUp::default();
    }
    match reduce(&needed(config)) {
        Ok((dropped, _)) if dropped.is_empty() => GivenUp::default(),
        Ok((dropped, kept)) => {
            let kept = if kept.is_empty() { "none".to_owned() } else { names(&kept) };
            info!("gave up {}; kept {kept}", names(&dropped));
            GivenUp(dropped)
        }
        Err(error) => {
            // Less safe than it could be, and no reason not to run.
            warn!(%error, "cannot give capabilities up");
            GivenUp::default()
        }
    }
}

/// What was given up: there is no way back.
#[derive(Debug, Default)]
pub(super) struct GivenUp(Vec<Capability>);

impl GivenUp {
    /// Those that another configuration would need, as a list in words; `None` if there are none.
    pub(super) fn missing_for(&self, config: &Config) -> Option<String> {
        let needed = needed(config);
        let missing: Vec<_> =
            self.0.iter().copied().filter(|capability| needed.contains(capability)).collect();
        (!missing.is_empty()).then(|| names(&missing))
    }
}

/// What was given up, and what stays.
type Reduced = (Vec<Capability>, Vec<Capability>);

fn reduce(keep: &HashSet<Capability>) -> io::Result<Reduced> {
    let failed = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let (kept, dropped): (HashSet<_>, HashSet<_>) =
        permitted.into_iter().partition(|capability| keep.contains(capability));
    if !dropped.is_empty() {
        // In this order: each set may only hold what the next one allows.
        caps::clear(None, CapSet::Ambient).map_err(failed)?;
        caps::clear(None, CapSet::Inheritable).map_err(failed)?;
        caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
        caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    }
    Ok((dropped.into_iter().collect(), kept.into_iter().collect()))
}

fn names(capabilities: &[Capability]) -> String {
    let mut names: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.join(", ")
}
