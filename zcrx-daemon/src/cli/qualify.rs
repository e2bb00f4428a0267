//! `zcrxd qualify`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::send::resolve;
use super::{Exit, complain, print};
use crate::net::{Netlink, kernel_name};
use crate::qualify::{Battery, QualifyError, QualifyReport, Target};

const LONG_ABOUT: &str = "\
Test whether a driver can be trusted with zcrx.

zcrxd prepares the interface, registers the queue, receives from a peer, starves the queue on purpose, kills a process that
uses it, and restores the interface. The peer runs `zcrxd send --serve ADDR:PORT` and reaches this host through the interface. Without --yes, zcrxd
prints what it would change, and ends.

SIGINT and SIGTERM end the tests; the interface is restored all the same. After SIGKILL, `zcrxd nic restore` restores it.";

const AFTER_HELP: &str = "\
Exit codes:
  0  no test failed, or --yes was not given
  1  a test failed, or a signal ended the tests
  2  the interface or the queue is not valid
  3  the peer or this host refuses it now";

#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Interface, and its queue: IFACE or IFACE:QUEUE [default queue: 1]
    #[arg(value_name = "IFACE[:QUEUE]")]
    target: String,
    /// Address of the peer's `zcrxd send --serve`: IP:PORT or NAME:PORT
    #[arg(long, value_name = "ADDR", value_parser = resolve)]
    peer: SocketAddr,
    /// Port on this host that the peer sends to
    #[arg(long, value_name = "PORT", default_value_t = 9990)]
    port: u16,
    /// Also take the interface down and up in the middle of a transfer: the kernel forgets its static routes and, by default, its
    /// IPv6 addresses
    #[arg(long)]
    link_down: bool,
    /// Also send transfers of random sizes for this long, such as 600s
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_interval)]
    soak: Option<Duration>,
    /// Change the interface: without it, zcrxd only prints what it would change
    #[arg(long)]
    yes: bool,
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

pub(super) fn run(args: &Args) -> Exit {
    let (interface, queue) = args.target.rsplit_once(':').unwrap_or((&args.target, "1"));
    let Ok(queue) = queue.parse() else {
        complain(&format!("{queue:?} is no queue: write IFACE:QUEUE, for example eth0:1"));
        return Exit::Usage;
    };
    let Some(interface) = kernel_name(interface) else {
        // The error says more than a missing name.
        let error = Netlink::new().link(interface).err().map_or_else(String::new, |error| error.to_string());
        complain(&error);
        return Exit::Usage;
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
            complain(&format!("cannot handle signals: {error}"));
            return Exit::Host;
        }
    }
    let target = Target {
        interface,
        queue,
        port: args.port,
        peer: args.peer,
        link_down: args.link_down,
        soak: args.soak,
    };
    let battery = match Battery::new(target.clone(), &interrupted) {
        Ok(battery) => battery,
        Err(error) => {
            complain(&error);
            return if matches!(error, QualifyError::Wanted(_)) { Exit::Usage } else { Exit::Host };
        }
    };
    if !args.yes {
        print(&announcement(&target, &battery.changes()));
        return Exit::Done;
    }
    show(&battery.run(), args.format)
}

/// What the battery would do.
fn announcement(target: &Target, commands: &[String]) -> String {
    let Target { interface, queue, port, link_down, soak, .. } = target;
    let mut text =
        format!("zcrxd qualify would prepare {interface} for queue {queue}, as these commands do:\n");
    if commands.is_empty() {
        text += "  (nothing to change)\n";
    }
    for command in commands {
        text.extend(["  ", command, "\n"]);
    }
    let _ = writeln!(
        text,
        "Then it would register queue {queue} several times, listen on port {port}, starve the queue for some seconds, kill a \
         process that uses the queue, and restore every setting."
    );
    if *link_down {
        text += "It would also take the interface down and up: what the kernel forgets with that (static routes, IPv6 addresses) is \
                 not put back.\n";
    }
    if let Some(soak) = soak {
        let _ = writeln!(text, "It would go on with transfers of random sizes for {} s.", soak.as_secs());
    }
    text + &format!("Traffic on {interface} may pause at each change. Add --yes to run the tests.\n")
}

fn show(report: &QualifyReport, format: Format) -> Exit {
    match format {
        Format::Text => print(&report.text()),
        Format::Json => match serde_json::to_string_pretty(report) {
            Ok(json) => print(&(json + "\n")),
            Err(error) => {
                complain(&error);
                return Exit::Bad;
            }
        },
    }
    if report.has_failed() { Exit::Bad } else { Exit::Done }
}
