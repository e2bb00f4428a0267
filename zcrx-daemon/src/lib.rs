//! Makes Linux io_uring zero-copy receive (zcrx) observable.
//!
//! Data flows one way: sources ([`probe`], [`receive`], [`net`]) know nothing of each other; [`observe`] lays
//! what they say side by side as [`model`] values; [`diagnose`] says what is wrong and why; [`export`] and [`view`]
//! say it to machines and to people.
//! `docs/architecture.md` in the repository is the same picture with its reasons.

pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnose;
pub mod export;
pub mod kernel;
pub mod model;
pub mod net;
pub mod observe;
pub mod probe;
mod proofs;
pub mod receive;
pub mod view;
