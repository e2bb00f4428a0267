//! Snapshot, probes and causes of starvation, against the truth of the application, the NIC and the kernel.

pub(super) mod delivery;
pub(super) mod failures;
pub(super) mod faults;
pub(super) mod foreign_queue;
pub(super) mod foreign_snapshot;
pub(super) mod healthy;
pub(super) mod local_queue;
pub(super) mod owner;
pub(super) mod probes;
pub(super) mod residence;
pub(super) mod residence_cost;
pub(super) mod sizes;
pub(super) mod starvation;
pub(super) mod stories;
pub(super) mod teardown;
