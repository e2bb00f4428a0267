//! `zcrxd nic`: what zcrx needs of an interface, getting there, and back.

mod show;

use std::path::PathBuf;

use super::{Exit, complain, print};
use crate::model::Interface;
use crate::net::{self, Flow, NetError, Netlink, Outcome, Plan, PrepareError, Verdict, Wanted};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show interfaces as zcrx sees them: queues, who feeds them, rings, RSS, flow rules, XDP
    Show(show::Args),
    /// Show what zcrx needs of an interface, what is there, and the commands for the difference
    ///
    /// Exits with 0 if there is nothing to do, 1 if there is.
    Plan(PlanArgs),
    /// Set the interface up as `plan` says, all or nothing, and note how it was
    Apply(PlanArgs),
    /// Put interfaces back to how `apply` found them, also after a crash
    ///
    /// What another program has changed since is reported and left alone.
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The interface
    #[arg(value_name = "IF")]
    interface: String,
    /// Receive queues that zcrx shall have
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    queues: Vec<u32>,
    /// Flow to send there: tcp4:PORT or tcp6:PORT, with @QUEUE to choose one of the queues; may be repeated
    #[arg(long = "flow", value_name = "FLOW")]
    flows: Vec<Flow>,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Directory that keeps how the interface was [default: $STATE_DIRECTORY, /var/lib/zcrxd or the user's own]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    /// The interface [default: every one that was prepared]
    #[arg(value_name = "IF")]
    interface: Option<String>,
    /// Directory that was given to `apply`, if any
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn run(args: &Args) -> Exit {
    match &args.command {
        Command::Show(args) => show::run(args),
        Command::Plan(args) => plan(args),
        Command::Apply(args) => apply(args),
        Command::Restore(args) => restore(args),
    }
}

fn refuse(error: &NetError) -> Exit {
    complain(error);
    Exit::Host
}

fn wanted(args: &PlanArgs) -> Result<Wanted, Exit> {
    Wanted::new(args.queues.clone(), &args.flows).map_err(|error| {
        complain(&error);
        Exit::Usage
    })
}

fn plan(args: &PlanArgs) -> Exit {
    let wanted = match wanted(args) {
        Ok(wanted) => wanted,
        Err(exit) => return exit,
    };
    let interface: Interface = match net::interface(&mut Netlink::new(), &args.interface) {
        Ok(interface) => interface,
        Err(error) => return refuse(&error),
    };
    // What zcrxd did before says which rules are its own, and which header split it configured.
    let earlier = net::journal_of(&interface, &net::directories(args.state_dir.as_deref()));
    let plan = net::plan_after(&interface, &wanted, earlier.as_ref());
    match args.format {
        Format::Text => print(&plan_text(&plan)),
        Format::Json => print(&json(&plan)),
    }
    if plan.is_blocked() || !plan.steps.is_empty() { Exit::Bad } else { Exit::Done }
}

/// Plain data always has a JSON form.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn plan_text(plan: &Plan) -> String {
    let word = |verdict| match verdict {
        Verdict::Met => "ok",
        Verdict::Change => "change",
        Verdict::Ensure => "ensure",
        Verdict::Advice => "look",
        Verdict::Blocked => "BLOCKED",
    };
    let mut lines = vec![format!("zcrx needs of {}:", plan.interface)];
    let width = plan.checks.iter().map(|check| check.need.len()).max().unwrap_or(0);
    for check in &plan.checks {
        lines.push(format!("  {:7}  {:width$}  {}", word(check.verdict), check.need, check.found));
        lines.extend(check.remedy.iter().map(|remedy| format!("  {:7}  {:width$}  -> {remedy}", "", "")));
    }
    if plan.is_blocked() {
        lines.push(format!(
            "zcrxd cannot prepare {}: fix what is BLOCKED above, then run the command again. Nothing was changed.",
            plan.interface
        ));
    } else if plan.commands.is_empty() {
        lines.push("Nothing to change.".to_owned());
    } else {
        lines.push("To change, in this order:".to_owned());
        lines.extend(plan.commands.iter().map(|command| format!("  {command}")));
        if plan.commands.iter().any(|command| command.contains("hds-thresh")) {
            lines.push(
                "ethtool knows hds-thresh from version 6.15 on; `zcrxd nic apply` needs no ethtool."
                    .to_owned(),
            );
        }
    }
    lines.join("\n") + "\n"
}

fn apply(args: &PlanArgs) -> Exit {
    let wanted = match wanted(args) {
        Ok(wanted) => wanted,
        Err(exit) => return exit,
    };
    let name = &args.interface;
    match net::prepare(name, &wanted, &net::directories(args.state_dir.as_deref())) {
        Ok(steps) => {
            let commands: Vec<String> = steps.iter().map(|step| step.command(name)).collect();
            print(&match args.format {
                Format::Json => {
                    json(&serde_json::json!({ "interface": name, "steps": steps, "commands": commands }))
                }
                Format::Text if commands.is_empty() => {
                    format!("{name} is as zcrx needs it; nothing was changed.\n")
                }
                Format::Text => format!(
                    "{name} is as zcrx needs it now. Done:\n  {}\n`zcrxd nic restore {name}` puts back what was there.\n",
                    commands.join("\n  ")
                ),
            });
            Exit::Done
        }
        Err(error) => {
            if let PrepareError::Blocked(plan) | PrepareError::NotPermitted(plan) = &error {
                print(&plan_text(plan));
            }
            complain(&error);
            Exit::Host
        }
    }
}

fn restore(args: &RestoreArgs) -> Exit {
    let done = match net::put_back(args.interface.as_deref(), args.state_dir.as_deref()) {
        Ok(done) => done,
        Err(error) => {
            complain(&error);
            return Exit::Host;
        }
    };
    if done.is_empty() {
        print("Nothing to put back: no journal says that zcrxd changed an interface here.\n");
    }
    let mut exit = Exit::Done;
    for put_back in &done {
        let name = &put_back.interface;
        match &put_back.outcome {
            Outcome::Rebooted => {
                print(&format!("{name}: the host was booted since; there is nothing to put back.\n"));
            }
            Outcome::Gone => {
                print(&format!("{name}: the interface is gone; there is nothing to put back.\n"));
            }
            Outcome::Restored(restored) => {
                let commands: Vec<String> = restored.steps.iter().map(|step| step.command(name)).collect();
                if commands.is_empty() && restored.failed.is_empty() {
                    print(&format!("{name}: everything was back already.\n"));
                } else {
                    print(&format!("{name}: put back:\n  {}\n", commands.join("\n  ")));
                }
                for foreign in &restored.foreign {
                    print(&format!("{name}: changed by another program since and left alone: {foreign}\n"));
                }
                for failed in &restored.failed {
                    complain(&format!("{name}: could not put back: {failed}"));
                    exit = Exit::Host;
                }
            }
        }
    }
    if exit == Exit::Host {
        complain(&"the journal is kept: remove what is in the way, then run `zcrxd nic restore` again");
    }
    exit
}
