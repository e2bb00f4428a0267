//! Orders from outside: words on standard input, and SIGUSR1.

use std::io::{ErrorKind, Read};
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
        b"report" => Ok(Order::Report),
        b"quit" => Ok(Order::Quit),
        other => anyhow::bail!(
            "order `{}` on standard input: there are hold, resume, report and quit",
            String::from_utf8_lossy(other)
        ),
    }
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
