//! Recovery of a local queue from failures of its ring and of its sink, and the placement of its thread.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::kprobe::Kprobe;
use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, errors, expect, kernel_agrees, on_device, settled};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::work;
use crate::harness::{STEP_LIMIT, eventually};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RING, DISK, THREAD];

/// A ring that fails.
const RING: Scenario = Scenario {
    name: "ring-fails",
    about: "the ring of a zcrx queue fails amid a transfer, three times: the queue is registered again, its listener kept, \
            every buffer back with the kernel, no file or thread left behind",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 4 << 20;
        const LIVES: u64 = 4;
        /// zcrxd keeps the memory of a failed ring for ten seconds.
        const KEPT: Duration = Duration::from_secs(11);
        let nic = Nic::pair()?;
        let mut daemon = on_device(&nic, &["--fault", "break-ring"])?;
        let mut first = None;
        for turn in 1..=LIVES {
            Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
            let metrics = settled(&mut daemon)?;
            let registrations = metrics.count("zcrxd_receiver_registrations_total")?;
            ensure!(registrations == turn, "registered {registrations} times in life {turn}");
            kernel_agrees(&mut daemon)?;
            // What a failed ring's requests may still use is kept for a while, one connection each, and freed when the next
            // one fails: before the last that while has passed.
            let kept = if turn == LIVES { 1 } else { turn - 1 };
            let before = *first.get_or_insert(used(&metrics)?);
            // A sample has files open while it reads, and a thread of the runtime's pool comes and goes. What one lifetime of
            // the ring leaves behind would stay, and be three threads in the last.
            daemon.until("no file or thread of an earlier life is open", STEP_LIMIT, |metrics| {
                used(metrics).is_ok_and(|now| now.0 <= before.0 + kept && now.1 <= before.1 + 1)
            })?;
            if turn == LIVES {
                break;
            }
            if turn == LIVES - 1 {
                thread::sleep(KEPT);
            }
            let amid = Traffic::start(&nic.tx, &Nic::address(), 256 << 20, &[])?;
            let received = metrics.count("zcrxd_receiver_received_bytes_total")?;
            daemon.until("payload arrives", STEP_LIMIT, |metrics| {
                metrics
                    .count("zcrxd_receiver_received_bytes_total")
                    .is_ok_and(|bytes| bytes > received + (1 << 20))
            })?;
            daemon.process().signal(libc::SIGUSR1)?;
            daemon.until("the queue is registered again", STEP_LIMIT, |metrics| {
                metrics.sum("zcrxd_receiver_registrations_total") == Some((turn + 1) as f64)
                    && in_state(metrics, "running")
            })?;
            amid.abandon()?;
        }
        let metrics = daemon.metrics()?;
        ensure!(metrics.count("zcrxd_receiver_mismatched_bytes_total")? == 0, "bytes are not what was sent");
        let delivered = metrics.count("zcrxd_receiver_delivered_buffers_total")?;
        let returned = metrics.count("zcrxd_receiver_returned_buffers_total")?;
        let reclaimed = metrics.count("zcrxd_receiver_reclaimed_buffers_total")?;
        ensure!(
            delivered == returned + reclaimed,
            "{delivered} buffers were delivered, {returned} returned, {reclaimed} lost with their queue"
        );
        let log = daemon.stop()?;
        ensure!(log.matches("queue failed").count() == 3, "the log does not report three failures: {log}");
        Ok(())
    },
};

/// Files and threads of the daemon.
fn used(metrics: &Metrics) -> Result<(u64, u64)> {
    Ok((metrics.count("process_open_fds")?, metrics.count("process_threads")?))
}

/// A file sink whose disk is full.
const DISK: Scenario = Scenario {
    name: "sink-disk-full",
    about: "the file system of a file sink is full: the connection that filled it ends with a clear error; the others and the \
            queue go on once there is room, and no buffer is lost",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        const ROOM: usize = 1 << 20;
        let nic = Nic::pair()?;
        let disk = Tmpfs::mount(&work().join("disk"), ROOM)?;
        let sink = format!("file:{}", disk.path.display());
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let place = ["--listen", &listen, "--interface", nic::RX, "--queue", &queue, "--backend", "device"];
        let mut daemon = Daemon::start(&nic.rx, &[&place[..], &["--sink", &sink]].concat())?;
        let connect = || nic.tx.enter(|| TcpStream::connect(Nic::address()).context("zcrxd does not listen"));
        let begin: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();

        let mut other = connect()?;
        other.write_all(&begin).context("cannot send")?;
        eventually("the other connection's data is on disk", STEP_LIMIT, || {
            Ok(disk.files()?.iter().any(|(_, bytes)| *bytes == begin.len() as u64).then_some(()))
        })?;
        let [(kept, _)] = &disk.files()?[..] else { anyhow::bail!("there should be one file") };

        let mut filling = connect()?;
        filling.set_write_timeout(Some(STEP_LIMIT)).context("cannot limit a write")?;
        // The sender ends when zcrxd closes the connection. Until the disk reports that it is full, buffers and sockets take much
        // more than the disk has room for.
        let (block, deadline) = (vec![9; ROOM], Instant::now() + STEP_LIMIT);
        while filling.write_all(&block).is_ok() {
            ensure!(Instant::now() < deadline, "a connection with a full disk goes on");
        }
        drop(filling);
        let metrics =
            daemon.until("the connection that filled the disk has ended", STEP_LIMIT, |metrics| {
                metrics.sum("zcrxd_receiver_connections") == Some(1.0)
            })?;
        let full =
            metrics.of("zcrxd_receiver_sink_errors_total").find(|sample| sample.has("errno", "ENOSPC"));
        ensure!(full.is_some_and(|sample| sample.value > 0.0), "no error is counted");
        ensure!(errors(&metrics, "ENOSPC") == 0, "a full disk is counted as a full completion queue");
        ensure!(in_state(&metrics, "running"), "the queue suffers");

        for (file, _) in disk.files()?.into_iter().filter(|(file, _)| file != kept) {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        other.write_all(&begin).context("the other connection is gone")?;
        other.shutdown(Shutdown::Write).context("cannot end the stream")?;
        let metrics = settled(&mut daemon)?;
        let content = fs::read(kept).context("cannot read what was kept")?;
        ensure!(content == [&begin[..], &begin].concat(), "{} bytes were kept, or others", content.len());
        let delivered = metrics.count("zcrxd_receiver_delivered_buffers_total")?;
        let returned = metrics.count("zcrxd_receiver_returned_buffers_total")?;
        ensure!(delivered == returned, "{delivered} buffers were delivered, {returned} returned");
        kernel_agrees(&mut daemon)?;
        let log = daemon.stop()?;
        let logged = log.lines().any(|line| line.contains("cannot write to") && line.contains("ENOSPC"));
        ensure!(logged, "the log does not say that the disk is full: {log}");
        Ok(())
    },
};

/// CPU affinity and busy polling of a queue's thread.
const THREAD: Scenario = Scenario {
    name: "thread-placement",
    about: "the kernel runs a queue's thread on the CPU that is configured and polls its NIC for it while it waits; \
            neither without being asked",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        const BYTES: u64 = 4 << 20;
        let nic = Nic::pair()?;
        let polls = Kprobe::count("napi_busy_loop_rcu").context("this kernel does not poll")?;
        let mut daemon = on_device(&nic, &["--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;
        let (everywhere, hits) = (allowed_cpus(&mut daemon)?, polls.hits()?);
        ensure!(hits == 0, "the NIC was polled {hits} times unasked");
        daemon.stop()?;

        let mut daemon = on_device(&nic, &["--no-probes", "--cpu", "1", "--napi-busy-poll", "1ms"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        let cpus = allowed_cpus(&mut daemon)?;
        ensure!(
            cpus == "1" && everywhere != "1",
            "the thread may run on CPUs {cpus}, unasked on {everywhere}"
        );
        let polling = metrics.need("zcrxd_receiver_napi_busy_poll_seconds")?;
        ensure!((polling - 0.001).abs() < 1e-9, "zcrxd reports {polling} s of polling");
        ensure!(polls.hits()? > 0, "the kernel never polled the NIC");
        daemon.stop().map(drop)
    },
};

/// CPUs on which the kernel lets the queue's thread run.
fn allowed_cpus(daemon: &mut Daemon<'_>) -> Result<String> {
    let tasks = format!("/proc/{}/task", daemon.process().id());
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let status = task.context("cannot read a task")?.path().join("status");
        let status = fs::read_to_string(&status).context("cannot read a task's status")?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("Name:").is_some_and(|name| name.starts_with("zcrx-rx-")) {
            return field("Cpus_allowed_list:").map(str::to_owned).context("no list of CPUs");
        }
    }
    anyhow::bail!("zcrxd has no receive thread")
}

fn in_state(metrics: &Metrics, state: &str) -> bool {
    metrics.of("zcrxd_receiver_state").any(|sample| sample.value > 0.0 && sample.has("state", state))
}

/// A small file system, unmounted when dropped.
struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    fn mount(path: &Path, bytes: usize) -> Result<Self> {
        fs::create_dir_all(path).context("no mount point")?;
        let target = CString::new(path.as_os_str().as_bytes()).context("paths hold no NUL")?;
        let options = CString::new(format!("size={bytes}")).context("numbers hold no NUL")?;
        let kind = c"tmpfs".as_ptr();
        // SAFETY: all strings are terminated and live to the end of the call.
        let result = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options.as_ptr().cast()) };
        ensure!(result == 0, "cannot mount a tmpfs: {}", std::io::Error::last_os_error());
        Ok(Self { path: path.to_owned() })
    }

    /// Names and sizes of the files.
    fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let list = fs::read_dir(&self.path).context("cannot read the file system")?.map(|entry| {
            let entry = entry?;
            Ok((entry.path(), entry.metadata()?.len()))
        });
        list.collect::<std::io::Result<_>>().context("cannot list files")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let Ok(path) = CString::new(self.path.as_os_str().as_bytes()) else { return };
        // Later scenarios clear the folder of the mount point.
        // SAFETY: the string is terminated and lives to the end of the call.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
