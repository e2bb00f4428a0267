//! The project's chores: `cargo xtask --help`.

mod tools;

fn main() {}
