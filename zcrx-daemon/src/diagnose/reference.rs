//! `docs/causes.md`: the rules, written for people.

use std::fmt::Write;

use super::causes::RULES;
use super::rule::Produced;

const HEAD: &str = "\
# Causes of starvation

What zcrxd can name, each with what it looks like and what helps. Written from the rules that the diagnosis itself
asks (`zcrx-daemon/src/diagnose/causes`, a file each): change those, then regenerate with

    ZCRXD_BLESS=1 cargo test -p zcrx-daemon causes_are_current

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
        let (letter, name) = (rule.cause.letter(), rule.cause.name());
        let (title, signature, remedy) = (rule.title, rule.signature, rule.remedy);
        let produced = produced(&rule.produced);
        let named = rule.late.map_or_else(|| BY_SECOND.to_owned(), |why| format!("later: {why}"));
        writeln!(page, "| {letter} | `{name}` | {title} | {signature} | {remedy} | {named} | {produced} |")
            .expect("writing to a String cannot fail");
    }
    page.push_str(TAIL);
    page
}

fn produced(produced: &Produced) -> String {
    match produced {
        Produced::Lab { how, scenarios, kernels } => {
            let scenarios: Vec<String> = scenarios.iter().map(|name| format!("`{name}`")).collect();
            format!("{how}: {} (Linux {kernels})", scenarios.join(", "))
        }
        Produced::Not(why) => (*why).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_that_is_named_is_one_of_the_labs() -> std::io::Result<()> {
        let mut sources = String::new();
        let mut places =
            vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/lab/guest/src/scenarios")];
        while let Some(place) = places.pop() {
            for entry in std::fs::read_dir(place)? {
                let path = entry?.path();
                if path.is_dir() {
                    places.push(path);
                } else {
                    sources += &std::fs::read_to_string(path)?;
                }
            }
        }
        for rule in RULES {
            let Produced::Lab { scenarios, .. } = &rule.produced else { continue };
            assert!(!scenarios.is_empty(), "{}", rule.title);
            for name in *scenarios {
                assert!(
                    sources.contains(&format!("\"{name}\"")),
                    "{}: there is no scenario {name}",
                    rule.title
                );
            }
        }
        Ok(())
    }

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
