//! What a lab guest and the host say to each other.

pub mod protocol;
