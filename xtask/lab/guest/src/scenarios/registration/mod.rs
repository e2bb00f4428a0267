//! Registrations that the kernel accepts and refuses.

pub(super) mod conformance;
pub(super) mod registration_errors;
pub(super) mod requests;
