//! `docs/causes.md`: the rules, written for people.

use std::fmt::Write;

use super::causes::RULES;
use super::rule::{Produced, Rule};
use crate::model::Cause;
use crate::proofs;

const HEAD: &str = "\
# Causes of starvation

What zcrxd can name, each with what it looks like and what helps. Written from the rules that the diagnosis itself
asks (`zcrx-daemon/src/diagnose/causes`, a file each): change those, then regenerate with

    cargo xtask regenerate

Several causes can hold at once; they are named in the order of their effect, of which medium confidence counts six
tenths and low confidence a quarter. A cause that cannot be told, because a figure is not to be had on this host, is left
out, and the figure is named instead.

Named: with which sample after the begin of an episode, as the kernel stamped it, the cause is first. A sample is taken
every second (`interval`), or after the time that a look takes, if that is longer: the first sample may come a moment
after the begin, and the second shows that the trouble lasts. The scenarios hold the daemon to it.

The last column says where each can be seen: scenarios of the [lab](../xtask/lab/README.md), each run by
`cargo xtask lab run --scenario NAME`, or why there is none.

| | Name | Cause | What it looks like | What to do | Named | Produced |
|---|---|---|---|---|---|---|
";

const BY_SECOND: &str = "by the second sample";

const TAIL: &str = "
## With zcrxd's own receive path

A, C and I are made with it too (`diagnosed-own-*`). The others are what it is built not to do, on the kernels that the software
NIC is built for (Linux 7.2 and 7.3): it arms a receive on every connection or says that it paused it (B), flushes the refill ring
when that is full and stashes what does not fit (D), accounts for each buffer until it is returned once (E, G), flushes the ring of
a queue without a device (L). A completion queue of 8 entries becomes one of 256, and an ENOSPC now and then is answered by draining
and arming again: three in a minute, and no episode (J). F and H are asked of the kernel and the NIC, whoever owns the queue. For K
and M there are scenarios by name (`diagnosed-own-missteered_flow`, `diagnosed-own-pinned_after_teardown`).
";

/// The table of causes, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for rule in RULES {
        let letter = rule.letter.map(String::from).unwrap_or_default();
        let name = rule.cause.name();
        let (title, signature, remedy) = (rule.title, rule.signature, rule.remedy);
        let produced = produced(rule);
        let named = rule.late.map_or_else(|| BY_SECOND.to_owned(), |why| format!("later: {why}"));
        writeln!(page, "| {letter} | `{name}` | {title} | {signature} | {remedy} | {named} | {produced} |")
            .expect("writing to a String cannot fail");
    }
    page.push_str(TAIL);
    page
}

/// One cause in words, for the runbook: what it looks like and what to do.
pub fn explain(cause: Cause) -> String {
    let letter = cause.letter().map(|letter| format!(", cause {letter}")).unwrap_or_default();
    let head = format!("# {} ({}{letter})\n", super::title(cause), cause.name());
    let rule = RULES.iter().find(|rule| rule.cause == cause);
    let body = rule.map(|rule| {
        format!("\n## What it looks like\n\n{}\n\n## What to do\n\n{}\n", rule.signature, rule.remedy)
    });
    head + &body.unwrap_or_default()
}

fn produced(rule: &Rule) -> String {
    match rule.produced {
        Produced::Lab { how, kernels } => {
            let scenarios = proofs::markdown(&format!("cause {}", rule.cause.name()));
            format!("{how}: {scenarios} (Linux {kernels})")
        }
        Produced::Not(why) => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_proved_by_a_scenario_exactly_if_the_lab_produces_it() {
        for rule in RULES {
            let proved = proofs::statements("cause").any(|name| name == rule.cause.name());
            assert_eq!(proved, matches!(rule.produced, Produced::Lab { .. }), "{}", rule.title);
        }
        for name in proofs::statements("cause") {
            assert!(RULES.iter().any(|rule| rule.cause.name() == name), "there is no cause {name}");
        }
    }

    #[test]
    fn causes_are_current() -> std::io::Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/causes.md");
        let current = reference();
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            std::fs::write(path, &current)?;
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == current, "docs/causes.md is stale: cargo xtask regenerate");
        Ok(())
    }
}
