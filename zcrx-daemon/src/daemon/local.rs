//! The socket through which commands on this host query the running daemon.
//!
//! It serves the pages of the web endpoint, independent of the endpoint's addresses and authentication. It is in the runtime
//! directory beside the lock, and only the daemon's user may connect.

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

/// Limit for an answer, which the daemon gives from memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Path of the socket in `runtime_dir`, by default in the runtime directory of this user.
pub fn socket(runtime_dir: Option<&Path>) -> PathBuf {
    runtime_dir.map_or_else(default_dir, Path::to_owned).join(NAME)
}

/// Requests one of the daemon's pages.
///
/// # Errors
///
/// If no daemon listens, or it has no such page.
pub fn ask(socket: &Path, page: &str) -> io::Result<String> {
    match request(socket, page)? {
        (200, body) => Ok(body),
        (status, _) => {
            Err(io::Error::other(format!("it answers {status} to {page}; is it the same version?")))
        }
    }
}

/// Requests one of the daemon's pages; returns the status of the answer and its body.
///
/// # Errors
///
/// If no daemon listens, or it does not answer in time.
pub fn request(socket: &Path, page: &str) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    // HTTP/1.0: the end of the answer is the end of the connection.
    write!(stream, "GET {page} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// The socket while it is served.
pub(super) struct Local {
    path: PathBuf,
    serving: JoinHandle<io::Result<()>>,
}

impl Local {
    /// Binds the socket and serves it.
    pub(super) fn serve(instance: &Instance, routes: Router) -> Result<Self, DaemonError> {
        let path = instance.dir().join(NAME);
        let failed = |source| DaemonError::System { what: "create the socket for local commands", source };
        // Only the holder of the lock listens here: an existing socket belongs to a daemon that was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        // Without the limits of the web endpoint: a process that may connect may also kill the daemon.
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
