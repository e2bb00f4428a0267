//! Interfaces, drivers, daemons and network namespaces that come and go.

pub(super) mod boot;
pub(super) mod churn;
pub(super) mod lifecycle_faults;
pub(super) mod netns;
