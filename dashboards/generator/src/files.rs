//! The files that are written from the tables.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{dashboard, rules, series};
use xtask_tools::workspace::root;

/// Every file, by its path in the repository, with what it has to hold.
pub(super) fn all(runbook: &str) -> Result<Vec<(String, String)>> {
    let mut files = vec![
        ("deploy/prometheus/recording.yml".to_owned(), rules::recordings_file(&rules::recordings())),
        ("deploy/prometheus/alerts.yml".to_owned(), rules::alerts_file(&rules::alerts(), runbook)),
    ];
    for dashboard in dashboard::all() {
        files.push((format!("dashboards/{}.json", dashboard.name), dashboard::render(&dashboard, runbook)));
    }
    files.push((series::DOCUMENT.to_owned(), series::document()?));
    Ok(files)
}

/// Writes them all.
pub(super) fn write(runbook: &str) -> Result<()> {
    for (name, text) in all(runbook.trim_end_matches('/'))? {
        let path: PathBuf = root().join(&name);
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{name}");
    }
    Ok(())
}
