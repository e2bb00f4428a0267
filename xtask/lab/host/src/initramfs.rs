//! The guest's file system: a cpio archive in the "newc" format, which the kernel unpacks at boot.
//!
//! It is not compressed: an emulated processor unpacks it more slowly than QEMU reads it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive in the making. Folders are added on their own.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
}

impl Archive {
    /// An archive that holds nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a file with its mode bits.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = fs::metadata(from)
            .with_context(|| format!("cannot stat {}", from.display()))?
            .permissions()
            .mode();
        self.content(path.as_ref(), REGULAR | (mode & 0o777), &content);
        Ok(())
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: impl AsRef<Path>, target: &str) {
        self.content(path.as_ref(), LINK | 0o777, target.as_bytes());
    }

    /// Adds a program of this machine with the libraries it needs, at the places where it looks for them.
    pub(crate) fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        self.file(path, from)?;
        // ldd fails on a static program, which needs nothing.
        let listed = Command::new("ldd").arg(from).output().context("cannot run ldd")?;
        let libraries = String::from_utf8_lossy(&listed.stdout);
        for word in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            if !self.known.contains(&relative(Path::new(word))) {
                let real =
                    fs::canonicalize(word).with_context(|| format!("cannot find the library {word}"))?;
                self.file(word, &real)?;
            }
        }
        Ok(())
    }

    /// Adds a file, link or folder with all that is in it, with owners and modes, but for some paths and what is no
    /// file: device nodes are the kernel's to make.
    pub(crate) fn tree(&mut self, path: &str, from: &Path, left_out: &[&str]) -> Result<()> {
        if left_out.contains(&path) {
            return Ok(());
        }
        let failed = || format!("cannot read {}", from.display());
        let metadata = fs::symlink_metadata(from).with_context(failed)?;
        let (kind, mode) = (metadata.file_type(), metadata.permissions().mode());
        let content = if kind.is_symlink() {
            fs::read_link(from).with_context(failed)?.into_os_string().into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(from).with_context(failed)?
        } else if kind.is_dir() {
            Vec::new()
        } else {
            return Ok(());
        };
        if self.known.insert(PathBuf::from(path)) {
            self.owned_entry(Path::new(path), mode, (metadata.uid(), metadata.gid()), &content);
        }
        if kind.is_dir() {
            let mut children = fs::read_dir(from)
                .with_context(failed)?
                .map(|child| Ok(child?.file_name()))
                .collect::<Result<Vec<_>>>()?;
            children.sort();
            for child in children {
                let name = child.to_string_lossy();
                self.tree(&format!("{path}/{name}"), &from.join(&child), left_out)?;
            }
        }
        Ok(())
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    /// Adds a file with this text.
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.content(Path::new(path), REGULAR | 0o644, text.as_bytes());
    }

    fn content(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let path = relative(path);
        if let Some(parent) = path.parent() {
            self.folders(parent);
        }
        if self.known.insert(path.clone()) {
            self.entry(&path, mode, content);
        }
    }

    fn folders(&mut self, path: &Path) {
        let path = relative(path);
        if path.as_os_str().is_empty() || self.known.contains(&path) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.folders(parent);
        }
        self.entry(&path, DIRECTORY | 0o755, &[]);
        self.known.insert(path);
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        self.owned_entry(path, mode, (0, 0), content);
    }

    fn owned_entry(&mut self, path: &Path, mode: u32, (uid, gid): (u32, u32), content: &[u8]) {
        let name = path.as_os_str().as_encoded_bytes();
        let inode = self.known.len() as u32 + 1;
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, mtime, size, device (2), rdevice (2), name size with its NUL, checksum
        let fields =
            [inode, mode, uid, gid, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Names in an archive have no leading slash.
fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}
