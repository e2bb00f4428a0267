//! Output for users: page, terminal, runbook.

pub(crate) mod format;
pub mod landing;
mod places;
pub mod runbook;
pub mod top;
pub(crate) mod words;
