//! The declarations of all metrics: `docs/metrics.md` for people, `dashboards/generator/metrics.json` for the dashboard generator.

use std::fmt::Write;

use serde_json::{Value, json};

use super::kind::unit;
use super::table::{Metric, Subject, Visitor};
use super::tables::walk;

const HEAD: &str = "\
# Metrics

Every metric of `/metrics`, by subject. This page is generated from the tables that the export is made from; after a
change of those, regenerate it:

    cargo xtask regenerate

Names say whose figures these are:

- `zcrx_queue_`: one zcrx queue, whichever process owns it, as the kernel has it and as zcrxd judges it.
- `zcrxd_receiver_`: one receiver of zcrxd itself, the user-space side of a queue that zcrxd receives on.
- `zcrx_`: zcrx on this host: registrations, page pools.
- `zcrxd_`: zcrxd itself: probes, collectors, web endpoint, configuration.

Rules that hold for all of them:

- Units are base units (seconds, bytes) and stand at the end of the name. Times of day are seconds since the Unix epoch
  (`_timestamp_seconds`).
- A counter counts from the start of zcrxd or of its subject, and includes an interval that still lasts: a queue that is
  starving now adds one second per second to `zcrx_queue_starved_seconds_total`.
- Unknown is not zero. A value that this host cannot provide is an absent series; the last column says when.
- A series exists as long as its subject. Only counters of episodes and alarms outlive their queue, by five minutes, so
  that Prometheus sees the end of an episode that ended with its queue.
- A queue has the same name everywhere, `INTERFACE:QUEUE`, here in two labels. A queue without a device (backends `nodev`
  and `copy`) has `interface=\"software\"` and a number. If another network namespace has an interface of the same name, the
  second one is called `eth0~1`. `errno` is a name such as `EINVAL`. Process ids and names are labels of `_info` metrics
  only.
- Metrics marked *on request* are exported only if the request names them, as in `/metrics?name[]=zcrxd_probe_map_entries`.
  With `name[]`, a response has the named metrics and no others.

## Changes of metrics

Names, labels, units and meanings are a contract. A metric is renamed or removed only in a release that says so in the
changelog, with the old name and its replacement, and with rules and dashboards of the same release adapted. A new label
value (a new cause, a new errno) is no change of the contract; a new label is one. New metrics can come with any release.
";

/// The reference of every metric, as Markdown.
pub fn reference() -> String {
    let mut page = Page(HEAD.to_owned());
    walk(None, &mut page);
    page.0
}

/// Every metric as data: what generators and checks read.
pub fn declarations() -> String {
    let mut list = List(Vec::new());
    walk(None, &mut list);
    // Sorted maps: the same tables give the same text.
    serde_json::to_string_pretty(&Value::from(list.0)).unwrap_or_default() + "\n"
}

struct Page(String);

impl Visitor for Page {
    fn table<S: Subject>(&mut self, title: &str, table: &[Metric<S>], _subjects: &[S]) {
        let mut write = || -> std::fmt::Result {
            if !title.is_empty() {
                write!(
                    self.0,
                    "\n## {title}\n\n| Name | Type | Labels | Meaning | Absent when |\n|---|---|---|---|---|\n"
                )?;
            }
            for metric in table {
                let labels: Vec<_> =
                    S::LABELS.iter().chain(metric.labels()).map(|label| format!("`{label}`")).collect();
                let absent = match (metric.on_request, metric.absent) {
                    (true, "") => "*on request*".to_owned(),
                    (true, when) => format!("*on request*; {when}"),
                    (false, when) => when.to_owned(),
                };
                writeln!(
                    self.0,
                    "| `{}` | {} | {} | {} | {absent} |",
                    metric.name,
                    metric.kind.name(),
                    labels.join(", "),
                    metric.help,
                )?;
            }
            Ok(())
        };
        write().expect("writing to a String cannot fail");
    }
}

struct List(Vec<Value>);

impl Visitor for List {
    fn table<S: Subject>(&mut self, _title: &str, table: &[Metric<S>], _subjects: &[S]) {
        self.0.extend(table.iter().map(|metric| {
            let labels: Vec<_> = S::LABELS.iter().chain(metric.labels()).collect();
            let panel = metric
                .panel
                .map(|panel| json!({ "dashboard": panel.dashboard, "row": panel.row, "title": panel.title }));
            let mut declared = json!({
                "name": metric.name,
                "type": metric.kind.name(),
                "unit": unit(metric.name),
                "labels": labels,
                "help": metric.help,
                "absent": metric.absent,
                "on_request": metric.on_request,
                "panel": panel,
                "no_panel": metric.no_panel,
            });
            if let Some(values) = metric.values {
                declared["values"] = values().into();
            }
            declared
        }));
    }
}
