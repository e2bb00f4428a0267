//! The own receive path: one ring per queue on its own thread.

mod mapping;
pub mod refill;
