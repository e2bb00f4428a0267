//! Random sinks, connection ends and configurations: acknowledged bytes arrive, or zcrxd counts them as lost.

mod destinations;
mod interrupted;
mod ledger;
mod senders;
mod stream;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use self::destinations::{Ledger, over_tcp, over_unix};
use self::senders::{FIRST_PORT, Senders};
use crate::harness::daemon::Daemon;
use crate::harness::nic::{self, Nic};
use crate::harness::random::{Random, seed, steps};
use crate::harness::receiver::{kernel_agrees, settled};
use crate::harness::scenario::Scenario;
use crate::harness::{eventually, work};

/// Scenarios of this folder.
pub(super) const SCENARIOS: &[Scenario] =
    &[SHORT, ANY_SEED, ZERO_COPY, interrupted::SHORT, interrupted::MANY];

/// Queues of the receiver.
const QUEUES: u16 = 3;
/// Connections at the same time.
const SENDERS: u32 = 12;
/// Longest time until a configuration is applied: a queue that ends waits for its sinks.
const RELOAD_LIMIT: Duration = Duration::from_mins(2);

const fn scenario(name: &'static str, limit: u64, default: bool, run: fn() -> Result<()>) -> Scenario {
    Scenario {
        name,
        about: "connections of random sizes and ends bring data to sinks that discard, verify, write files, and forward to \
                destinations that are fast, slow, reply, half-close and die, while the configuration is reloaded and the \
                receiver stands still at random, from a seed: the bytes acknowledged to each sender are those that its \
                destination got and those that zcrxd logs as lost; no descriptor, thread or buffer is left behind",
        needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
        proves: &[],
        limit,
        default,
        run,
    }
}

const SHORT: Scenario = scenario("receive-random", 600, true, || run(1, 8, Destinations::OnThisHost));
/// Takes seed and number of reloads from `ZCRX_LAB_SEED` and `ZCRX_LAB_STEPS` of the environment in which the lab is started.
const ANY_SEED: Scenario =
    scenario("receive-random-seed", 5400, false, || run(seed(), steps(60), Destinations::OnThisHost));
/// As above, and forward sinks send from the area.
const ZERO_COPY: Scenario =
    scenario("receive-random-zero-copy", 600, true, || run(seed(), steps(8), Destinations::BehindTheNic));

/// Where forward sinks send to over TCP.
#[derive(Clone, Copy, PartialEq)]
enum Destinations {
    /// Over loopback, where the kernel always copies.
    OnThisHost,
    /// Over the NIC, without a copy.
    BehindTheNic,
}

/// Steers the port of each queue to that queue.
fn steer(nic: &Nic) -> Result<()> {
    for queue in 0..QUEUES {
        let (port, action) = ((FIRST_PORT + queue).to_string(), (1 + queue).to_string());
        nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", &port, "action", &action])?;
    }
    Ok(())
}

/// Settings of one queue.
#[derive(Clone, Debug, PartialEq)]
struct Queue {
    sink: String,
    area_mib: u32,
    further: &'static str,
}

impl Queue {
    fn plain() -> Self {
        Self { sink: "discard".to_owned(), area_mib: 8, further: "" }
    }

    /// Whether no ledger of a destination records this queue's connections.
    fn is_silent(&self) -> bool {
        self.sink == "discard" || self.sink == "verify"
    }
}

/// The receiver, and the choices for its configuration.
struct Stage<'a> {
    daemon: Daemon<'a>,
    queues: Vec<Queue>,
    /// Sinks to choose from.
    sinks: Vec<String>,
    random: Random,
    /// Whether a queue ever had a sink without a ledger.
    silent: Vec<bool>,
    /// Most bytes sent without a copy, and most sends among them that the kernel copied, as seen at the steps.
    without_copy: (u64, u64),
}

fn run(seed: u64, steps: u32, destinations: Destinations) -> Result<()> {
    let nic = Nic::with(&format!("queues={}", QUEUES + 1))?;
    steer(&nic)?;
    let ledger = Arc::new(Ledger::default());
    let socket = work().join("destination.sock");
    let (host, address) = match destinations {
        Destinations::OnThisHost => (&nic.rx, "127.0.0.1"),
        Destinations::BehindTheNic => (&nic.tx, nic::TX_ADDRESS),
    };
    let port = over_tcp(host, seed, QUEUES, &ledger)?;
    over_unix(&socket, seed, QUEUES, &ledger)?;
    let files = work().join("files");
    let sinks = vec![
        "discard".to_owned(),
        "verify".to_owned(),
        format!("file:{}", files.display()),
        format!("forward:{address}:{port}"),
        format!("forward:{address}:{port}"),
        format!("forward:unix:{}", socket.display()),
    ];
    let queues = vec![Queue::plain(); usize::from(QUEUES)];
    write_configuration(&queues)?;
    let path = configuration();
    let path = path.to_str().context("a path that is no text")?;
    let daemon = Daemon::start(&nic.rx, &["--config", path])?;
    let silent = vec![true; queues.len()];
    let mut stage = Stage { daemon, queues, sinks, random: Random::new(seed), silent, without_copy: (0, 0) };

    // The first connections and reloads allocate what the program keeps.
    let senders = Senders::start(&nic.tx, seed ^ u64::MAX, QUEUES, SENDERS)?;
    thread::sleep(Duration::from_secs(1));
    senders.finish()?;
    stage.queues[0].area_mib = 4;
    stage.reload()?;
    stage.queues = vec![Queue::plain(); usize::from(QUEUES)];
    stage.reload()?;
    settled(&mut stage.daemon)?;
    let before = stage.used()?;

    // At first, every queue has a sink whose destination keeps a ledger.
    for queue in 0..stage.queues.len() {
        let chosen = 2 + stage.random.below(4) as usize;
        stage.queues[queue].sink.clone_from(&stage.sinks[chosen]);
    }
    stage.reload()?;
    stage.silent = stage.queues.iter().map(Queue::is_silent).collect();
    let senders = Senders::start(&nic.tx, seed, QUEUES, SENDERS)?;
    for step in 0..steps {
        let done = stage.step().with_context(|| format!("seed {seed}, step {step}"))?;
        println!("step {step}: {done}");
    }
    println!("bytes sent without a copy, and copied sends: {:?}", stage.without_copy);
    ensure!(
        (stage.without_copy.0 > 0) == (destinations == Destinations::BehindTheNic),
        "seed {seed}: sinks sent {} bytes without a copy",
        stage.without_copy.0
    );
    let sent = senders.finish().with_context(|| format!("seed {seed}"))?;
    let silent = stage.silent.clone();
    stage.queues = vec![Queue::plain(); usize::from(QUEUES)];
    stage.reload()?;
    settled(&mut stage.daemon)?;
    stage.used_no_more_than(before)?;
    kernel_agrees(&mut stage.daemon)?;
    let log = stage.daemon.stop()?;

    let mut arrived = ledger.take()?;
    ledger::read_files(&files, &mut arrived)?;
    let losses = ledger::losses(&log)?;
    let sums = ledger::check(&sent, &arrived, &losses, |one| silent[usize::from(one.plan.queue)])
        .with_context(|| format!("seed {seed}"))?;
    println!("seed {seed}: {sums:?}");
    Ok(())
}

fn configuration() -> PathBuf {
    work().join("zcrxd.toml")
}

fn write_configuration(queues: &[Queue]) -> Result<()> {
    let mut text = String::new();
    for (queue, index) in queues.iter().zip(0..) {
        let Queue { sink, area_mib, further } = queue;
        write!(
            text,
            "[[queue]]\ninterface = {:?}\nqueue = {}\nbackend = \"device\"\nlisten = [\"{}:{}\"]\narea = \"{area_mib}MiB\"\n\
             drain_timeout = \"2s\"\nsink = {sink:?}\nforward_zero_copy = {}\n{further}\n",
            nic::RX,
            1 + index,
            nic::RX_ADDRESS,
            FIRST_PORT + index,
            sink.contains(nic::TX_ADDRESS)
        )?;
    }
    fs::write(configuration(), text).context("cannot write the configuration")
}

impl Stage<'_> {
    /// Descriptors, threads that receive or help, and memory of the receiver.
    fn used(&mut self) -> Result<(usize, usize, u64)> {
        let process = PathBuf::from(format!("/proc/{}", self.daemon.process().id()));
        let list =
            |name: &str| fs::read_dir(process.join(name)).with_context(|| format!("cannot read its {name}"));
        let helps = |task: &fs::DirEntry| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("zcrx-"))
        };
        let threads = list("task")?.flatten().filter(helps).count();
        Ok((list("fd")?.count(), threads, self.daemon.metrics()?.count("process_resident_memory_bytes")?))
    }

    /// Waits until the receiver uses no more than before. Helper threads end after a while, and the kernel frees rings later.
    fn used_no_more_than(&mut self, before: (usize, usize, u64)) -> Result<()> {
        /// Memory that the allocator keeps.
        const ROOM_BYTES: u64 = 32 << 20;
        /// The web server closes a connection some time after its answer.
        const ROOM_FILES: usize = 2;
        let mut now = before;
        let rest = eventually("what the receiver uses falls", Duration::from_mins(1), || {
            now = self.used()?;
            let fits = now.0 <= before.0 + ROOM_FILES && now.1 <= before.1 && now.2 <= before.2 + ROOM_BYTES;
            Ok(fits.then_some(()))
        });
        let used = format!("descriptors, threads, bytes: {before:?} before, {now:?} at the end");
        println!("{used}");
        rest.context(used)
    }

    /// Lets traffic flow for a while, and changes the configuration.
    fn step(&mut self) -> Result<String> {
        let pause = Duration::from_millis(300 + u64::from(self.random.below(2500)));
        thread::sleep(pause);
        let metrics = self.daemon.metrics()?;
        let sum = |name: &str| metrics.sum(name).unwrap_or(0.0) as u64;
        let bytes = sum("zcrxd_receiver_forwarded_zero_copy_bytes_total");
        let copied = sum("zcrxd_receiver_forwarded_zero_copy_copied_sends_total");
        self.without_copy = (self.without_copy.0.max(bytes), self.without_copy.1.max(copied));
        let queue = self.random.below(self.queues.len() as u32) as usize;
        // A stopped process: connections wait in the listeners' queues, data in sockets, and completions in the rings.
        let still = self.random.once_in(3);
        if still {
            self.daemon.process().signal(libc::SIGSTOP)?;
            thread::sleep(Duration::from_millis(100 + u64::from(self.random.below(700))));
        }
        let done = match self.random.below(10) {
            0 => self.refused()?,
            1..=5 => {
                self.queues[queue].sink.clone_from(self.random.one_of(&self.sinks));
                self.reload()?;
                format!("queue {queue}: {:?}", self.queues[queue])
            }
            6 => {
                for other in 0..self.queues.len() {
                    self.queues[other].sink.clone_from(self.random.one_of(&self.sinks));
                }
                self.reload()?;
                format!("{:?}", self.queues)
            }
            _ => {
                self.queues[queue].area_mib = *self.random.one_of(&[2, 4, 8, 16]);
                self.queues[queue].further = *self.random.one_of(&[
                    "",
                    "workers = 2",
                    "copy_out = \"0\"",
                    "copy_out = \"256KiB\"\nhold_limit = \"512KiB\"",
                    "refill_entries = 32",
                    "cq_entries = 64",
                ]);
                self.reload()?;
                format!("queue {queue}: {:?}", self.queues[queue])
            }
        };
        Ok(if still { format!("after a standstill, {done}") } else { done })
    }

    /// Applies the configuration of `queues`.
    fn reload(&mut self) -> Result<()> {
        write_configuration(&self.queues)?;
        for (silent, queue) in self.silent.iter_mut().zip(&self.queues) {
            *silent |= queue.is_silent();
        }
        self.signal("applied the new configuration")
    }

    /// Applies a configuration that zcrxd must refuse and that changes nothing.
    fn refused(&mut self) -> Result<String> {
        let mut queues = self.queues.clone();
        queues[0].further = "hold_limit = \"1GiB\"";
        queues[1].area_mib = 32;
        write_configuration(&queues)?;
        self.signal("the new configuration is refused")?;
        Ok("a configuration that is refused".to_owned())
    }

    fn signal(&mut self, answer: &str) -> Result<()> {
        let answers =
            |log: &str| log.matches("applied the new").count() + log.matches("is refused, the old").count();
        let before = self.daemon.process().stderr();
        self.daemon.process().signal(libc::SIGHUP)?;
        self.daemon.process().signal(libc::SIGCONT)?;
        eventually("the configuration is answered", RELOAD_LIMIT, || {
            self.daemon.process().alive()?;
            Ok((answers(&self.daemon.process().stderr()) > answers(&before)).then_some(()))
        })?;
        let log = self.daemon.process().stderr();
        let new = log.get(before.len()..).unwrap_or_default();
        ensure!(new.contains(answer), "no answer {answer:?}: {new}");
        Ok(())
    }
}
