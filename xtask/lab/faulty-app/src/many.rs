//! Many queues, files and processes: the host whose size must not decide what observing costs.

use std::fs::File;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::queue::{Queue, QueueArgs, new_ring};

/// How many of each.
#[derive(Args, Clone, Debug)]
pub(crate) struct ManyArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Queues to register, each with a ring of its own; on an interface, from the queue named on.
    #[arg(long, default_value_t = 0)]
    queues: u32,
    /// Files that each process keeps open.
    #[arg(long, default_value_t = 0)]
    files: u32,
    /// Further processes.
    #[arg(long, default_value_t = 0)]
    processes: u32,
}

/// Registers, opens and starts, says so in one line, and stays until standard input ends.
pub(crate) fn run(args: &ManyArgs) -> anyhow::Result<()> {
    allow_files(u64::from(args.files) + 2 * (u64::from(args.processes) + u64::from(args.queues)) + 64)?;
    let mut queues = Vec::new();
    for nth in 0..args.queues {
        let ring = new_ring(args.queue.cq_entries).context("setting up a ring")?;
        // A queue without a device has no number: the kernel refuses any but 0.
        let number = if args.queue.interface.is_some() { args.queue.queue + nth } else { 0 };
        let queue = QueueArgs { queue: number, ..args.queue.clone() };
        let queue = Queue::register(&ring, &queue)?;
        queues.push((ring, queue));
    }
    let open = |_| File::open("/dev/null").context("opening a file");
    let files = (0..args.files).map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let program = std::env::current_exe().context("finding this program")?;
    let start = |_| {
        let mut command = Command::new(&program);
        command
            .args(["many", "--files", &args.files.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a process")?;
        // The line that says it is ready.
        let mut line = [0];
        let output = child.stdout.as_mut().context("its output is a pipe")?;
        output.read_exact(&mut line).context("a process did not start")?;
        Ok(child)
    };
    // They end when their standard input does, with this process.
    let processes = (0..args.processes).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    println!("{}", serde_json::json!({ "pid": std::process::id(), "queues": queues.len() }));
    io::copy(&mut io::stdin(), &mut io::sink()).context("waiting for the end of standard input")?;
    drop((queues, files, processes));
    Ok(())
}

/// Raises the limit of open files to what is needed; the hard limit too, where this process may.
pub(crate) fn allow_files(needed: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let maximum = limit.maximum.map(|maximum| maximum.max(needed));
        let raised = Rlimit { current: Some(needed), maximum };
        setrlimit(Resource::Nofile, raised).with_context(|| format!("allowing {needed} open files"))?;
    }
    Ok(())
}
