//! Prometheus, Alertmanager and VictoriaMetrics: found or fetched, configured, started, asked.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::demo::daemon::{die_with_parent, free_addresses};
use xtask_tools::apt::{self, Apt, Network};
use xtask_tools::cache::Cache;
use xtask_tools::command::find;
use xtask_tools::deb::unpack;
use xtask_tools::progress::step;
use xtask_tools::scrape::{Scrape, Series, get};
use xtask_tools::workspace::root;

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a server may be too busy to answer.
const BUSY_LIMIT: Duration = Duration::from_mins(3);

/// A server; ended when dropped.
pub(super) struct Server {
    pub address: SocketAddr,
    /// Its version, as its package has it.
    pub version: String,
    child: Child,
}

impl Server {
    /// Starts it and waits until `ready` answers.
    fn start(
        folder: &Path,
        program: &Program,
        address: SocketAddr,
        ready: &str,
        arguments: &[String],
    ) -> Result<Self> {
        let log = folder.join(format!("{}.log", program.name));
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = program.command();
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command.stdout(file.try_clone().context("cannot share a log")?).stderr(file);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.path.display()))?;
        let mut server = Self { address, version: program.version.clone(), child };
        let begun = Instant::now();
        while let Err(error) = get(address, ready) {
            if let Some(status) = server.child.try_wait().context("cannot wait for a server")? {
                bail!("{} ended at once ({status}): see {}", program.name, log.display());
            }
            if begun.elapsed() > START_LIMIT {
                return Err(error).with_context(|| format!("{} is not ready", program.name));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(server)
    }

    /// What it exports about its own process.
    pub(super) fn metrics(&self) -> Result<Scrape> {
        Scrape::parse(patient_get(self.address, "/metrics")?)
    }

    /// The sum of a metric that it exports about its own process.
    pub(super) fn own(&self, name: &str) -> Result<f64> {
        sum(&self.metrics()?, name, "")
    }
}

/// The sum of a metric over the series whose label `type` begins so. A metric that is not there is not 0.
pub(super) fn sum(metrics: &Scrape, name: &str, kind: &str) -> Result<f64> {
    let values: Vec<_> = metrics
        .all(name)
        .filter(|series| series.label("type").starts_with(kind))
        .map(Series::value)
        .collect();
    ensure!(!values.is_empty(), "the server exports no {name}: this version has another name for it");
    Ok(values.iter().sum())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program and its package's version.
pub(super) struct Program {
    name: &'static str,
    path: PathBuf,
    version: String,
    /// Files of its package that are not installed here.
    share: Option<PathBuf>,
}

impl Program {
    /// Takes a program out of its Debian package: installing the package would start a server.
    pub(super) fn fetch(
        cache: &Cache,
        name: &'static str,
        package: &str,
        suite: Option<&str>,
    ) -> Result<Self> {
        let suite = suite.map_or_else(apt::codename, |suite| Ok(suite.to_owned()))?;
        let folder = cache.build("fleet", &format!("{package}-{suite}-2"), |folder| {
            step(&format!("fetching {package}"), || {
                let apt = Apt::open(cache, &[&suite], Network::Online)?;
                let found = apt.madison(package)?.into_iter().next();
                let found = found.with_context(|| format!("{suite} has no package {package}"))?;
                let deb = apt.download(&found.package, &found.version, folder)?;
                unpack(&deb, "./usr/*", 1, folder)?;
                fs::write(folder.join("version"), &found.version).context("cannot write a version")?;
                fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))
            })
        })?;
        let version = fs::read_to_string(folder.join("version")).context("cannot read a version")?;
        // The part of the program's own authors.
        let version = version.split(['+', '-', '~']).next().unwrap_or_default().to_owned();
        let share = Some(folder.join("usr/share"));
        Ok(Self { name, path: folder.join("usr/bin").join(name), version, share })
    }

    /// The command that starts the program. It finds its package's files in /usr/share, in a mount namespace of its own: Debian's
    /// Alertmanager reads its templates there.
    fn command(&self) -> Command {
        let Some(share) = &self.share else { return Command::new(&self.path) };
        let mount = "mount -t overlay overlay -o lowerdir=\"$0\":/usr/share /usr/share && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", mount]).arg(share).arg(&self.path);
        command
    }
}

/// Alertmanager with the project's configuration, whose receivers are `webhook`.
pub(super) fn alertmanager(cache: &Cache, folder: &Path, webhook: SocketAddr) -> Result<Server> {
    let program = Program::fetch(cache, "prometheus-alertmanager", "prometheus-alertmanager", None)?;
    let [address] = free_addresses()?;
    let text = read("deploy/prometheus/alertmanager.yml")?.replace("127.0.0.1:9099", &webhook.to_string());
    write(&folder.join("alertmanager.yml"), &text)?;
    let arguments = [
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=alertmanager".to_owned(),
        format!("--web.listen-address={address}"),
        "--cluster.listen-address=".to_owned(),
    ];
    Server::start(folder, &program, address, "/-/ready", &arguments)
}

/// What Prometheus scrapes and where it sends.
pub(super) struct Scraping<'a> {
    pub fleet: SocketAddr,
    pub hosts: usize,
    pub seconds: u64,
    pub alertmanager: SocketAddr,
    pub remote_write: Option<&'a Server>,
}

/// Prometheus with the project's rules.
pub(super) fn prometheus(cache: &Cache, folder: &Path, scraping: &Scraping<'_>) -> Result<Server> {
    let program = match find("prometheus") {
        Some(path) => Program { name: "prometheus", version: version(&path), path, share: None },
        None => Program::fetch(cache, "prometheus", "prometheus", None)?,
    };
    let [address] = free_addresses()?;
    let rules = |name: &str| root().join("deploy/prometheus").join(name).display().to_string();
    let mut text = format!(
        "global: {{scrape_interval: {}s}}\nrule_files: [{}, {}]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        scraping.seconds,
        rules("recording.yml"),
        rules("alerts.yml"),
        scraping.alertmanager
    );
    if let Some(store) = scraping.remote_write {
        writeln!(text, "remote_write: [{{url: 'http://{}/api/v1/write'}}]", store.address)?;
    }
    text += "scrape_configs:\n  - job_name: zcrxd\n    static_configs:\n";
    for host in 0..scraping.hosts {
        // Every host is one address with a path of its own; two clusters share the store.
        writeln!(
            text,
            "      - {{targets: ['{}'], labels: {{__metrics_path__: /hosts/{host}, instance: 'host-{host:04}:9965', \
             cluster: {}}}}}",
            scraping.fleet,
            if host % 2 == 0 { "east" } else { "west" }
        )?;
    }
    write(&folder.join("prometheus.yml"), &text)?;
    let arguments = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus".to_owned(),
        format!("--web.listen-address={address}"),
    ];
    Server::start(folder, &program, address, "/-/ready", &arguments)
}

/// VictoriaMetrics, which takes what Prometheus sends.
pub(super) fn victoria_metrics(cache: &Cache, folder: &Path) -> Result<Server> {
    let program = Program::fetch(cache, "victoria-metrics", "victoria-metrics", Some("sid"))?;
    let [address] = free_addresses()?;
    let arguments = ["-storageDataPath=victoria-metrics".to_owned(), format!("-httpListenAddr={address}")];
    Server::start(folder, &program, address, "/health", &arguments)
}

/// Asks again while a busy server does not answer in time.
fn patient_get(address: SocketAddr, path: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        match get(address, path) {
            Err(_) if begun.elapsed() < BUSY_LIMIT => thread::sleep(Duration::from_secs(1)),
            answer => return answer,
        }
    }
}

/// How many series a query of Prometheus has.
pub(super) fn count(prometheus: &Server, query: &str) -> Result<usize> {
    let encoded = query.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
    let answer = patient_get(prometheus.address, &format!("/api/v1/query?query={encoded}"))?;
    let answer: Value = serde_json::from_str(&answer).context("Prometheus' answer is not JSON")?;
    let found = answer["data"]["result"].as_array();
    found.map(Vec::len).with_context(|| format!("Prometheus does not answer {query}: {answer}"))
}

fn version(path: &Path) -> String {
    let answer = Command::new(path).arg("--version").output().map(|answer| answer.stdout).unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    let word = answer.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    word.split('+').next().unwrap_or_default().to_owned()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
