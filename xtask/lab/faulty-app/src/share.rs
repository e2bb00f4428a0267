//! One queue, many rings: threads of this process share a queue by export and import (Linux 6.19), as standard input orders.
//!
//! Each order is a line; it is carried out to its end before the next one is read. `report` prints the truth.

mod orders;
mod state;
mod worker;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::queue::QueueArgs;
use orders::Order;
use state::{Shared, Totals};
use worker::{Kind, RingTruth, Task, WorkerHandle};

/// Orders: ring, mixed, hidden (a thread with a ring of its own, the first registers, later ones import; `hidden` keeps no file
/// descriptor), close N, dup N COUNT, fork, exit (ends the child), keep (keeps an exported descriptor), drop, area BUFFERS, nops N
/// SMALL LARGE, stall N, go N, hold, resume, report, quit. N is the number of a ring, from 0.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShareArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Where ring 0 accepts connections; ring N does N ports higher.
    #[arg(long, default_value = "[::]:9800")]
    listen: SocketAddr,
    /// Rings to begin with.
    #[arg(long, default_value_t = 1)]
    rings: usize,
}

/// State of the program, as it prints it.
#[derive(Serialize)]
struct Truth {
    asked: u64,
    pid: u32,
    /// The child of a fork that holds the same files.
    child: Option<i32>,
    /// Whether an exported descriptor is kept.
    kept: bool,
    #[serde(flatten)]
    totals: Totals,
    /// Completions that wait in all rings.
    cq_ready: usize,
    rings: BTreeMap<usize, RingTruth>,
}

struct Stage {
    args: ShareArgs,
    shared: Arc<Shared>,
    workers: BTreeMap<usize, WorkerHandle>,
    next: usize,
    child: Option<i32>,
    kept: Option<std::os::fd::OwnedFd>,
    asked: u64,
}

/// Obeys until `quit` or the end of standard input.
pub(crate) fn run(args: &ShareArgs) -> anyhow::Result<()> {
    ensure!(args.rings > 0, "--rings 0 registers nothing");
    let mut stage = Stage {
        args: args.clone(),
        shared: Arc::new(Shared::default()),
        workers: BTreeMap::new(),
        next: 0,
        child: None,
        kept: None,
        asked: 0,
    };
    for _ in 0..args.rings {
        stage.add(Kind::Plain)?;
    }
    stage.report()?;
    for line in io::stdin().lock().lines() {
        let line = line.context("standard input")?;
        let order: Order = line.parse()?;
        if matches!(order, Order::Quit) {
            break;
        }
        stage.obey(order).with_context(|| format!("order `{line}`"))?;
    }
    stage.end()
}

impl Stage {
    fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Ring(kind) => self.add(kind)?,
            Order::Close(ring) => {
                let worker =
                    self.workers.remove(&ring).with_context(|| format!("there is no ring {ring}"))?;
                worker.end()?;
            }
            Order::Dup(ring, count) => drop(self.worker(ring)?.call(Task::Dup(count))?),
            Order::Fork => {
                ensure!(self.child.is_none(), "there is a child already");
                self.child = Some(fork()?);
            }
            Order::Exit => end_child(self.child.take())?,
            Order::Keep => self.kept = Some(self.export()?),
            Order::Drop => self.kept = None,
            Order::Area(buffers) => drop(self.any()?.call(Task::AddArea(buffers))?),
            Order::Nops(ring, small, large) => drop(self.worker(ring)?.call(Task::Nops(small, large))?),
            Order::Stall(ring, stalled) => drop(self.worker(ring)?.call(Task::Stall(stalled))?),
            Order::Hold => self.shared.lock().hold = true,
            Order::Resume => self.shared.lock().resume(),
            Order::Report => {
                self.asked += 1;
                self.report()?;
            }
            Order::Quit => {}
        }
        Ok(())
    }

    fn worker(&self, ring: usize) -> anyhow::Result<&WorkerHandle> {
        self.workers.get(&ring).with_context(|| format!("there is no ring {ring}"))
    }

    fn any(&self) -> anyhow::Result<&WorkerHandle> {
        self.workers.values().next().context("there is no ring")
    }

    fn export(&self) -> anyhow::Result<std::os::fd::OwnedFd> {
        match self.any()?.call(Task::Export)? {
            worker::Answer::Exported(queue) => Ok(queue),
            _ => bail!("a ring exported nothing"),
        }
    }

    fn add(&mut self, kind: Kind) -> anyhow::Result<()> {
        let import = if self.workers.is_empty() && self.kept.is_none() {
            None
        } else {
            Some(match &self.kept {
                Some(kept) => kept.try_clone().context("duplicating an exported queue")?,
                None => self.export()?,
            })
        };
        let number = self.next;
        let mut listen = self.args.listen;
        listen.set_port(listen.port() + number as u16);
        let worker = WorkerHandle::start(&self.shared, &self.args.queue, listen, kind, import)?;
        self.workers.insert(number, worker);
        self.next += 1;
        Ok(())
    }

    fn report(&self) -> anyhow::Result<()> {
        let mut rings = BTreeMap::new();
        for (&number, worker) in &self.workers {
            if let worker::Answer::Truth(truth) = worker.call(Task::Report)? {
                rings.insert(number, truth);
            }
        }
        let truth = Truth {
            asked: self.asked,
            pid: std::process::id(),
            child: self.child,
            kept: self.kept.is_some(),
            totals: self.shared.lock().totals()?,
            cq_ready: rings.values().map(RingTruth::unread).sum(),
            rings,
        };
        writeln!(io::stdout(), "{}", serde_json::to_string(&truth)?).context("standard output")
    }

    fn end(mut self) -> anyhow::Result<()> {
        end_child(self.child.take())?;
        std::mem::take(&mut self.workers).into_values().try_for_each(WorkerHandle::end)
    }
}

/// Forks a child that keeps all files open and does nothing.
fn fork() -> anyhow::Result<i32> {
    // SAFETY: the child calls only pause, which is async-signal-safe.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("forking"),
        0 => loop {
            // SAFETY: takes no pointers.
            unsafe { libc::pause() };
        },
        child => Ok(child),
    }
}

fn end_child(child: Option<i32>) -> anyhow::Result<()> {
    let Some(child) = child else { return Ok(()) };
    // SAFETY: no pointer is followed; the child has not been waited for, so the id is the child's.
    let ended = unsafe {
        libc::kill(child, libc::SIGKILL) == 0 && libc::waitpid(child, std::ptr::null_mut(), 0) == child
    };
    ensure!(ended, "ending the child: {}", io::Error::last_os_error());
    Ok(())
}
