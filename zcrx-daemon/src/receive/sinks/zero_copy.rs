//! Sends from the ring's registered buffer without a copy, as the kernel is asked for them.

use std::os::fd::AsRawFd;

use io_uring::{opcode, squeue, types};
use socket2::Socket;

/// `IORING_RECVSEND_FIXED_BUF`: the payload lies in the ring's registered buffer (SENDMSG_ZC: Linux 6.15).
const FIXED_BUFFER: u16 = 1 << 2;
/// `IORING_SEND_ZC_REPORT_USAGE`: the notification says whether the kernel had to copy.
const REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`, the answer to that.
const USAGE_COPIED: u32 = 1 << 31;

/// The request. `header` and its list stay valid until the request's first completion.
pub(super) fn send(fd: types::Fd, header: *const libc::msghdr) -> squeue::Entry {
    let send = opcode::SendMsgZc::new(fd, header).flags(libc::MSG_NOSIGNAL as u32);
    send.ioprio(FIXED_BUFFER | REPORT_USAGE).build()
}

/// Whether the kernel cannot send this way: the request is unknown (before Linux 6.15), or the socket or its route does not support it.
pub(super) const fn is_refused(result: i32) -> bool {
    matches!(-result, libc::EINVAL | libc::EOPNOTSUPP)
}

/// Whether a notification reports that the kernel copied the payload all the same.
pub(super) const fn was_copied(notification: i32) -> bool {
    notification as u32 & USAGE_COPIED != 0
}

/// Ends a TCP connection with a reset: the kernel drops what is unacknowledged, and posts the notifications of its sends.
pub(super) fn disconnect(socket: &Socket) {
    let family = libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or(0);
    // SAFETY: the kernel reads the family only, from memory that lives long enough. A failure leaves the connection to TCP.
    unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const family).cast(),
            size_of::<libc::sa_family_t>() as libc::socklen_t,
        )
    };
}
