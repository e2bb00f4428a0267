//! Which sockets go to which queue.

use super::*;
use crate::model::{Owner, QueueRing};

const ALL_FIGURES: SocketFigures =
    SocketFigures { unread: true, armed: true, buffered: true, buffers: true, peers: true };

fn queue(pids: &[u32], napi_id: Option<u32>) -> KernelQueue {
    let owner = |&pid| Owner { pid, comm: "receiver".to_owned(), fd: None, cgroup: None };
    let owners = pids.iter().map(owner).collect();
    KernelQueue { ifq: 7, owners, napi_id, ifindex: napi_id, ..KernelQueue::default() }
}

/// Process, NAPI instance, queue and ring of the armed receive, unread bytes.
type Entry = (u32, u32, Option<(u64, u64)>, u64);

fn sums(entries: &[Entry]) -> Sums {
    let sum = |&(pid, napi_id, armed, unread_bytes): &Entry| {
        let backlog = SocketBacklog {
            sockets: 1,
            unread_bytes,
            limit_bytes: 1000,
            buffered_bytes: Some(unread_bytes * 2),
            buffers: Some(unread_bytes / 5),
            ..SocketBacklog::default()
        };
        let peer = SocketAddr::from(([192, 0, 2, 1], unread_bytes as u16));
        let buffered_bytes = backlog.buffered_bytes;
        let armed_socket = Some(armed.is_some());
        let socket =
            TopSocket { pid, fd: Some(4), port: 80, peer, unread_bytes, buffered_bytes, armed: armed_socket };
        (Place { pid, napi_id, armed }, Sum { backlog, top: vec![socket] })
    };
    entries.iter().map(sum).collect()
}

/// Two queues of process 1, on NAPI instances 81 and 82; one of process 2 without a device.
fn unread(queue: &KernelQueue) -> Result<u64, String> {
    let none = None;
    let sums = sums(&[
        (1, 0, none, 5),
        (1, 81, none, 100),
        (1, 82, none, 200),
        (2, 0, none, 7),
        (2, 90, none, 8),
        (3, 81, none, 1),
    ]);
    let queues_of = [(1, 2), (2, 1), (3, 1)].into();
    backlog_of(queue, &queues_of, Ok(&sums), ALL_FIGURES).map(|sum| sum.backlog.unread_bytes)
}

#[test]
fn sockets_go_to_the_queue_whose_napi_instance_fed_them() {
    assert_eq!(unread(&queue(&[1], Some(81))), Ok(100));
    assert_eq!(unread(&queue(&[1], Some(82))), Ok(200));
    assert_eq!(unread(&queue(&[1], Some(83))), Ok(0));
    assert_eq!(unread(&queue(&[1, 3], Some(81))), Ok(101), "after a fork each socket is counted once");
}

#[test]
fn without_a_napi_instance_an_only_queue_has_all_of_its_owners() {
    assert_eq!(unread(&queue(&[2], None)), Ok(15));
    assert!(unread(&queue(&[1], None)).is_err_and(|reason| reason.contains("several queues")));
    assert!(unread(&queue(&[], Some(81))).is_err());
}

#[test]
fn armed_sockets_go_to_the_queue_of_their_receive() {
    let sums = sums(&[(1, 0, Some((7, 50)), 10), (1, 81, Some((8, 50)), 20), (1, 81, None, 40)]);
    let backlog = backlog_of(&queue(&[1], Some(81)), &[(1, 2)].into(), Ok(&sums), ALL_FIGURES);
    let sum = backlog.expect("NAPI instance and receives are known");
    let backlog = sum.backlog;
    assert_eq!((backlog.sockets, backlog.armed, backlog.unread_bytes), (2, Some(1), 50));
    assert_eq!((backlog.unarmed_unread_bytes, backlog.buffered_bytes), (Some(40), Some(100)));
    assert_eq!(backlog.buffers, Some(10));
}

#[test]
fn a_queue_names_the_sockets_in_which_most_waits() {
    let sums = sums(&[
        (1, 0, Some((7, 50)), 10),
        (1, 0, Some((7, 51)), 40),
        (1, 0, Some((8, 50)), 90),
        (1, 81, None, 20),
        (2, 81, None, 30),
        (3, 81, None, 5),
        (4, 81, None, 6),
    ]);
    let mut queue = queue(&[1, 2, 3, 4], Some(81));
    let has = SocketFigures { armed: false, ..ALL_FIGURES };
    assign(&mut queue, &[(1, 2)].into(), Ok(&sums), has);
    let top = queue.top_sockets.expect("addresses are known");
    let unread: Vec<_> = top.iter().map(|socket| socket.unread_bytes).collect();
    assert_eq!(unread, [40, 30, 20, 10]);
    assert_eq!(top[0].to_string(), "port 80 from 192.0.2.1:40 (descriptor 4)");
    assert_eq!(top[0].armed, None, "this kernel's types do not say");
}

#[test]
fn peers_are_read_in_network_order() {
    let kernel = snapshot::TopSocket {
        peer: [192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        peer_port: 40_000_u16.to_be(),
        port: 9000,
        fd: NO_FD,
        family: libc::AF_INET as u16,
        ..snapshot::TopSocket::default()
    };
    let socket = named(1, true, &kernel).expect("there is a socket");
    assert_eq!(socket.to_string(), "port 9000 from 192.0.2.9:40000");
    let v6 = snapshot::TopSocket {
        family: libc::AF_INET6 as u16,
        peer: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 9],
        ..kernel
    };
    assert_eq!(named(1, true, &v6), Some(socket), "a mapped address is the peer's own");
    assert_eq!(named(1, true, &snapshot::TopSocket::default()), None);
}

#[test]
fn each_of_several_rings_has_the_sockets_it_armed() {
    let sums = sums(&[(1, 0, Some((7, 50)), 10), (1, 0, Some((7, 51)), 30)]);
    let ring = |id| QueueRing { id, ..QueueRing::default() };
    let mut queue = KernelQueue { rings: vec![ring(50), ring(51)], ..queue(&[1], None) };
    assign(&mut queue, &[(1, 1)].into(), Ok(&sums), ALL_FIGURES);
    let unread: Vec<_> = queue.rings.iter().map(|ring| ring.sockets.map(|all| all.unread_bytes)).collect();
    assert_eq!(unread, [Some(10), Some(30)]);
    assert_eq!(queue.sockets.map(|all| all.unread_bytes), Some(40));
}

#[test]
fn buffers_follow_from_the_packets_that_were_looked_at() {
    // Two first packets of 17 frames, a page for each, and the overhead of a packet; 1,023 such frames wait.
    let packets = Sockets { packet_bytes: 2 * (17 * 4096 + 896), packet_buffers: 34, ..Sockets::default() };
    let of = |buffered_bytes, packets: Sockets| buffers(&Sockets { buffered_bytes, ..packets });
    assert_eq!(of(1023 * 4096 + 61 * 896, packets), Some(1023));
    assert_eq!(of(0, Sockets::default()), Some(0));
    assert_eq!(of(4992, Sockets::default()), None, "only out-of-order data");
}

#[test]
fn unknown_sockets_say_why() {
    let mut queue = queue(&[1], Some(81));
    assign(&mut queue, &BTreeMap::new(), Err("not attached"), ALL_FIGURES);
    assert_eq!((queue.sockets, queue.sockets_unknown.as_deref()), (None, Some("not attached")));
}

#[test]
fn sockets_are_unknown_without_their_unread_bytes() {
    let sums = sums(&[(1, 0, Some((7, 50)), 10)]);
    let ring = QueueRing { id: 50, ..QueueRing::default() };
    let mut queue = KernelQueue { rings: vec![ring], ..queue(&[1], None) };
    let has = SocketFigures { unread: false, ..ALL_FIGURES };
    assign(&mut queue, &[(1, 1)].into(), Ok(&sums), has);
    assert_eq!((queue.sockets, queue.top_sockets), (None, None));
    assert!(queue.sockets_unknown.is_some() && queue.rings[0].sockets_unknown.is_some());
}
