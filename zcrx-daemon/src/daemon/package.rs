//! What one zcrxd leaves to the next, packed into one descriptor for systemd's store.
//!
//! The package is a Unix socket. Its first message has a memory file with text, and the messages after it have further descriptors.
//! The kernel keeps all of them as long as a process holds the Unix socket.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Most descriptors in one message: `SCM_MAX_FD` of the kernel.
pub(super) const DESCRIPTORS_AT_ONCE: usize = 253;

/// What each message carries beside descriptors: a message without data would be lost.
const DATA: [u8; 1] = *b"z";

/// What was in a package.
pub(super) struct Contents {
    /// The text, or why there is none.
    pub(super) text: io::Result<Vec<u8>>,
    /// The descriptors that came, in their order.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Packs a text and descriptors.
pub(super) fn pack(text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("zcrxd-package", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (package, writer) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    send(&writer, &[file.as_fd()])?;
    for some in descriptors.chunks(DESCRIPTORS_AT_ONCE) {
        send(&writer, some)?;
    }
    Ok(package)
}

fn send(writer: &OwnedFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(writer, &[IoSlice::new(&DATA)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes everything out of a package.
pub(super) fn unpack(package: &OwnedFd) -> Contents {
    let mut descriptors = Vec::new();
    let failure = loop {
        match receive(package, &mut descriptors) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    let mut descriptors = descriptors.into_iter();
    let text = match (failure, descriptors.next()) {
        (Some(error), _) => Err(error),
        (None, None) => Err(io::ErrorKind::UnexpectedEof.into()),
        (None, Some(file)) => read(File::from(file)),
    };
    Contents { text, descriptors: descriptors.collect() }
}

/// Receives one message. Returns whether there was one.
fn receive(package: &OwnedFd, descriptors: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = DATA;
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(package, &mut [IoSliceMut::new(&mut data)], &mut ancillary, flags)?;
    for passed in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = passed {
            descriptors.extend(passed);
        }
    }
    Ok(message.bytes > 0)
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // The writer's position is the file's: it is the same open file.
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(text)
}
