//! Orders from outside: words on standard input, and SIGUSR1.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// One line on standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Begin the fault.
    Hold,
    /// End the fault, and return what it held.
    Resume,
    /// Block for ever in `write(2)` to a pipe whose reader does not read.
    BlockInWrite,
    /// Wait for ever in uninterruptible sleep (D), for a child of vfork(2).
    BlockUninterruptibly,
    /// Say now how things are.
    Report,
    /// Leave in good order.
    Quit,
}

static REPORT_ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn ask_for_report(_signal: libc::c_int) {
    REPORT_ASKED.store(true, Ordering::Relaxed);
}

/// The way in for orders.
pub(crate) struct Control {
    line: Vec<u8>,
    open: bool,
}

impl Control {
    /// Makes standard input non-blocking and catches SIGUSR1.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let flags = fcntl_getfl(stdin.as_fd()).context("standard input")?;
        fcntl_setfl(stdin.as_fd(), flags | OFlags::NONBLOCK).context("standard input")?;
        #[expect(
            clippy::fn_to_numeric_cast_any,
            reason = "signal(2) takes the handler's address as a number"
        )]
        let handler = ask_for_report as *const () as libc::sighandler_t;
        // SAFETY: the handler only stores to an atomic, which is safe at any point of any thread.
        unsafe { libc::signal(libc::SIGUSR1, handler) };
        Ok(Self { line: Vec::new(), open: true })
    }

    /// The next order, if there is one. An end of standard input is none.
    pub(crate) fn poll(&mut self) -> anyhow::Result<Option<Order>> {
        if REPORT_ASKED.swap(false, Ordering::Relaxed) {
            return Ok(Some(Order::Report));
        }
        while self.open {
            let mut byte = [0];
            match std::io::stdin().lock().read(&mut byte) {
                Ok(0) => self.open = false,
                Ok(_) if byte[0] == b'\n' => return parse(&std::mem::take(&mut self.line)).map(Some),
                Ok(_) => self.line.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("standard input"),
            }
        }
        Ok(None)
    }
}

fn parse(line: &[u8]) -> anyhow::Result<Order> {
    match line.trim_ascii() {
        b"hold" => Ok(Order::Hold),
        b"resume" => Ok(Order::Resume),
        b"block-in-write" => Ok(Order::BlockInWrite),
        b"block-uninterruptibly" => Ok(Order::BlockUninterruptibly),
        b"report" => Ok(Order::Report),
        b"quit" => Ok(Order::Quit),
        other => anyhow::bail!(
            "order `{}` on standard input: there are hold, resume, block-in-write, block-uninterruptibly, report and quit",
            String::from_utf8_lossy(other)
        ),
    }
}

/// Blocks in `write(2)`: the pipe is full, and its reader does not read.
pub(crate) fn block_in_write() -> anyhow::Result<()> {
    let (_reader, mut writer) = std::io::pipe().context("a pipe")?;
    loop {
        writer.write_all(&[0; 4096]).context("writing to a pipe")?;
    }
}

/// Waits uninterruptibly for a child that does nothing: a kernel waits like this for a child of vfork(2) that has not executed a program,
/// as it does for a disk. The end of this process ends the child.
pub(crate) fn block_uninterruptibly() -> anyhow::Result<()> {
    // SAFETY: without CLONE_VM the child has memory of its own, as after fork(2); it makes system calls only.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        // SAFETY: takes no pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            // SAFETY: takes no pointers.
            unsafe { libc::pause() };
        }
    }
    anyhow::bail!("the child ended, or was not made: {}", std::io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_words() {
        assert_eq!(parse(b"hold").expect("an order"), Order::Hold);
        assert_eq!(parse(b" quit\r").expect("an order"), Order::Quit);
        assert!(parse(b"stop").is_err());
    }
}
