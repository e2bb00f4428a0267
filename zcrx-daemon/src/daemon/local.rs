//! The socket by which commands on this host ask the running daemon.
//!
//! It serves what the web endpoint serves. A command finds it where it finds the daemon's lock, whatever addresses the
//! endpoint has and whoever may reach those; and only the daemon's own user may ask.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::DaemonError;
use super::instance::{Instance, default_dir};

const NAME: &str = "zcrxd.sock";

/// How long an answer may take: the daemon answers from memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the daemon of that runtime directory, or of this user, listens.
pub fn socket(runtime_dir: Option<&Path>) -> PathBuf {
    runtime_dir.map_or_else(default_dir, Path::to_owned).join(NAME)
}

/// Asks the daemon for one of its pages.
///
/// # Errors
///
/// If it cannot be reached, or has no such page.
pub fn ask(socket: &Path, page: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the end of the answer is the end of the connection.
    write!(stream, "GET {page} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(io::Error::other(format!("it answers {status} to {page}; is it of the same version?")));
    }
    Ok(body.to_owned())
}

/// The socket while it is served.
pub(super) struct Local {
    path: PathBuf,
    serving: JoinHandle<io::Result<()>>,
}

impl Local {
    /// Begins to serve.
    pub(super) fn serve(instance: &Instance, routes: Router) -> Result<Self, DaemonError> {
        let path = instance.dir().join(NAME);
        let failed = |source| DaemonError::System { what: "make the socket for local commands", source };
        // Whoever holds the lock is the only one to listen there: a socket that exists is a killed daemon's.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        // Without the bounds that the web endpoint has: who may ask here could as well kill the daemon.
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { path, serving })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.serving.abort();
        // If it stays, the next daemon removes it.
        fs::remove_file(&self.path).ok();
    }
}
