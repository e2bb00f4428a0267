//! CPU time and memory that the probes cost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Costs of all attached programs and their maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeCost {
    /// Each attached program.
    pub programs: Vec<ProgramCost>,
    /// Each map.
    pub maps: Vec<MapCost>,
    /// Records that the probes lost, by kind; empty if unknown.
    pub lost: BTreeMap<String, u64>,
}

/// One attached program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Its name in the object.
    pub program: String,
    /// Runs since the program was loaded, and their time without the overhead of the attachment; `None` while the kernel keeps no
    /// statistics.
    pub runs: Option<(u64, Duration)>,
    /// Runs that the kernel skipped, because the program was running already on that CPU, or because too many calls were
    /// active. Linux 5.12; for kretprobes the latter are unknown.
    pub missed: Option<u64>,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapCost {
    /// Its name in the object, in small letters.
    pub map: String,
    /// Kernel memory of the map, bytes.
    pub bytes: Option<u64>,
    /// Entries in use; `None` where that has no meaning (arrays, ring buffers).
    pub entries: Option<u64>,
    /// Entries it has room for; bytes for a ring buffer.
    pub capacity: u64,
}
