//! Makes Linux io_uring zero-copy receive (zcrx) observable.
//!
//! Data flows one way: sources ([`probe`], [`receive`], [`net`]) know nothing of each other; [`observe`]
//! joins their samples into [`model`] values; [`diagnose`] names problems and causes; [`export`] and [`view`] present them to
//! machines and to people. `docs/architecture.md` in the repository gives the reasons.

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
pub mod qualify;
pub mod receive;
pub mod view;
