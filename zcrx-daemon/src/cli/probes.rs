//! `zcrxd probes`.

use std::fmt::Write;

use super::{Exit, complain, print};
use crate::kernel::Kernel;
use crate::model::ProbeStatus;
use crate::probe::{MechanismChoice, Options, Probes};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// How probes get onto kernel functions: for tests, and for hosts that forbid one way
    #[arg(long, value_name = "MECHANISM", default_value = "auto")]
    probe_mechanism: MechanismChoice,
    /// Try the probe that samples how long one buffer in N is out, too; see `probes.residence`
    #[arg(long, value_name = "N", default_value_t = 0)]
    probe_residence: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: a list, one object for each probe
    Json,
}

/// Tells what this kernel allows. Probes that it refuses are an answer, not a failure.
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
    let asked = probes.iter().filter(|probe| probe.asked).count();
    text + &format!("{attached} of {asked} attached\n")
}

fn describe(text: &mut String, probe: &ProbeStatus, width: usize) -> std::fmt::Result {
    let name = &probe.name;
    if let Some((mechanism, target)) = &probe.attached {
        writeln!(text, "{name:width$}  attached: {} {target}", mechanism.name())?;
        writeln!(text, "{:width$}  tells: {}", "", probe.tells)?;
    } else if !probe.asked {
        let why = probe.refused.first().map_or("not asked for", |one| one.error.as_str());
        return writeln!(text, "{name:width$}  {why}\n{:width$}  would tell: {}", "", probe.tells);
    } else {
        writeln!(text, "{name:width$}  NOT attached")?;
        writeln!(text, "{:width$}  unknown without it: {}", "", probe.lost_without)?;
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
    fn refusals_and_losses_are_told() {
        assert_eq!(
            table(&full().host.probe.probes),
            "registration  attached: tp_btf io_uring_register\n\
             \x20             tells: registrations of interface queues by any process\n\
             \x20             refused: fexit io_register_zcrx_ifq: the kernel has no BPF trampolines\n\
             page_pool     NOT attached\n\
             \x20             unknown without it: pools that leak\n\
             1 of 2 attached\n"
        );
    }

    #[test]
    fn what_nobody_asked_for_is_no_refusal() {
        let mut probes = full().host.probe.probes;
        probes[1].asked = false;
        let text = table(&probes);
        assert!(text.ends_with("1 of 1 attached\n"), "{text}");
        assert!(!text.contains("NOT attached"), "{text}");
    }
}
