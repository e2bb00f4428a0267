//! The kernel's own log: what it said during a scenario, and whether that is a complaint.

use std::fmt::Write;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

/// What a kernel says when something is wrong with it. Looked for in the text of each record.
const COMPLAINTS: [&str; 16] = [
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "general protection fault",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
    "use-after-free",
    "stalled pool shutdown",
    "unregister_netdevice: waiting for",
    "soft lockup",
    "self-detected stall",
    "detected stalls on",
    "blocked for more than",
    "Out of memory:",
];

/// A reader of records from now on.
pub(crate) struct Kmsg(File);

impl Kmsg {
    /// Opens the log at its end.
    pub(crate) fn from_now() -> Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("cannot open /dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("cannot seek in /dev/kmsg")?;
        Ok(Self(file))
    }

    /// Everything said since the last call.
    pub(crate) fn read(&mut self) -> Result<String> {
        let mut said = String::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return Ok(said),
                Ok(count) => {
                    let text = String::from_utf8_lossy(&record[..count]);
                    // "priority,sequence,microseconds,flags;text", then continuation lines that begin with a space.
                    let (head, text) = text.split_once(';').unwrap_or(("", &text));
                    let micros: u64 =
                        head.split(',').nth(2).and_then(|field| field.parse().ok()).unwrap_or(0);
                    let line = text.lines().next().unwrap_or_default();
                    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
                    writeln!(said, "[{seconds:5}.{micros:06}] {line}")
                        .context("writing to a String cannot fail")?;
                }
                // Records were overwritten before they were read: the next read gets the oldest that is left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => said.push_str("(records lost)\n"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(said),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read /dev/kmsg"),
            }
        }
    }
}

/// The first complaint in what the kernel said.
pub(crate) fn complaint(said: &str) -> Option<&str> {
    said.lines().find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn a_warning_is_a_complaint_and_a_taint_is_not() {
        assert_eq!(complaint("[    1.0] zcnic: loading out-of-tree module taints kernel.\n"), None);
        let said = "[    1.0] fine\n[    2.0] WARNING: CPU: 0 PID: 1 at net/core/page_pool.c:1 x\n";
        assert_eq!(complaint(said), Some("[    2.0] WARNING: CPU: 0 PID: 1 at net/core/page_pool.c:1 x"));
    }
}
