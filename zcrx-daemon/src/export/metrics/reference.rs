//! `docs/metrics.md`: the tables, written for people.

use std::fmt::Write;

use super::table::{Metric, Subject};
use super::{diagnosis, event, host, ifq, page_pool, probe, receive, registration, service, zcrx};

const HEAD: &str = "\
# Metrics

What `/metrics` exports, by what each series is about. Written from the tables that the export itself is made
from: change those, then regenerate with

    cargo xtask regenerate

Rules that hold for all of them:

- Base units: seconds and bytes. A counter counts from the start of zcrxd, or of what it counts.
- Unknown is not zero: a value that cannot be known on this host is an absent series.
- A series exists while the thing it is about exists; nothing goes on after a queue is gone.
- `interface` is left out for a queue without a device (backends `nodev` and `copy`); `queue` is then just a number.
  Where another network namespace has an interface of the same name, that one is called `eth0~1`. `errno` is a name
  such as `EINVAL`. Process ids and names appear in `_info` series only.
";

/// The reference of every metric, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, "Own receive queues", &[receive::QUEUE, zcrx::ZCRX]);
    section(&mut page, "Queues in the kernel, of any process", &[ifq::IFQ]);
    section(&mut page, "What happened to them", &[event::EVENT]);
    section(&mut page, "Lives of queues and page pools", &[event::LIFE]);
    section(&mut page, "Snapshots of these queues", &[ifq::SNAPSHOT]);
    section(&mut page, "What is wrong with queues, and what is to be expected", &[diagnosis::NOW]);
    section(&mut page, "What was wrong", &[diagnosis::PAST]);
    section(&mut page, "How current this is", &[diagnosis::AGE]);
    section(&mut page, "Registrations of interface queues, by any process", &[registration::REGISTRATION]);
    section(&mut page, "Page pools", &[page_pool::PAGE_POOL]);
    section(&mut page, "Probes", &[probe::PROBE]);
    section(&mut page, "What probes lose", &[probe::LOSS]);
    section(&mut page, "What probes cost", &[probe::PROGRAM]);
    section(&mut page, "Memory of the probes", &[probe::MAP]);
    section(&mut page, "Host and build", &[host::OBSERVATION]);
    section(&mut page, "The service", &[service::SERVICE]);
    section(&mut page, "Web endpoint", &[host::WEB]);
    section(&mut page, "Process", &[host::PROCESS]);
    page
}

fn section<S: Subject>(page: &mut String, title: &str, tables: &[&[Metric<S>]]) {
    let mut write = || -> std::fmt::Result {
        write!(
            page,
            "\n## {title}\n\n| Name | Type | Labels | Meaning | Absent when |\n|---|---|---|---|---|\n"
        )?;
        for metric in tables.iter().copied().flatten() {
            let labels: Vec<_> =
                S::LABELS.iter().chain(metric.labels()).map(|label| format!("`{label}`")).collect();
            writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                metric.name,
                metric.kind.name(),
                labels.join(", "),
                metric.help,
                metric.absent
            )?;
        }
        Ok(())
    };
    write().expect("writing to a String cannot fail");
}
