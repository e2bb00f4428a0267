//! `docs/causes.md`: the rules, written for people.

use std::fmt::Write;

use super::causes::RULES;

const HEAD: &str = "\
# Causes of starvation

What zcrxd can name, each with what it looks like and what helps. Written from the rules that the diagnosis itself
asks (`zcrx-daemon/src/diagnose/causes`, a file each): change those, then regenerate with

    ZCRXD_BLESS=1 cargo test -p zcrx-daemon causes_are_current

Several causes can hold at once; they are named in the order of their effect. A cause that cannot be told, because a
figure is not to be had on this host, is left out, and the figure is named instead.

| | Name | Cause | What it looks like | What to do |
|---|---|---|---|---|
";

/// The table of causes, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for rule in RULES {
        let (letter, name) = (rule.cause.letter(), rule.cause.name());
        writeln!(page, "| {letter} | `{name}` | {} | {} | {} |", rule.title, rule.signature, rule.remedy)
            .expect("writing to a String cannot fail");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_current() -> std::io::Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/causes.md");
        let current = reference();
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            std::fs::write(path, &current)?;
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == current,
            "docs/causes.md is stale: ZCRXD_BLESS=1 cargo test -p zcrx-daemon causes_are_current"
        );
        Ok(())
    }
}
