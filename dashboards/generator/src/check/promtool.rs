//! What Prometheus itself says of all this.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::alerts::TESTS;
use crate::queries::{Options, all};
use xtask_tools::workspace::{root, target};

type Check = (&'static str, fn(&Promtool) -> Result<Vec<String>>);

/// Checks that call promtool.
pub(super) const CHECKS: &[Check] = &[
    ("promtool check rules", |promtool| {
        promtool.on_files(
            &["check", "rules", "--lint=all", "--lint-fatal"],
            "deploy/prometheus",
            &["alerts.yml", "recording.yml"],
        )
    }),
    ("promtool test rules", |promtool| promtool.on_folder(&["test", "rules"], TESTS)),
    ("promtool check config", configurations),
    ("promtool takes every query", queries),
];

/// promtool, wherever it is.
#[derive(Debug)]
pub struct Promtool {
    path: Option<OsString>,
}

impl Promtool {
    /// The one on this `PATH`.
    pub fn new(path: Option<OsString>) -> Self {
        Self { path }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("promtool");
        command.envs(self.path.as_ref().map(|path| ("PATH", path)));
        command
    }

    fn on_folder(&self, arguments: &[&str], folder: &str) -> Result<Vec<String>> {
        let names = files(folder)?;
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        self.on_files(arguments, folder, &names)
    }

    fn on_files(&self, arguments: &[&str], folder: &str, names: &[&str]) -> Result<Vec<String>> {
        self.said(self.command().args(arguments).args(names).current_dir(root().join(folder)))
    }

    fn said(&self, command: &mut Command) -> Result<Vec<String>> {
        let output = command.output().with_context(|| format!("cannot run promtool ({self:?})"))?;
        if output.status.success() {
            return Ok(Vec::new());
        }
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).lines().map(str::to_owned).collect())
    }

    /// What it says of a scrape.
    pub fn metrics(&self, scrape: &Path) -> Result<Vec<String>> {
        let file =
            std::fs::File::open(scrape).with_context(|| format!("cannot open {}", scrape.display()))?;
        self.said(self.command().args(["check", "metrics"]).stdin(file))
    }
}

/// The rule files and configurations of a folder.
fn files(folder: &str) -> Result<Vec<String>> {
    let path = root().join(folder);
    let entries = std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// The examples. Debian's Prometheus is built without Kubernetes: what it cannot read, it cannot check.
fn configurations(promtool: &Promtool) -> Result<Vec<String>> {
    const FOLDER: &str = "deploy/prometheus/examples";
    const WITHOUT: &str = "kubernetes_sd_configs not found in type";
    let mut complaints = Vec::new();
    for name in files(FOLDER)? {
        let said = promtool.on_files(&["check", "config", "--syntax-only"], FOLDER, &[&name])?;
        if said.iter().any(|line| line.contains(WITHOUT)) {
            println!("not checked: {name}, this promtool is built without Kubernetes");
        } else {
            complaints.extend(said);
        }
    }
    Ok(complaints)
}

/// Every query of a dashboard, as the rules of a file: that is what promtool reads.
fn queries(promtool: &Promtool) -> Result<Vec<String>> {
    let mut file = "groups:\n  - name: queries\n    rules:\n".to_owned();
    for (index, listed) in all(&Options::defaults())?.iter().enumerate() {
        let query = serde_json::Value::from(listed.query.as_str());
        let place = listed.place.replace('\n', " ");
        writeln!(file, "      # {place}\n      - record: query:{index}\n        expr: {query}")?;
    }
    let path = target()?.join("queries.yml");
    std::fs::write(&path, file).with_context(|| format!("cannot write {}", path.display()))?;
    promtool.said(promtool.command().args(["check", "rules"]).arg(&path))
}
