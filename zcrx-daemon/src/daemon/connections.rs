//! Connections that zcrxd leaves to the next one, packed into one descriptor for systemd's store.
//!
//! The package is a Unix socket. Its first message has a memory file with the state of all connections, and the messages after it
//! have the connections' sockets. The kernel keeps all of them as long as a process holds the Unix socket.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::receive::HandedQueue;

/// Version of the state. Another zcrxd reads the same version only.
const VERSION: u32 = 1;

/// Most descriptors in one message: `SCM_MAX_FD` of the kernel.
const DESCRIPTORS_AT_ONCE: usize = 253;

/// What each message carries beside descriptors: a message without data would be lost.
const DATA: [u8; 1] = *b"z";

#[derive(Serialize, Deserialize)]
struct State<Queues> {
    version: u32,
    queues: Queues,
}

/// The part of the state that every version has.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

/// Why connections cannot go on, and their sockets.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: io::Error,
    pub(super) sockets: Vec<Socket>,
}

/// Packs connections.
pub(super) fn pack(mut queues: Vec<HandedQueue>) -> Result<OwnedFd, Failure> {
    let descriptors: Vec<_> = queues.iter_mut().flat_map(HandedQueue::take_descriptors).collect();
    let sockets: Vec<_> = queues.iter_mut().flat_map(HandedQueue::take_sockets).collect();
    write_package(&queues, &descriptors, &sockets).map_err(|why| Failure { why, sockets })
}

fn write_package(queues: &[HandedQueue], descriptors: &[OwnedFd], sockets: &[Socket]) -> io::Result<OwnedFd> {
    let mut state = File::from(memfd_create("zcrxd-connections", MemfdFlags::CLOEXEC)?);
    state.write_all(&serde_json::to_vec(&State { version: VERSION, queues })?)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (package, writer) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    send(&writer, &[state.as_fd()])?;
    let all = descriptors.iter().map(AsFd::as_fd).chain(sockets.iter().map(AsFd::as_fd));
    for some in all.collect::<Vec<_>>().chunks(DESCRIPTORS_AT_ONCE) {
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

/// Unpacks connections.
pub(super) fn unpack(package: &OwnedFd) -> Result<Vec<HandedQueue>, Failure> {
    let (mut descriptors, mut failure) = (Vec::new(), None);
    loop {
        match receive(package, &mut descriptors) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let mut descriptors = descriptors.into_iter();
    let state = descriptors.next();
    let read = match (failure, state) {
        (Some(error), _) => Err(error),
        (None, None) => Err(io::ErrorKind::UnexpectedEof.into()),
        (None, Some(state)) => read_state(File::from(state)),
    };
    let mut queues = match read {
        Ok(queues) => queues,
        Err(why) => return Err(Failure { why, sockets: descriptors.map(Socket::from).collect() }),
    };
    for queue in &mut queues {
        for descriptor in descriptors.by_ref().take(queue.missing_descriptors()) {
            queue.add_descriptor(descriptor);
        }
    }
    let mut sockets = descriptors.map(Socket::from);
    for queue in &mut queues {
        for socket in sockets.by_ref().take(queue.len()) {
            queue.add_socket(socket);
        }
    }
    Ok(queues)
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

fn read_state(mut file: File) -> io::Result<Vec<HandedQueue>> {
    let mut text = Vec::new();
    // The writer's position is the file's: it is the same open file.
    file.rewind()?;
    file.read_to_end(&mut text)?;
    let AnyVersion { version } = serde_json::from_slice(&text)?;
    if version != VERSION {
        return Err(io::Error::other(format!("their state has version {version}, and not {VERSION}")));
    }
    let state: State<Vec<HandedQueue>> = serde_json::from_slice(&text)?;
    if state.queues.iter().all(HandedQueue::is_sound) {
        Ok(state.queues)
    } else {
        Err(io::Error::other("their state makes no sense"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// A queue with this many connections, as the zcrxd before described it, and the peers of the connections.
    fn queue(connections: usize) -> Result<(HandedQueue, Vec<TcpStream>), Box<dyn std::error::Error>> {
        let state = r#"{"peer": "192.0.2.1:1", "ended": false, "sink": {"Discard": {"finished": false}}}"#;
        let states = vec![state; connections].join(",");
        let text = format!(
            r#"{{"interface": null, "queue": 0, "listen": ["127.0.0.1:7000"], "sink": "discard", "connections": [{states}]}}"#
        );
        let mut queue: HandedQueue = serde_json::from_str(&text)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peers = Vec::new();
        for _ in 0..connections {
            peers.push(TcpStream::connect(listener.local_addr()?)?);
            queue.add_socket(Socket::from(listener.accept()?.0));
        }
        Ok((queue, peers))
    }

    /// More connections than fit into one message.
    #[test]
    fn sockets_keep_their_order_and_data() -> Outcome {
        let (one, ones) = queue(3)?;
        let (many, manys) = queue(DESCRIPTORS_AT_ONCE + 1)?;
        for (number, mut peer) in (0_u32..).zip(ones.iter().chain(&manys)) {
            peer.write_all(&number.to_ne_bytes())?;
        }
        let package = pack(vec![one, many]).map_err(|failure| failure.why)?;
        let mut queues = unpack(&package).map_err(|failure| failure.why)?;
        assert_eq!(queues.iter().map(HandedQueue::len).collect::<Vec<_>>(), [3, DESCRIPTORS_AT_ONCE + 1]);
        let sockets = queues.iter_mut().flat_map(HandedQueue::take_sockets);
        let mut expected = 0_u32;
        for mut socket in sockets {
            let mut number = [0; 4];
            socket.read_exact(&mut number)?;
            assert_eq!(u32::from_ne_bytes(number), expected);
            expected += 1;
        }
        assert_eq!(expected as usize, 3 + DESCRIPTORS_AT_ONCE + 1);
        assert!(unpack(&package).is_err(), "the package is empty now");
        Ok(())
    }

    #[test]
    fn state_of_another_version_gives_the_sockets_back() -> Outcome {
        let (mut one, _peers) = queue(2)?;
        let sockets = one.take_sockets();
        for text in [
            &format!(r#"{{"version": {}, "queues": "of a later version"}}"#, VERSION + 1),
            r#"{"version": 1, "queues": [{}]}"#,
            "",
        ] {
            let mut state = File::from(memfd_create("test", MemfdFlags::CLOEXEC)?);
            state.write_all(text.as_bytes())?;
            let flags = SocketFlags::CLOEXEC;
            let (package, writer) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            send(&writer, &[state.as_fd(), sockets[0].as_fd(), sockets[1].as_fd()])?;
            drop(writer);
            let failure = unpack(&package).err().ok_or("it was read")?;
            assert_eq!(failure.sockets.len(), 2, "{text}");
        }
        Ok(())
    }
}
