//! Preparing a NIC for zcrx and checking a host.

pub(super) mod check;
pub(super) mod preparation;
