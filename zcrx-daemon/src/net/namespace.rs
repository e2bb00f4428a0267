//! Other network namespaces: which there are, and looking around in one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use super::{NetError, ioctl};
use crate::model::NetNamespace;

/// Where `ip netns add` keeps names.
const NAMED: &str = "/run/netns";

/// A network namespace that can be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// What `/proc/*/ns/net` shows in brackets.
    pub inode: u64,
    /// A file that stands for it: opening it is the way in.
    pub path: PathBuf,
    /// Its name, where `ip netns` gave it one.
    pub name: Option<String>,
    /// A process that lives in it, where one does.
    pub pid: Option<u32>,
}

/// Every namespace that has a name or a process this user may look at, the caller's own first.
///
/// Those of other users' processes are seen with CAP_SYS_PTRACE only.
pub fn namespaces() -> Vec<Namespace> {
    let mut found = BTreeMap::new();
    let mut own = None;
    if let Ok(metadata) = fs::metadata("/proc/thread-self/ns/net") {
        own = Some(metadata.ino());
        let path = PathBuf::from("/proc/thread-self/ns/net");
        found.insert(metadata.ino(), Namespace { inode: metadata.ino(), path, name: None, pid: None });
    }
    for (pid, path) in of_processes() {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let entry = found.entry(metadata.ino()).or_insert(Namespace {
            inode: metadata.ino(),
            path,
            name: None,
            pid: None,
        });
        // The lowest pid is the one that most likely began it.
        entry.pid = Some(entry.pid.map_or(pid, |known| known.min(pid)));
    }
    for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        let named = found.entry(metadata.ino()).or_insert(Namespace {
            inode: metadata.ino(),
            path: entry.path(),
            name: None,
            pid: None,
        });
        named.name = Some(entry.file_name().to_string_lossy().into_owned());
    }
    let mut namespaces: Vec<_> = found.into_values().collect();
    namespaces.sort_by_key(|namespace| Some(namespace.inode) != own);
    namespaces
}

/// A way into the namespace of that inode: through one of these processes, or by a name that `ip netns` gave it.
///
/// Does not go through all processes, so it may be asked often.
pub fn way_into(inode: u64, pids: impl IntoIterator<Item = u32>) -> Option<PathBuf> {
    let processes = pids.into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    let named = fs::read_dir(NAMED).into_iter().flatten().flatten().map(|entry| entry.path());
    processes.chain(named).find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode))
}

fn of_processes() -> impl Iterator<Item = (u32, PathBuf)> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path().join("ns/net")))
    })
}

/// The namespace of the calling thread.
pub fn own_namespace() -> Result<NetNamespace, NetError> {
    ioctl::own_namespace()
}

/// Runs `look` on a thread of its own inside the namespace that `path` stands for.
///
/// Needs CAP_SYS_ADMIN, here and over the namespace.
pub fn inside<T: Send>(path: &Path, look: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    let refused =
        |error: &io::Error| NetError::errno(format!("enter network namespace {}", path.display()), error);
    let file = File::open(path).map_err(|error| refused(&error))?;
    thread::scope(|scope| {
        // The thread ends inside the namespace: there is no way back that could fail.
        let thread = scope.spawn(|| {
            // SAFETY: setns takes a descriptor, which `file` keeps open, and changes this thread alone.
            if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
                return Err(refused(&io::Error::last_os_error()));
            }
            Ok(look())
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_found_through_the_own_process() {
        let Ok(own) = own_namespace() else {
            println!("skipped: this kernel does not tell namespaces apart");
            return;
        };
        let pid = std::process::id();
        assert_eq!(way_into(own.inode, [pid]), Some(PathBuf::from(format!("/proc/{pid}/ns/net"))));
        assert_eq!(way_into(1, [pid]), None);
    }
}
