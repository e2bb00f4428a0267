//! Data that waits in the sockets of queues' owners.
//!
//! Runs after the snapshot of the queues, so that the owners are known. Reads only the owners' files: the open ones and those
//! registered with their rings. An owner may have tens of thousands of connections, so the program adds them up.

use core::ffi::c_void;

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use zcrx_common::{
    loss::SOCKET_SUM,
    snapshot::{NO_FD, SOCKET_SUMS, Sockets, SocketsKey, TOP_SOCKETS, TopSocket},
};

use super::{REGISTERED_RINGS, SNAPSHOT_CONFIG, Task, each, first_visit};
use crate::{
    kernel::{has, offset, read},
    loss,
    memory::ON_DEMAND,
    programs::holders::SNAPSHOT_OWNERS,
};

/// Files of one table that are looked at: the kernel's default limit (`fs.nr_open`).
const MOST_FILES: u32 = 1 << 20;

/// `S_IFMT` and `S_IFSOCK`.
const FILE_TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
/// The low bits of a registered file's pointer, which are flags.
const SLOT_FLAGS: u64 = 7;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
/// States in which data may wait: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING.
const CONNECTED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// `SOCK_DONE`: the peer's FIN has come, which takes one sequence number.
const DONE: u64 = 1 << 1;

/// `IORING_OP_RECV_ZC`
const RECV_ZC: u8 = 58;
/// Waiters of a socket that are looked at.
const MOST_WAITERS: u32 = 6;
/// The low bits of what io_uring keeps in a waiter, which are flags.
const WAITER_FLAGS: u64 = 3;

/// Set in the address of a ring whose registered files were visited: the snapshot of queues visits rings as well. Addresses of
/// structures are even.
const SLOTS: u64 = 1;

/// The table of open files that was walked last, apart from main threads', and the generation in which that was.
#[map]
static SNAPSHOT_FILES: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// User space removes sums of earlier snapshots.
#[map]
static SNAPSHOT_SOCKETS: HashMap<SocketsKey, Sockets> = HashMap::with_max_entries(SOCKET_SUMS, ON_DEMAND);

/// The sum of no socket, never written: a sum is too large for the programs' stack.
#[map]
static NO_SOCKETS: Array<Sockets> = Array::with_max_entries(1, 0);

#[repr(C)]
struct FileWalk {
    /// Array of pointers: to files, or to slots of registered ones.
    table: u64,
    ring_operations: u64,
    generation: u64,
    pid: u32,
    /// Keeps the structure free of padding.
    reserved: u32,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn snapshot_sockets(ctx: *const Task) -> i32 {
    // SAFETY: the kernel passes a context of this shape; volatile as in `snapshot_task_file`.
    let task = unsafe { core::ptr::read_volatile(&raw const (*ctx).task) };
    let Some(config) = SNAPSHOT_CONFIG.get_ptr(0) else { return 0 };
    if task == 0 {
        return 0;
    }
    // SAFETY: the map has one element, and user space does not write while it reads the iterator.
    let (generation, ring_operations) = unsafe { ((*config).generation, (*config).ring_operations) };
    let pid: u32 = read(task, offset!(task_tgid));
    // SAFETY: the value is copied at once.
    if unsafe { SNAPSHOT_OWNERS.get(pid) }.copied() != Some(generation) {
        return 0;
    }
    let mut walk = FileWalk { table: 0, ring_operations, generation, pid, reserved: 0 };
    let files: u64 = read(task, offset!(task_files));
    if files != 0 && is_unvisited(task, files, generation) {
        let table: u64 = read(files, offset!(files_table));
        walk.table = read(table, offset!(table_files));
        let mut size: u32 = read(table, offset!(table_size));
        if size > MOST_FILES {
            size = MOST_FILES;
        }
        if walk.table != 0 {
            each(size, visit_open, &mut walk);
        }
    }
    if has(offset!(registered_rings)) {
        walk.table = read(task, offset!(task_io_uring));
        if walk.table != 0 {
            walk.table += u64::from(offset!(registered_rings));
            each(REGISTERED_RINGS, visit_open, &mut walk);
        }
    }
    0
}

/// Whether a thread's table of open files has not been walked. Threads share the main thread's, but for those that made one of their
/// own; a main thread that has exited has none, and then the first other thread's stands for all.
#[inline(always)]
fn is_unvisited(task: u64, files: u64, generation: u64) -> bool {
    let leader: u64 = read(task, offset!(task_leader));
    if leader == task {
        return true;
    }
    if read::<u64>(leader, offset!(task_files)) == files {
        return false;
    }
    let Some(last) = SNAPSHOT_FILES.get_ptr_mut(0) else { return false };
    // SAFETY: the map has one element, and one reader at a time runs the program.
    let last = unsafe { &mut *last };
    // Threads of a process are visited one after the other.
    let is_new = *last != [files, generation];
    *last = [files, generation];
    is_new
}

unsafe extern "C" fn visit_open(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `snapshot_sockets` passes this context.
    let walk = unsafe { &*context.cast::<FileWalk>() };
    let file: u64 = read(walk.table + index * 8, 0);
    if file == 0 {
        return 0;
    }
    if read::<u64>(file, offset!(file_operations)) != walk.ring_operations {
        visit_file(file, index as u32, walk);
        return 0;
    }
    if !has(offset!(ring_files)) || !has(offset!(ring_files_count)) || !has(offset!(slot_file)) {
        return 0;
    }
    let ring: u64 = read(file, offset!(file_private));
    let mut slots = FileWalk {
        table: read(ring, offset!(ring_files)),
        ring_operations: 0,
        generation: walk.generation,
        pid: walk.pid,
        reserved: 0,
    };
    let mut count: u32 = read(ring, offset!(ring_files_count));
    if count > MOST_FILES {
        count = MOST_FILES;
    }
    // A process may have any number of descriptors of a ring.
    if slots.table != 0 && count != 0 && first_visit(ring | SLOTS, walk.generation) {
        each(count, visit_slot, &mut slots);
    }
    0
}

unsafe extern "C" fn visit_slot(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `visit_open` passes this context.
    let walk = unsafe { &*context.cast::<FileWalk>() };
    let slot: u64 = read(walk.table + index * 8, 0);
    if slot != 0 {
        let file: u64 = read(slot, offset!(slot_file));
        visit_file(file & !SLOT_FLAGS, NO_FD, walk);
    }
    0
}

/// Adds a file that is a connected TCP socket to its owner's sums.
#[inline(always)]
fn visit_file(file: u64, fd: u32, walk: &FileWalk) {
    let inode: u64 = read(file, offset!(file_inode));
    let private: u64 = read(file, offset!(file_private));
    if inode == 0 || private == 0 || read::<u16>(inode, offset!(inode_mode)) & FILE_TYPE != SOCKET {
        return;
    }
    let sock: u64 = read(private, offset!(socket_sock));
    if sock == 0 || !is_connected(sock) || !first_visit(sock, walk.generation) {
        return;
    }
    let request = armed(sock, file);
    // Expected after unread: what arrives between the two reads makes the distance larger, never negative.
    let received: u32 = read(sock, offset!(tcp_unread));
    let expected: u32 = read(sock, offset!(tcp_expected));
    let mut unread = u64::from(expected.wrapping_sub(received));
    if unread != 0 && read::<u64>(sock, offset!(sock_flags)) & DONE != 0 {
        unread -= 1;
    }
    let limit = u64::from(read::<u32>(sock, offset!(sock_receive_limit)));
    let buffered = u64::from(read::<u32>(sock, offset!(sock_buffered)));
    let (packet_bytes, packet_buffers) = if buffered == 0 { (0, 0) } else { first_packet(sock) };
    let mut key = SocketsKey { pid: walk.pid, napi_id: read(sock, offset!(sock_napi)), ifq: 0, ring: 0 };
    if request != 0 {
        key.ifq = read(request + u64::from(offset!(request_command)), offset!(receive_queue));
        key.ring = read(request, offset!(request_ring));
    }
    let Some(sum) = sum_of(&key, walk.generation) else {
        loss::count(SOCKET_SUM);
        return;
    };
    // SAFETY: a live value of the map; one reader at a time writes it.
    let sum = unsafe { &mut *sum };
    sum.unread_bytes += unread;
    sum.limit_bytes += limit;
    sum.buffered_bytes += buffered;
    sum.packet_bytes += packet_bytes;
    sum.packet_buffers += packet_buffers;
    sum.sockets += 1;
    if has(offset!(sock_port)) && has(offset!(sock_peer_port)) && has(offset!(sock_peer)) {
        note(&mut sum.top, sock, fd, buffered, unread);
    }
}

/// The sum of this snapshot for a key: a new one, of nothing, if there is none.
#[inline(always)]
fn sum_of(key: &SocketsKey, generation: u64) -> Option<*mut Sockets> {
    if let Some(sum) = SNAPSHOT_SOCKETS.get_ptr_mut(key) {
        // SAFETY: a live value of the map; one reader at a time writes it.
        if unsafe { (*sum).generation } == generation {
            return Some(sum);
        }
    }
    let nothing = NO_SOCKETS.get(0)?;
    SNAPSHOT_SOCKETS.insert(key, nothing, 0).ok()?;
    let sum = SNAPSHOT_SOCKETS.get_ptr_mut(key)?;
    // SAFETY: as above.
    unsafe { (*sum).generation = generation };
    Some(sum)
}

/// Keeps a socket if more waits in it than in one of those that are kept.
#[inline(always)]
fn note(top: &mut [TopSocket; TOP_SOCKETS], sock: u64, fd: u32, buffered: u64, unread: u64) {
    let waits = |socket: &TopSocket| socket.buffered_bytes.max(socket.unread_bytes);
    let mut least = 0;
    let mut fewest = waits(&top[0]);
    #[expect(
        clippy::needless_range_loop,
        reason = "the first one is looked at above, and the least one's place is wanted"
    )]
    for rank in 1..TOP_SOCKETS {
        if waits(&top[rank]) < fewest {
            fewest = waits(&top[rank]);
            least = rank;
        }
    }
    if buffered.max(unread) <= fewest {
        return;
    }
    let place = &mut top[least % TOP_SOCKETS];
    place.buffered_bytes = buffered;
    place.unread_bytes = unread;
    place.fd = fd;
    place.family = read(sock, offset!(sock_family));
    place.port = read(sock, offset!(sock_port));
    place.peer_port = read(sock, offset!(sock_peer_port));
    place.peer = if place.family == AF_INET6 {
        read(sock, offset!(sock_peer_v6))
    } else {
        let address: [u8; 4] = read(sock, offset!(sock_peer));
        [address[0], address[1], address[2], address[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    };
}

/// What the first packet that waits in a socket accounts for, and in how many buffers its payload lies: of the other packets only the
/// memory is known, and how much of it is payload depends on what the sender sends and the driver joins.
#[inline(always)]
fn first_packet(sock: u64) -> (u64, u32) {
    if !has(offset!(sock_packets)) || !has(offset!(packet_end)) || !has(offset!(packet_buffers)) {
        return (0, 0);
    }
    let list = sock + u64::from(offset!(sock_packets));
    // The first word of a `struct sk_buff_head` and of a `struct sk_buff` is the next packet; the list ends where it began.
    let packet: u64 = read(list, 0);
    if packet == 0 || packet == list {
        return (0, 0);
    }
    let head: u64 = read(packet, offset!(packet_head));
    let shared = head + u64::from(read::<u32>(packet, offset!(packet_end)));
    let buffers = u32::from(read::<u8>(shared, offset!(packet_buffers)));
    (u64::from(read::<u32>(packet, offset!(packet_memory))), buffers)
}

/// The zero-copy receive that is armed on a socket, 0 if there is none: one of those who wait for the socket is then a request of that
/// kind for this very file. Other waiters keep something else; what is no request for this file is passed over.
#[inline(always)]
fn armed(sock: u64, file: u64) -> u64 {
    if !has(offset!(sock_wait)) || !has(offset!(waiter_private)) || !has(offset!(receive_queue)) {
        return 0;
    }
    let queue: u64 = read(sock, offset!(sock_wait));
    if queue == 0 {
        return 0;
    }
    let list = queue + u64::from(offset!(wait_list));
    // The first word of a `struct list_head` is the next one; the list ends where it began.
    let mut link: u64 = read(list, 0);
    for _ in 0..MOST_WAITERS {
        if link == 0 || link == list {
            break;
        }
        let private: u64 = read(link - u64::from(offset!(waiter_link)), offset!(waiter_private));
        let request = private & !WAITER_FLAGS;
        if request != 0
            && read::<u64>(request, offset!(request_file)) == file
            && read::<u8>(request, offset!(request_operation)) == RECV_ZC
        {
            return request;
        }
        link = read(link, 0);
    }
    0
}

#[inline(always)]
fn is_connected(sock: u64) -> bool {
    let family: u16 = read(sock, offset!(sock_family));
    // Other families number their protocols themselves, and raw sockets have IP's.
    (family == AF_INET || family == AF_INET6)
        && read::<u16>(sock, offset!(sock_protocol)) == IPPROTO_TCP
        && read::<u16>(sock, offset!(sock_type)) == SOCK_STREAM
        && CONNECTED >> (read::<u8>(sock, offset!(sock_state)) & 31) & 1 == 1
}
