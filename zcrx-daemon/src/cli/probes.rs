//! `zcrxd probes`.

use std::fmt::Write;

use super::{Exit, complain, print};
use crate::kernel::Kernel;
use crate::model::ProbeStatus;
use crate::probe::{MechanismChoice, Options, Probes};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Mechanism for probes on kernel functions: for tests, and for hosts that forbid one
    #[arg(long, value_name = "MECHANISM", default_value = "auto")]
    probe_mechanism: MechanismChoice,
    /// Also attach the probe that follows one buffer in N (see `probes.residence` in the configuration)
    #[arg(long, value_name = "N", default_value_t = 0)]
    probe_residence: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs: a list with one object for each probe
    Json,
}

/// Reports what this kernel supports. Refused probes are a result, not a failure.
pub(super) fn run(args: &Args) -> Exit {
    let kernel = Kernel::inspect();
    let options =
        Options { mechanism: args.probe_mechanism, residence: args.probe_residence, ..Options::default() };
    let probes = Probes::attach_with(&kernel, options).sample().probes;
    let text = match args.format {
        Format::Text => table(&probes),
        Format::Json => match serde_json::to_string_pretty(&probes) {
            Ok(json) => json + "\n",
            Err(error) => {
                complain(&error);
                return Exit::Bad;
            }
        },
    };
    print(&text);
    Exit::Done
}

fn table(probes: &[ProbeStatus]) -> String {
    let width = probes.iter().map(|probe| probe.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for probe in probes {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = describe(&mut text, probe, width);
    }
    let attached = probes.iter().filter(|probe| probe.attached.is_some()).count();
    let requested = probes.iter().filter(|probe| probe.asked).count();
    text + &format!("{attached} of {requested} attached\n")
}

fn describe(text: &mut String, probe: &ProbeStatus, width: usize) -> std::fmt::Result {
    let name = &probe.name;
    if let Some((mechanism, target)) = &probe.attached {
        writeln!(text, "{name:width$}  attached: {} {target}", mechanism.name())?;
        writeln!(text, "{:width$}  reports: {}", "", probe.tells)?;
    } else if !probe.asked {
        let why = probe.refused.first().map_or("not requested", |one| one.error.as_str());
        return writeln!(text, "{name:width$}  {why}\n{:width$}  would report: {}", "", probe.tells);
    } else {
        writeln!(text, "{name:width$}  NOT attached")?;
        writeln!(text, "{:width$}  unknown without this probe: {}", "", probe.lost_without)?;
    }
    for attempt in &probe.refused {
        writeln!(
            text,
            "{:width$}  refused: {} {}: {}",
            "",
            attempt.mechanism.name(),
            attempt.target,
            attempt.error
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::observe::fixture::full;

    #[test]
    fn refused_mechanisms_and_missing_facts_are_listed() {
        assert_eq!(
            table(&full().host.probe.probes),
            "registration  attached: tp_btf io_uring_register\n\
             \x20             reports: registrations of interface queues by any process\n\
             \x20             refused: fexit io_register_zcrx_ifq: the kernel has no BPF trampolines\n\
             page_pool     NOT attached\n\
             \x20             unknown without this probe: pools that leak\n\
             1 of 2 attached\n"
        );
    }

    #[test]
    fn probe_that_was_not_requested_is_no_refusal() {
        let mut probes = full().host.probe.probes;
        probes[1].asked = false;
        let text = table(&probes);
        assert!(text.ends_with("1 of 1 attached\n"), "{text}");
        assert!(!text.contains("NOT attached"), "{text}");
    }
}
