//! Connections that zcrxd leaves to the next one, as a package for systemd's store.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::package;
use crate::receive::HandedQueue;

/// Version of the state. Another zcrxd reads the same version only.
const VERSION: u32 = 1;

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
    let of_sinks: Vec<_> = queues.iter_mut().flat_map(HandedQueue::take_sink_descriptors).collect();
    let all = descriptors.iter().map(AsFd::as_fd).chain(sockets.iter().map(AsFd::as_fd));
    let all = all.chain(of_sinks.iter().map(AsFd::as_fd));
    let all: Vec<_> = all.collect();
    let state = serde_json::to_vec(&State { version: VERSION, queues }).map_err(io::Error::from);
    state.and_then(|state| package::pack(&state, &all)).map_err(|why| Failure { why, sockets })
}

/// Unpacks connections.
pub(super) fn unpack(package: &OwnedFd) -> Result<Vec<HandedQueue>, Failure> {
    let package::Contents { text, descriptors } = package::unpack(package);
    let mut descriptors = descriptors.into_iter();
    let mut queues = match text.and_then(|text| read_state(&text)) {
        Ok(queues) => queues,
        Err(why) => return Err(Failure { why, sockets: descriptors.map(Socket::from).collect() }),
    };
    for queue in &mut queues {
        for descriptor in descriptors.by_ref().take(queue.missing_descriptors()) {
            queue.add_descriptor(descriptor);
        }
    }
    for queue in &mut queues {
        for socket in descriptors.by_ref().take(queue.len()) {
            queue.add_socket(socket.into());
        }
    }
    for queue in &mut queues {
        for descriptor in descriptors.by_ref().take(queue.missing_sink_descriptors()) {
            queue.add_sink_descriptor(descriptor);
        }
    }
    Ok(queues)
}

fn read_state(text: &[u8]) -> io::Result<Vec<HandedQueue>> {
    let AnyVersion { version } = serde_json::from_slice(text)?;
    if version != VERSION {
        return Err(io::Error::other(format!("their state has version {version}, and not {VERSION}")));
    }
    let state: State<Vec<HandedQueue>> = serde_json::from_slice(text)?;
    if state.queues.iter().all(HandedQueue::is_sound) {
        Ok(state.queues)
    } else {
        Err(io::Error::other("their state makes no sense"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::daemon::package::DESCRIPTORS_AT_ONCE;

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
            let package = package::pack(text.as_bytes(), &[sockets[0].as_fd(), sockets[1].as_fd()])?;
            let failure = unpack(&package).err().ok_or("it was read")?;
            assert_eq!(failure.sockets.len(), 2, "{text}");
        }
        Ok(())
    }
}
