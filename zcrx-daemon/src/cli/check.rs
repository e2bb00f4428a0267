//! `zcrxd check`.

use std::io::IsTerminal as _;

use super::{Exit, complain, print};
use crate::check::{self, CheckReport, Facts, Style};

const AFTER_HELP: &str = "\
pass: everything needed is present. warn: zcrxd works with less information or fewer features.
fail: a main purpose of zcrxd does not work on this host. skip: not checked; the line says why.

Exit codes:
  0  no check failed
  1  a check failed
  3  this network namespace has no such interface";

/// Line width for output to a file or pipe.
const COLUMNS: usize = 120;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Interface for zcrx: everything that it lacks is then a failure [default: check all interfaces]
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs: one object with a list of findings
    Json,
}

pub(super) fn run(args: &Args) -> Exit {
    let facts = match Facts::gather(args.interface.as_deref()) {
        Ok(facts) => facts,
        Err(error) => {
            complain(&error);
            return Exit::Host;
        }
    };
    let report = check::report(&facts);
    match args.format {
        Format::Text => print(&check::text(&report, style())),
        Format::Json => match serde_json::to_string_pretty(&report) {
            Ok(json) => print(&(json + "\n")),
            Err(error) => {
                complain(&error);
                return Exit::Bad;
            }
        },
    }
    exit(&report)
}

const fn exit(report: &CheckReport) -> Exit {
    if report.has_failed() { Exit::Bad } else { Exit::Done }
}

/// Colours output to a terminal, unless NO_COLOR is set (<https://no-color.org>).
fn style() -> Style {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
    Style { colour: terminal && !forbidden && !dumb, width: if columns > 0 { columns } else { COLUMNS } }
}
