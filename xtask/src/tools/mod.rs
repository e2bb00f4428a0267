//! What several chores need: a cache that two of them may use at once, programs whose failure explains itself,
//! and packages of other Debian suites without touching the machine's own apt.

pub(crate) mod apt;
pub(crate) mod cache;
pub(crate) mod command;
pub(crate) mod deb;
pub(crate) mod progress;
pub(crate) mod workspace;
