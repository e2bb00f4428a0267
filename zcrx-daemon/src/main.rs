//! zcrxd.
fn main() {}
