//! The project's cache: what is costly to fetch or make, made once and kept by what it was made from.
//!
//! An entry is a folder that is either complete or absent: it is made under another name while its lock is held and
//! renamed when it is done, so a killed process leaves nothing half made and two processes never make the same entry.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The cache's root folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache: `$ZCRX_CACHE`, else `$XDG_CACHE_HOME/zcrxd`, else `~/.cache/zcrxd`.
    pub fn open() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("ZCRX_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("zcrxd")))
            .or_else(|| variable("HOME").map(|path| path.join(".cache/zcrxd")))
            .context("no place for the cache: set ZCRX_CACHE or HOME")?;
        Self::at(&root)
    }

    fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make the cache {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("cannot resolve {}", root.display()))?;
        Ok(Self { root })
    }

    /// A folder of the cache for state that is not an entry; made if absent.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Waits for, and holds until dropped, the lock of that name.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let parent = path.parent().context("a lock has a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// The entry's folder if it is complete.
    pub fn get(&self, kind: &str, key: &str) -> Option<PathBuf> {
        let path = self.root.join(kind).join(key);
        path.is_dir().then_some(path)
    }

    /// The entry's folder, made by `make` (which is given an empty folder to fill) unless it is there already.
    pub fn build(&self, kind: &str, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        if let Some(path) = self.get(kind, key) {
            return Ok(path);
        }
        let _lock = self.lock(&format!("{kind}/{key}"))?;
        // Another process may have made it while we waited.
        if let Some(path) = self.get(kind, key) {
            return Ok(path);
        }
        let path = self.root.join(kind).join(key);
        let partial = self.root.join(kind).join(format!("{key}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        make(&partial)?;
        fs::rename(&partial, &path)
            .with_context(|| format!("cannot rename {} to {}", partial.display(), path.display()))?;
        Ok(path)
    }
}

/// A key made from everything an entry depends on.
#[derive(Clone, Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// A key that depends on nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Depends on these bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        // The length keeps "ab" + "c" and "a" + "bc" apart.
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Depends on a file's content (not on its name).
    pub fn file(mut self, path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = file.metadata().with_context(|| format!("cannot stat {}", path.display()))?.len();
        self.0.update(length.to_le_bytes());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
            if count == 0 {
                return Ok(self);
            }
            self.0.update(&buffer[..count]);
        }
    }

    /// The key as a short file name.
    pub fn name(self) -> String {
        use std::fmt::Write as _;
        self.0.finalize().iter().take(12).fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> Result<Cache> {
        let root = std::env::temp_dir().join(format!("zcrx-cache-{name}-{}", std::process::id()));
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        Cache::at(&root)
    }

    #[test]
    fn an_entry_is_made_once() -> Result<()> {
        let cache = scratch("once")?;
        let make = |path: &Path| Ok(fs::write(path.join("it"), "made")?);
        let first = cache.build("kind", "key", make)?;
        let second = cache.build("kind", "key", |_| anyhow::bail!("made twice"))?;
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(second.join("it"))?, "made");
        Ok(fs::remove_dir_all(&cache.root)?)
    }

    #[test]
    fn a_failed_entry_is_absent_and_can_be_made_later() -> Result<()> {
        let cache = scratch("failed")?;
        let failed = cache.build("kind", "key", |path| {
            fs::write(path.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert!(failed.is_err());
        assert_eq!(cache.get("kind", "key"), None);
        let made = cache.build("kind", "key", |_| Ok(()))?;
        assert!(!made.join("half").exists(), "left over from the failed attempt");
        Ok(fs::remove_dir_all(&cache.root)?)
    }

    #[test]
    fn threads_that_race_make_an_entry_once() -> Result<()> {
        let cache = scratch("race")?;
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache.build("kind", "key", |_| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        Ok(fs::remove_dir_all(&cache.root)?)
    }

    #[test]
    fn keys_depend_on_boundaries() {
        assert_ne!(Key::new().bytes("ab").bytes("c").name(), Key::new().bytes("a").bytes("bc").name());
    }
}
