//! The machine itself.

use anyhow::ensure;

use crate::harness;
use crate::harness::namespace::Namespace;
use crate::harness::scenario::Scenario;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[BOOT];

/// Whether the lab works at all.
const BOOT: Scenario = Scenario {
    name: "boot",
    about: "the kernel runs, and two network namespaces can be made",
    needs: &[],
    proves: &[],
    limit: 60,
    default: true,
    run: || {
        let (one, other) = (Namespace::create()?, Namespace::create()?);
        for namespace in [&one, &other] {
            let links = namespace.run("ip", &["-o", "link"])?;
            ensure!(links.lines().count() == 1 && links.contains("lo:"), "not only the loopback: {links}");
        }
        harness::facts::add("release", &harness::kernel_release())
    },
};
