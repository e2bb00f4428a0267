//! What the probes themselves cost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What all attached programs and their maps cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeCost {
    /// Each attached program.
    pub programs: Vec<ProgramCost>,
    /// Each map.
    pub maps: Vec<MapCost>,
    /// What could not be recorded, by what it was; empty if the kernel did not say.
    pub lost: BTreeMap<String, u64>,
}

/// One attached program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Its name in the object.
    pub program: String,
    /// Runs since it was loaded, and the time they took without getting there; `None` while the kernel keeps no
    /// statistics.
    pub runs: Option<(u64, Duration)>,
    /// Runs that the kernel left out, because the program was interrupted by itself, or because too many calls were
    /// under way. Linux 5.12; of kretprobes the latter are not known.
    pub missed: Option<u64>,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapCost {
    /// Its name in the object, in small letters.
    pub map: String,
    /// Kernel memory it takes, bytes.
    pub bytes: Option<u64>,
    /// Entries in use; `None` where that has no meaning (arrays, ring buffers).
    pub entries: Option<u64>,
    /// Entries it has room for; bytes for a ring buffer.
    pub capacity: u64,
}
