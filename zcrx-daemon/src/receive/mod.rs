//! The own receive path: one ring per queue on its own thread.

mod mapping;
pub mod pattern;
pub mod refill;
pub mod software;
