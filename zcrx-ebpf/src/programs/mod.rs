//! The programs: one file for each probe of the daemon's catalogue, named like it.
//!
//! `cargo xtask regenerate` writes what follows.

pub(crate) mod allocation;
pub(crate) mod control;
pub(crate) mod copy;
pub(crate) mod delivery;
pub(crate) mod extack;
pub(crate) mod holders;
pub(crate) mod life;
pub(crate) mod notification;
pub(crate) mod page_pool;
pub(crate) mod registration;
pub(crate) mod residence;
pub(crate) mod snapshot;
pub(crate) mod stack;
