//! A consumer that takes nothing until it is allowed to: it makes a queue starve.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(5);

/// A Unix socket whose readers wait for [`Consumer::open`].
pub(super) struct Consumer {
    path: PathBuf,
    open: Arc<AtomicBool>,
    has_data: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Consumer {
    pub(super) fn start() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("zcrxd-qualify-{}.sock", std::process::id()));
        // Left by an earlier process with the same id.
        fs::remove_file(&path).ok();
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let flag = || Arc::new(AtomicBool::new(false));
        let (open, has_data, ended) = (flag(), flag(), flag());
        let (opened, data, end) = (Arc::clone(&open), Arc::clone(&has_data), Arc::clone(&ended));
        thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (opened, data, end) = (Arc::clone(&opened), Arc::clone(&data), Arc::clone(&end));
                        thread::spawn(move || read(stream, &opened, &data, &end));
                    }
                    Err(_) => thread::sleep(POLL),
                }
            }
        });
        Ok(Self { path, open, has_data, ended })
    }

    /// Where a forward sink sends to.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Whether data waits in it.
    pub(super) fn has_data(&self) -> bool {
        self.has_data.load(Ordering::Relaxed)
    }

    /// Reads from now on.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.open();
        fs::remove_file(&self.path).ok();
    }
}

fn read(mut stream: UnixStream, open: &AtomicBool, has_data: &AtomicBool, ended: &AtomicBool) {
    // An accepted socket blocks, whatever its listener does. Looks without taking anything.
    if rustix::net::recv(&stream, &mut [0; 1], rustix::net::RecvFlags::PEEK).is_ok_and(|(_, bytes)| bytes > 0)
    {
        has_data.store(true, Ordering::Relaxed);
    }
    while !open.load(Ordering::Relaxed) {
        thread::sleep(POLL);
    }
    let mut piece = vec![0; 1 << 20];
    while !ended.load(Ordering::Relaxed) && stream.read(&mut piece).is_ok_and(|bytes| bytes > 0) {}
}
