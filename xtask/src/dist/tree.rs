//! The files of a package, at the places where they are installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Package, documents, manual};
use xtask_tools::architecture::Architecture;
use xtask_tools::command::{require, run};
use xtask_tools::workspace::root;

/// Files and folders of the repository, and where they go. Folders are copied whole.
const FILES: [(&str, &str); 13] = [
    ("deploy/zcrxd.service", "usr/lib/systemd/system/zcrxd.service"),
    ("deploy/zcrxd.socket", "usr/lib/systemd/system/zcrxd.socket"),
    ("deploy/sysusers.conf", "usr/lib/sysusers.d/zcrxd.conf"),
    ("deploy/zcrxd.toml", "etc/zcrxd/zcrxd.toml"),
    ("deploy/drop-ins", "usr/share/zcrxd/drop-ins"),
    ("deploy/prometheus/alerts.yml", "usr/share/zcrxd/prometheus/alerts.yml"),
    ("deploy/prometheus/recording.yml", "usr/share/zcrxd/prometheus/recording.yml"),
    ("deploy/prometheus/alertmanager.yml", "usr/share/zcrxd/prometheus/alertmanager.yml"),
    ("deploy/prometheus/examples", "usr/share/zcrxd/prometheus/examples"),
    ("dashboards", "usr/share/zcrxd/dashboards"),
    ("docs", "usr/share/doc/zcrxd"),
    ("CHANGELOG.md", CHANGES),
    ("deploy/debian/copyright", "usr/share/doc/zcrxd/copyright"),
];

const CHANGES: &str = "usr/share/doc/zcrxd/CHANGELOG.md";

/// What only those who change zcrxd read.
const LEFT_OUT: [&str; 5] = [
    "dashboards/exceptions.toml",
    "dashboards/generator",
    "docs/architecture.md",
    "docs/decisions",
    "docs/images/make.py",
];

/// What `zcrxd pages` writes for shells, and where each looks for it.
const COMPLETIONS: [(&str, &str); 3] = [
    ("completions/bash/zcrxd.bash", "usr/share/bash-completion/completions/zcrxd"),
    ("completions/zsh/_zcrxd", "usr/share/zsh/vendor-completions/_zcrxd"),
    ("completions/fish/zcrxd.fish", "usr/share/fish/vendor_completions.d/zcrxd.fish"),
];

/// Copies everything to its place below `tree`.
pub(super) fn lay_out(
    tree: &Path,
    program: &Path,
    pages: &Path,
    package: &Package,
    architecture: Architecture,
) -> Result<()> {
    let repository = root();
    let installed = tree.join("usr/bin/zcrxd");
    copy(program, &installed)?;
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755)).context("cannot make it a program")?;
    // Names of functions stay for backtraces; line tables are ten times as large as the program.
    let strip = architecture.gnu_tool("strip");
    run(Command::new(require(&strip, "binutils")?).arg("--strip-debug").arg(&installed))?;
    documents(tree)?;
    for (from, to) in COMPLETIONS {
        copy(&pages.join(from), &tree.join(to))?;
    }
    let man = tree.join("usr/share/man/man1");
    copy(&pages.join("man"), &man)?;
    compress(&children(&man)?)?;
    let manual = tree.join("usr/share/man/man5/zcrxd.toml.5");
    let chapter = repository.join("docs/configuration.md");
    let chapter =
        fs::read_to_string(&chapter).with_context(|| format!("cannot read {}", chapter.display()))?;
    write(&manual, &manual::of_configuration(&chapter, &package.version))?;
    compress(&[manual, tree.join(CHANGES)])
}

/// Copies what needs no building, with the links between documents as they are installed.
fn documents(tree: &Path) -> Result<()> {
    for (from, to) in FILES {
        copy(&root().join(from), &tree.join(to))?;
    }
    documents::resolve_links(tree, &FILES)
}

/// Writes a file, and the folders above it.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if LEFT_OUT.iter().any(|left_out| from.ends_with(left_out)) {
        return Ok(());
    }
    if from.is_dir() {
        for child in children(from)? {
            copy(&child, &to.join(child.file_name().unwrap_or_default()))?;
        }
        return Ok(());
    }
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    // The modes in a checkout depend on its user's umask.
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

pub(super) fn compress(files: &[PathBuf]) -> Result<()> {
    // Without name and time, so that the same sources make the same package.
    run(Command::new(require("gzip", "gzip")?).args(["-9", "--no-name"]).args(files))
}

pub(super) fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_packed_is_there() {
        for (from, _) in FILES {
            assert!(root().join(from).exists(), "{from}");
        }
        for from in LEFT_OUT {
            assert!(root().join(from).exists(), "{from}");
        }
    }

    #[test]
    fn each_link_of_an_installed_document_leads_to_a_file_and_heading() -> Result<()> {
        let tree = std::env::temp_dir().join(format!("zcrxd-tree-{}", std::process::id()));
        documents(&tree)?;
        let dashboards = fs::read_to_string(tree.join("usr/share/zcrxd/dashboards/README.md"))?;
        assert!(dashboards.contains("(../../doc/zcrxd/runbook/README.md)"), "{dashboards}");
        assert!(!dashboards.contains("exceptions.toml)"), "not installed: {dashboards}");
        fs::remove_dir_all(&tree).context("cannot remove the tree")
    }

    #[test]
    fn the_unit_starts_what_is_installed_with_what_is_installed() -> Result<()> {
        let unit = fs::read_to_string(root().join("deploy/zcrxd.service"))?;
        assert!(unit.contains("ExecStart=/usr/bin/zcrxd run --config /etc/zcrxd/zcrxd.toml\n"), "{unit}");
        assert!(FILES.iter().any(|(_, to)| *to == "etc/zcrxd/zcrxd.toml"));
        Ok(())
    }
}
