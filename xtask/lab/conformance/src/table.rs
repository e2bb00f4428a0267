//! The documentation's page, written from what the comparison itself asks.

use zcrx_uapi::errno;

use crate::difference::{self, Verdict, Version};
use crate::kernel::Target;
use crate::spoil;

const HEAD: &str = "\
# The contract of an interface queue

zcrxd's software interface queue (`zcrx-daemon/src/receive/software`) stands as the first description of the kernel's
interface queue did, check by check. The lab holds it against real kernels: random registrations, refill entries and
traffic go to both, and both must give the same errno, the same geometry and the same buffers. Where kernels have
moved on, the difference is a row of this page; one that has no row fails the lab.

    cargo xtask lab run --scenario contract-requests contract-nodev contract-device contract-accounting

This page is generated from the tables that the comparison asks (`xtask/lab/conformance`). To change it, change those and

    cargo xtask regenerate

## How a request is judged

";

/// The whole page.
pub(crate) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    line("| Difference | A request with | Kernel | On | Kernel says | Software queue says | Why |".into());
    line("|---|---|---|---|---|---|---|".into());
    let alone = difference::ALL.iter().map(|difference| (difference, ", "));
    let together = difference::TOGETHER.iter().map(|difference| (difference, " and "));
    for (difference, between) in alone.chain(together) {
        line(format!(
            "| `{}` | {} | {} and later | {} | {} | {} | {} |",
            difference.name,
            difference.spoils.join(between),
            version(difference.since),
            targets(difference.on),
            kernel_says(difference.verdict),
            difference.software,
            difference.why
        ));
    }
    line(String::new());
    line(format!(
        "{} peculiarities of a request are tried, each alone, each pair, and up to five at once: all others are judged \
         alike.",
        spoil::ALL.len()
    ));
    line("\n## In which order\n".into());
    line("| Difference | Kernel | On | What is looked at earlier than by the software queue |\n|---|---|---|---|".into());
    for order in difference::ORDERS {
        let on = targets(order.on);
        line(format!("| `{}` | {} and later | {on} | {} |", order.name, version(order.since), order.words));
    }
    line("\n## Where the refill ring's parts are\n".into());
    line("| Kernel | head | tail | entries | |\n|---|---|---|---|---|".into());
    line("| software queue | 0 | 4 | 8 | as first described |".into());
    for (since, [head, tail, rqes], why) in difference::GEOMETRY {
        line(format!("| {} and later | {head} | {tail} | {rqes} | {why} |", version(*since)));
    }
    line("\nOnly the offsets that a registration answers with are ever used, so none of this matters to zcrxd.".into());
    line("\n## Handling of refill entries\n".into());
    line("| Difference | Kernel | Kernel | Software queue |\n|---|---|---|---|".into());
    for (name, since, kernel, software) in difference::ENTRIES {
        line(format!("| `{name}` | {} and later | {kernel} | {software} |", version(*since)));
    }
    page
}

fn version(Version(major, minor): Version) -> String {
    format!("{major}.{minor}")
}

fn targets(on: fn(Target) -> bool) -> String {
    let device = |sizes| on(Target::Device { if_idx: 1, if_rxq: 0, sizes });
    let device = match (device(true), device(false)) {
        (true, true) => Some("a hardware queue"),
        (true, false) => Some("a hardware queue with a choice of buffer sizes"),
        (false, true) => Some("a hardware queue with one size of buffers"),
        (false, false) => None,
    };
    let nodev = on(Target::Nodev).then_some("no device");
    let loopback = on(Target::Loopback { if_idx: 1 }).then_some("an interface without zcrx");
    [device, nodev, loopback].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn kernel_says(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accepted => "nothing".to_owned(),
        Verdict::Refused(number) => errno::name(number).unwrap_or("an errno").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/contract.md");
        if std::env::var_os("ZCRXD_BLESS").is_some() {
            std::fs::write(&path, markdown()).expect("the page can be written");
        }
        let page = std::fs::read_to_string(&path).expect("the page can be read");
        assert!(page == markdown(), "docs/contract.md is stale; see its first paragraph");
    }

    #[test]
    fn every_difference_is_about_peculiarities_that_are_tried() {
        let judged =
            difference::ALL.iter().chain(difference::TOGETHER).flat_map(|difference| difference.spoils);
        let ordered = difference::ORDERS.iter().flat_map(|order| order.first.iter().chain(order.then));
        for name in judged.chain(ordered) {
            {
                assert!(spoil::ALL.iter().any(|spoil| spoil.name == *name), "{name}");
            }
        }
    }
}
