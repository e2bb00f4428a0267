//! Shared by xtask, the lab's host and the dashboard generator: a cache that two processes may use at once, programs
//! whose failure explains itself, packages of other Debian suites without touching the machine's own apt, and scrapes.

pub mod apt;
pub mod architecture;
pub mod cache;
pub mod command;
pub mod deb;
pub mod page;
pub mod progress;
pub mod scrape;
pub mod workspace;
