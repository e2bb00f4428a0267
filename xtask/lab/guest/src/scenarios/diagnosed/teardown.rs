//! A queue that is gone, but not all of it.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use super::super::Scenario;
use super::{BYTES, NEEDS, TURN, close, named_by, watching};
use crate::lab::eventually;
use crate::lab::foreign::{Foreign, number};
use crate::lab::nic::{self, Nic};
use crate::lab::traffic::Traffic;

/// The kernel looks whether a pool can go once a second, so it is told after two and a half; and it is detached in whole
/// seconds.
pub(super) const TEARDOWN_SAMPLES: usize = 4;

/// Sockets that outlive the ring that their data came to.
pub(in crate::scenarios) const PINNED: Scenario = Scenario {
    name: "diagnosed-pinned_after_teardown",
    about: "a program is killed while another has a descriptor of its socket with unread data: an episode, first cause \
            pinned_after_teardown",
    needs: NEEDS,
    limit: 300,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        nic.receive_buffers(64 << 20, 64 << 20)?;
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let mut arguments = vec!["--interface", nic::RX, "--queue", &queue, "--listen", &listen];
        arguments.extend(["--area-buffers", "1024", "--fault", "not-reading"]);
        let mut foreign = Foreign::start(&nic.rx, &arguments)?;
        let daemon = watching(&nic.rx, &[])?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        eventually("the NIC finds no buffer", TURN, || Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(())))?;
        let pid = number(&foreign.truth()?, "pid")?;
        let sockets = sockets_of(pid)?;
        ensure!(!sockets.is_empty(), "process {pid} has no socket");
        traffic.abandon()?;
        foreign.kill()?;
        // A pool may take seconds to go in good order: told later than others.
        named_by(&daemon, "pinned_after_teardown", TEARDOWN_SAMPLES)?;
        drop(sockets);
        close(daemon)
    },
};

/// Descriptors of our own for every socket of a process, as a supervisor that hands connections over would have.
pub(super) fn sockets_of(pid: u64) -> Result<Vec<OwnedFd>> {
    let pid_number = i32::try_from(pid).context("a pid is a pid")?;
    // SAFETY: takes no pointers.
    let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid_number, 0) }).context("pidfd_open")?;
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).context("cannot read its descriptors")? {
        let path = entry.context("cannot read its descriptors")?.path();
        let target = fs::read_link(&path).unwrap_or_default();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok());
        let Some(number) = number.filter(|_| target.to_string_lossy().starts_with("socket:")) else {
            continue;
        };
        let raw = std::os::fd::AsRawFd::as_raw_fd(&process);
        // SAFETY: takes no pointers; the pidfd is open.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw, number, 0) };
        sockets.push(own(copy).context("pidfd_getfd")?);
    }
    Ok(sockets)
}

/// A descriptor that a system call answered.
fn own(answer: libc::c_long) -> io::Result<OwnedFd> {
    let number = i32::try_from(answer).unwrap_or(-1);
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
