//! The files that are written from the tables.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::config::Parameters;
use super::contract::Contract;
use super::rules::healthy;
use super::{dashboard, rules, series};
use xtask_tools::workspace::root;

/// Every file, by its path in the repository, with what it has to hold.
pub(super) fn all(site: &Parameters) -> Result<Vec<(String, String)>> {
    let mut files = vec![
        ("deploy/prometheus/recording.yml".to_owned(), rules::recordings_file(&rules::recordings(site))),
        ("deploy/prometheus/alerts.yml".to_owned(), rules::alerts_file(&rules::alerts(site), site)),
    ];
    files.push((healthy::FILE.to_owned(), healthy::file(&Contract::read()?)?));
    // The same with `@name@` for each parameter, for those who fill them in: the chart and the mixin.
    let template = Parameters::to_be_filled_in();
    for folder in ["deploy/helm/zcrxd/files", "deploy/mixin"] {
        files
            .push((format!("{folder}/alerts.yml"), rules::alerts_file(&rules::alerts(&template), &template)));
        files
            .push((format!("{folder}/recording.yml"), rules::recordings_file(&rules::recordings(&template))));
    }
    for dashboard in dashboard::all() {
        let copy = format!("deploy/helm/zcrxd/files/dashboards/zcrx-{}.json", dashboard.name);
        files.push((copy, dashboard::render(&dashboard)));
        files.push((format!("dashboards/{}.json", dashboard.name), dashboard::render(&dashboard)));
    }
    files.push((series::DOCUMENT.to_owned(), series::document()?));
    Ok(files)
}

/// Writes them all.
pub(super) fn write(site: &Parameters) -> Result<()> {
    for (name, text) in all(site)? {
        let path: PathBuf = root().join(&name);
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{name}");
    }
    Ok(())
}
