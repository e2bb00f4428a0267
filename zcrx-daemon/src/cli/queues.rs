//! `zcrxd queues`.

use std::fmt::Write;

use serde_json::Value;

use super::{Exit, complain, print};
use crate::kernel::Kernel;
use crate::model::{KernelSnapshot, QueueSample, common_refusal};
use crate::observe::{Memory, Observation, Observer, WebSample};
use crate::probe::Probes;

const AFTER_HELP: &str = "\
Reads the kernel itself, with or without a running zcrxd. Counters start with this command; only a running zcrxd has a history.

Exit codes:
  0  the kernel was read completely; there may be no queue
  1  the result may be incomplete; standard error says why
  3  the state of the kernel cannot be read: `zcrxd probes` says why";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs: a list with one object for each queue
    Json,
}

pub(super) fn run(args: &Args) -> Exit {
    let observation = observe();
    let Some(snapshot) = &observation.host.probe.snapshot else {
        let reason = common_refusal(&observation.host.probe.probes)
            .unwrap_or("the probe `snapshot` is not attached; `zcrxd probes` and `zcrxd check` say why");
        complain(&format!("cannot read the zcrx queues of this host: {reason}"));
        return Exit::Host;
    };
    let queues = &observation.host.queues;
    match args.format {
        Format::Text => print(&table(queues)),
        Format::Json => match json(queues) {
            Ok(text) => print(&text),
            Err(error) => {
                complain(&error);
                return Exit::Bad;
            }
        },
    }
    exit(snapshot)
}

fn observe() -> Observation {
    let kernel = Kernel::inspect();
    let probes = Probes::attach(&kernel);
    let observer = Observer {
        kernel: kernel.release.unwrap_or_else(|reason| format!("unknown: {reason}")),
        receive: Box::new(Vec::new),
        probe: Box::new(move |scope| probes.sample_of(scope)),
        web: Box::new(WebSample::default),
        service: Box::new(Default::default),
        memory: Memory::default(),
    };
    observer.observe()
}

fn exit(snapshot: &KernelSnapshot) -> Exit {
    for reason in &snapshot.incomplete {
        complain(&format!("the result may be incomplete: {reason}"));
    }
    if snapshot.incomplete.is_empty() { Exit::Done } else { Exit::Bad }
}

/// Formats samples without kernel addresses: users paste the output into tickets, and addresses help attackers.
fn json(queues: &[QueueSample]) -> serde_json::Result<String> {
    let mut list = serde_json::to_value(queues)?;
    for queue in list.as_array_mut().into_iter().flatten() {
        if let Some(kernel) = queue.get_mut("kernel").and_then(Value::as_object_mut) {
            kernel.remove("ifq");
            kernel.remove("ring");
        }
    }
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

const HEAD: [&str; 8] = ["QUEUE", "OWNER", "BUFFERS", "FREE", "USER", "KERNEL", "REFILL", "UNREAD CQ"];

fn table(queues: &[QueueSample]) -> String {
    if queues.is_empty() {
        return "No process on this host has a zcrx queue.\n".to_owned();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(queues.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (position, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Names are aligned to the left, numbers to the right. Writing to a String cannot fail.
            let _: std::fmt::Result = match position {
                0 | 1 => write!(line, "{cell:width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(sample: &QueueSample) -> [String; 8] {
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let kernel = sample.kernel.as_ref();
    let areas = kernel.filter(|kernel| !kernel.areas.is_empty());
    let user = areas.and_then(|kernel| kernel.user_buffers());
    let rest = areas.zip(user).map(|(kernel, user)| kernel.buffers().saturating_sub(kernel.free() + user));
    let owner = sample.owner.as_ref().map(|owner| format!("{} ({})", owner.comm, owner.pid));
    let part = |part: u32, whole: u32| format!("{part}/{whole}");
    [
        sample.key.to_string(),
        cell(owner),
        cell(areas.map(|kernel| kernel.buffers().to_string())),
        cell(areas.map(|kernel| kernel.free().to_string())),
        cell(user.map(|user| user.to_string())),
        cell(rest.map(|rest| rest.to_string())),
        cell(kernel.and_then(|kernel| kernel.refill).map(|refill| part(refill.pending(), refill.entries))),
        cell(kernel.and_then(|kernel| kernel.cq).and_then(|cq| Some(part(cq.depth()?, cq.entries)))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueueKey;
    use crate::observe::fixture::foreign_queue;

    #[test]
    fn columns_align_and_unknown_values_are_dashes() {
        let mut little_known =
            QueueSample::unknown(QueueKey { interface: None, queue: 0 }, 2, std::time::Duration::ZERO);
        little_known.owner = foreign_queue().owner;
        assert_eq!(
            table(&[foreign_queue(), little_known]),
            "QUEUE       OWNER            BUFFERS  FREE  USER  KERNEL    REFILL  UNREAD CQ\n\
             eth0:7      receiver (4242)     2048     0  1900     148  105/1024    30/4096\n\
             software:0  receiver (4242)        -     -     -       -         -          -\n"
        );
    }

    #[test]
    fn json_contains_no_kernel_addresses() -> Result<(), serde_json::Error> {
        let text = json(&[foreign_queue()])?;
        let list: Value = serde_json::from_str(&text)?;
        assert_eq!(list[0]["kernel"]["refill"]["entries"], 1024);
        assert_eq!(list[0]["kernel"]["owners"][1]["comm"], "receiver");
        assert_eq!((list[0]["kernel"].get("ifq"), list[0]["kernel"].get("ring")), (None, None));
        assert!(!text.contains("18446612"), "a kernel address: {text}");
        Ok(())
    }
}
