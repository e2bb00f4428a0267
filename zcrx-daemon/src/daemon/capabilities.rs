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
    // To read /proc of the owners of queues.
    needed.insert(Capability::CAP_SYS_PTRACE);
    // To register a failed queue again.
    if config.queues.iter().any(|queue| queue.backend != BackendChoice::Only(BackendKind::Copy)) {
        needed.insert(Capability::CAP_NET_ADMIN);
    }
    needed
}

/// Drops capabilities that the calling thread no longer needs, and logs them.
pub(super) fn drop_unneeded(config: &Config) -> Dropped {
    if !config.privileges.drop {
        return Dropped::default();
    }
    match reduce(&needed(config)) {
        Ok((dropped, _)) if dropped.is_empty() => Dropped::default(),
        Ok((dropped, kept)) => {
            let kept = if kept.is_empty() { "none".to_owned() } else { names(&kept) };
            info!("dropped {}; kept {kept}", names(&dropped));
            Dropped(dropped)
        }
        Err(error) => {
            // zcrxd runs with more privileges than needed, which is no reason to stop.
            warn!(%error, "cannot drop capabilities; zcrxd keeps more privileges than it needs");
            Dropped::default()
        }
    }
}

/// Dropped capabilities, which the process cannot regain.
#[derive(Debug, Default)]
pub(super) struct Dropped(Vec<Capability>);

impl Dropped {
    /// Names of dropped capabilities that `config` needs; `None` if it needs none of them.
    pub(super) fn needed_by(&self, config: &Config) -> Option<String> {
        let needed = needed(config);
        let missing: Vec<_> =
            self.0.iter().copied().filter(|capability| needed.contains(capability)).collect();
        (!missing.is_empty()).then(|| names(&missing))
    }
}

/// Dropped and kept capabilities.
type Reduced = (Vec<Capability>, Vec<Capability>);

fn reduce(keep: &HashSet<Capability>) -> io::Result<Reduced> {
    let failed = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let (kept, dropped): (HashSet<_>, HashSet<_>) =
        permitted.into_iter().partition(|capability| keep.contains(capability));
    if !dropped.is_empty() {
        // In this order, since each set is limited by the next one.
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
