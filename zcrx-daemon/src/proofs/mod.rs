//! Which scenarios of the lab assert a statement of the documentation on a real kernel.
//!
//! Each scenario declares what it proves; the table is generated from these declarations.

mod table;

/// Returns the names of the scenarios that prove a statement, for example `cause never_returned`.
pub(crate) fn scenarios(statement: &str) -> impl Iterator<Item = &'static str> {
    table::PROOFS.iter().filter(move |(proved, _)| *proved == statement).map(|(_, scenario)| *scenario)
}

/// Returns the same as Markdown, separated by commas.
pub(crate) fn markdown(statement: &str) -> String {
    scenarios(statement).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Returns every statement of a kind that a scenario proves, without its kind.
#[cfg(test)]
pub(crate) fn statements(kind: &str) -> impl Iterator<Item = &'static str> {
    table::PROOFS.iter().filter_map(move |(proved, _)| proved.strip_prefix(kind)?.strip_prefix(' '))
}
