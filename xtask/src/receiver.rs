//! A daemon that receives on a number of queues, for what it exports.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::demo::daemon::{Daemon, die_with_parent, free_addresses};
use xtask_tools::scrape::Scrape;
use xtask_tools::workspace::target;

/// How long it may take until every queue has been looked at.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A zcrxd with its queues on the backend that every kernel has; ended when dropped.
pub(crate) struct Receiver {
    web: SocketAddr,
    queues: usize,
    folder: PathBuf,
    child: Child,
}

impl Receiver {
    /// Builds zcrxd and starts it; `more` are further lines of each queue's configuration.
    pub(crate) fn start(queues: usize, more: &str) -> Result<Self> {
        let program = Daemon::build()?;
        let folder = target()?.join(format!("scrape/{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let [web] = free_addresses()?;
        let path = |name: &str| toml::Value::from(folder.join(name).to_string_lossy().as_ref());
        let mut text = format!(
            "runtime_dir = {}\n[web]\nlisten_addresses = [\"{web}\"]\n[recordings]\ndirectory = {}\n",
            path("run"),
            path("recordings")
        );
        for _ in 0..queues {
            text += "[[queue]]\nlisten = [\"127.0.0.1:0\"]\nbackend = \"copy\"\narea = \"1MiB\"\n";
            text += more;
        }
        let config = folder.join("zcrxd.toml");
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let log = folder.join("zcrxd.log");
        let log = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new(&program);
        command.arg("run").arg("--config").arg(&config).env_remove("RUST_LOG").stdin(Stdio::null());
        command.stdout(log.try_clone().context("cannot share the log")?).stderr(log);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { web, queues, folder, child })
    }

    /// Where the queues listen, as zcrxd logs when it is ready.
    pub(crate) fn listens(&self) -> Result<Vec<SocketAddr>> {
        let log =
            fs::read_to_string(self.folder.join("zcrxd.log")).context("cannot read the log of zcrxd")?;
        let listens = log
            .lines()
            .filter_map(|line| line.split_once(" receives on ")?.1.split(' ').next()?.parse().ok());
        let listens: Vec<_> = listens.collect();
        ensure!(listens.len() == self.queues, "zcrxd names {} of {} addresses", listens.len(), self.queues);
        Ok(listens)
    }

    /// A scrape, once every queue is in it and was diagnosed.
    pub(crate) fn scrape(&mut self) -> Result<Scrape> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for zcrxd")? {
                let said = fs::read_to_string(self.folder.join("zcrxd.log")).unwrap_or_default();
                bail!("zcrxd ended at once ({status}):\n{said}");
            }
            let scrape = Scrape::fetch(self.web);
            // A scrape during the start may have the diagnosis of a queue that was not there when the scrape began.
            let count = |name| scrape.as_ref().map_or(0, |scrape| scrape.all(name).count());
            let diagnosed = count("zcrx_queue_episode_active").min(count("zcrxd_receiver_info"));
            if diagnosed >= self.queues {
                return scrape;
            }
            if begin.elapsed() > START_LIMIT {
                bail!("{diagnosed} of {} queues were diagnosed in {} s", self.queues, START_LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // What it exported is known: it need not end well.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}
