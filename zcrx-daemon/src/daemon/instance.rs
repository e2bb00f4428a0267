//! One daemon per user.
//!
//! Two daemons of one user are nearly always a mistake: they compete for queues and count everything twice. The lock is a
//! file in the user's runtime directory, held by `flock`, so the kernel releases it when the process ends in any way.
//! Daemons of different users do not exclude each other: an ordinary user must not be able to block root's daemon. A
//! second daemon of one user needs another directory and other addresses.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

const LOCK: &str = "zcrxd.lock";

/// The lock and the directory of this daemon.
pub(super) struct Instance {
    dir: PathBuf,
    // Closing the file releases the lock.
    _lock: File,
}

/// Why this daemon must not run.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another daemon holds the lock.
    #[error(
        "another zcrxd is running{}: stop it, or start this one with another --runtime-dir and other addresses ({} is locked)",
        pid.map(|pid| format!(", pid {pid}")).unwrap_or_default(), lock.display()
    )]
    Taken {
        /// Process id of the other daemon, if the lock file has it already.
        pid: Option<u32>,
        /// The lock file.
        lock: PathBuf,
    },
    /// The runtime directory cannot be used.
    #[error("cannot use {} as runtime directory: {reason}; name another with --runtime-dir", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why it is unusable.
        reason: String,
    },
}

impl Instance {
    /// Takes the lock in `dir`, by default in the user's runtime directory.
    pub(super) fn claim(dir: Option<&Path>) -> Result<Self, InstanceError> {
        let dir = dir.map_or_else(default_dir, Path::to_owned);
        let unusable = |reason: String| InstanceError::Directory { dir: dir.clone(), reason };
        prepare(&dir).map_err(unusable)?;
        let path = dir.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| unusable(format!("cannot open {LOCK} there: {error}")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(InstanceError::Taken { pid: read_pid(&mut lock), lock: path });
            }
            Err(TryLockError::Error(error)) => {
                return Err(unusable(format!("cannot lock {LOCK} there: {error}")));
            }
        }
        write_pid(&mut lock).map_err(|error| unusable(format!("cannot write {LOCK} there: {error}")))?;
        Ok(Self { dir, _lock: lock })
    }

    /// The runtime directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Directory from systemd, otherwise the user's runtime directory.
pub(super) fn default_dir() -> PathBuf {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = from("RUNTIME_DIRECTORY") {
        return dir;
    }
    let user = geteuid();
    if user.is_root() {
        return PathBuf::from("/run/zcrxd");
    }
    from("XDG_RUNTIME_DIR")
        .map_or_else(|| std::env::temp_dir().join(format!("zcrxd-{user}")), |dir| dir.join("zcrxd"))
}

/// Creates the directory if it is absent. Refuses a directory that another user can write to, since that user could take
/// the lock, unless it can be made zcrxd's own.
fn prepare(dir: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.to_string()),
    }
    let directory =
        OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(dir);
    let directory = directory.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => "it is not a directory".to_owned(),
        _ => error.to_string(),
    })?;
    let found = directory.metadata().map_err(|error| error.to_string())?;
    if found.uid() != geteuid().as_raw() {
        return Err(format!("it belongs to user {}, and zcrxd runs as user {}", found.uid(), geteuid()));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        take_from_others(dir, &directory, found.mode())?;
    }
    Ok(())
}

/// Mode bits with which users other than the owner can write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes a directory that zcrxd's user owns writable for that user alone. Container engines give a container an empty directory
/// that all can write to (`--tmpfs`, `emptyDir`). A directory that other users use too, such as `/tmp`, stays as it is.
fn take_from_others(dir: &Path, directory: &File, mode: u32) -> Result<(), String> {
    const WRITABLE: &str = "other users can write to it; run `chmod go-w` on it";
    let is_own = || -> io::Result<bool> {
        let (mut empty, mut lock, mut own) = (true, false, true);
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            empty = false;
            lock |= entry.file_name() == LOCK;
            own &= entry.metadata()?.uid() == geteuid().as_raw();
        }
        Ok(empty || lock && own)
    };
    let refuse = |error: io::Error| format!("{WRITABLE} ({error})");
    if !is_own().map_err(refuse)? {
        return Err(WRITABLE.to_owned());
    }
    directory.set_permissions(Permissions::from_mode(mode & 0o7777 & !WRITABLE_BY_OTHERS)).map_err(refuse)?;
    // Another user may have been faster.
    if is_own().map_err(refuse)? {
        Ok(())
    } else {
        Err("another user has just written to it; remove what is in it".to_owned())
    }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// Directory of one test, removed at its end.
    struct TestDirectory(PathBuf);

    impl TestDirectory {
        fn new(name: &str) -> io::Result<Self> {
            let dir = std::env::temp_dir().join(format!("zcrxd-test-{name}-{}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&dir)?;
            Ok(Self(dir))
        }
    }

    impl Drop for TestDirectory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn refusal(dir: &Path) -> String {
        Instance::claim(Some(dir)).map_or_else(|error| error.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn second_daemon_reports_the_pid_of_the_first_and_may_follow_it() -> Outcome {
        let place = TestDirectory::new("second")?;
        let dir = place.0.join("run");
        let first = Instance::claim(Some(&dir))?;
        let message = refusal(&dir);
        assert!(
            message.starts_with(&format!("another zcrxd is running, pid {}: ", std::process::id())),
            "{message}"
        );
        drop(first);
        Instance::claim(Some(&dir))?;
        Ok(())
    }

    #[test]
    fn directory_that_others_can_write_to_is_refused() -> Outcome {
        let place = TestDirectory::new("open")?;
        std::fs::write(place.0.join("other"), "")?;
        std::fs::set_permissions(&place.0, Permissions::from_mode(0o1777))?;
        assert!(refusal(&place.0).contains("other users can write to it"));
        assert_eq!(std::fs::metadata(&place.0)?.mode() & 0o7777, 0o1777, "it is not zcrxd's to change");
        Ok(())
    }

    #[test]
    fn empty_directory_of_a_container_engine_becomes_the_daemons_own() -> Outcome {
        let place = TestDirectory::new("empty")?;
        // The kubelet opens the directory again when it restarts.
        for _ in 0..2 {
            std::fs::set_permissions(&place.0, Permissions::from_mode(0o777))?;
            Instance::claim(Some(&place.0))?;
            assert_eq!(std::fs::metadata(&place.0)?.mode() & 0o7777, 0o755);
        }
        Ok(())
    }

    #[test]
    fn symbolic_link_as_lock_is_refused() -> Outcome {
        let place = TestDirectory::new("link")?;
        let target = place.0.join("target");
        std::os::unix::fs::symlink(&target, place.0.join(LOCK))?;
        assert!(refusal(&place.0).contains("cannot open zcrxd.lock there"));
        assert!(!target.exists());
        Ok(())
    }

    #[test]
    fn file_instead_of_directory_is_refused() -> Outcome {
        let place = TestDirectory::new("file")?;
        let file = place.0.join("file");
        std::fs::write(&file, "")?;
        assert!(refusal(&file).contains("it is not a directory"));
        assert!(refusal(&place.0.join("a/b")).contains("No such file or directory"));
        Ok(())
    }
}
