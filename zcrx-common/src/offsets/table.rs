//! The fields that the programs read, and where kernels keep them.

use super::{ABSENT, Place, Shape};

offsets! {
    /// Number of the system call that a task is in, as saved at its entry.
    syscall_number: integer 4 = "pt_regs" "orig_ax" | "pt_regs" "syscallno" | "pt_regs" "a7";
    /// Its second argument.
    syscall_arg1: integer 8 = "pt_regs" "si" | "pt_regs" "regs[1]" | "pt_regs" "a1";
    /// Its third argument.
    syscall_arg2: integer 8 = "pt_regs" "dx" | "pt_regs" "regs[2]" | "pt_regs" "a2";

    /// Process of a task.
    task_tgid: integer 4 = "task_struct" "tgid";
    /// Its main thread.
    task_leader: pointer "task_struct" = "task_struct" "group_leader";
    /// Its name, zero-terminated.
    task_comm: array 16 of 1 = "task_struct" "comm";
    /// Its cgroups.
    task_cgroups: pointer "css_set" = "task_struct" "cgroups";
    /// The one of the unified hierarchy.
    css_set_cgroup: pointer "cgroup" = "css_set" "dfl_cgrp";
    /// A cgroup's directory.
    cgroup_node: pointer "kernfs_node" = "cgroup" "kn";
    /// A directory's inode number: the cgroup id.
    kernfs_id: integer 8 = "kernfs_node" "id";
    /// What io_uring keeps for a task.
    task_io_uring: pointer "io_uring_task" = "task_struct" "io_uring";
    /// Rings registered with a task (`IORING_REGISTER_RING_FDS`).
    registered_rings: array 128 of 8 = "io_uring_task" "registered_rings";

    /// Operations of a file: what kind it is.
    file_operations: pointer "file_operations" = "file" "f_op";
    /// What a kind keeps for a file: the ring context, the queue.
    file_private: pointer = "file" "private_data";

    /// Open files of a task.
    task_files: pointer "files_struct" = "task_struct" "files";
    /// The table of descriptors.
    files_table: pointer "fdtable" = "files_struct" "fdt";
    /// Its files, by descriptor.
    table_files: pointer = "fdtable" "fd";
    /// How many descriptors it has room for.
    table_size: integer 4 = "fdtable" "max_fds";
    /// The inode of a file.
    file_inode: pointer "inode" = "file" "f_inode";
    /// Its type and permissions.
    inode_mode: integer 2 = "inode" "i_mode";
    /// Files registered with a ring: how many slots.
    ring_files_count: integer 4 = "io_ring_ctx" "file_table.data.nr";
    /// The slots.
    ring_files: pointer = "io_ring_ctx" "file_table.data.nodes";
    /// The file in a slot, with flags in its low bits.
    slot_file: integer 8 = "io_rsrc_node" "file_ptr";
    /// The kernel's side of a socket.
    socket_sock: pointer "sock" = "socket" "sk";
    /// Address family of a socket.
    sock_family: integer 2 = "sock" "__sk_common.skc_family";
    /// State of its connection.
    sock_state: integer 1 = "sock" "__sk_common.skc_state";
    /// Its type: a stream, datagrams.
    sock_type: integer 2 = "sock" "sk_type";
    /// Its protocol.
    sock_protocol: integer 2 = "sock" "sk_protocol";
    /// Flags (`SOCK_DONE` and others).
    sock_flags: integer 8 = "sock" "__sk_common.skc_flags";
    /// Most that may wait in it, bytes.
    sock_receive_limit: integer 4 = "sock" "sk_rcvbuf";
    /// NAPI instance that delivered to it last.
    sock_napi: integer 4 = "sock" "sk_napi_id";
    /// Its local port.
    sock_port: integer 2 = "sock" "__sk_common.skc_num";
    /// Its peer's port, in network order.
    sock_peer_port: integer 2 = "sock" "__sk_common.skc_dport";
    /// Its peer's address, IPv4.
    sock_peer: integer 4 = "sock" "__sk_common.skc_daddr";
    /// Its peer's address, IPv6.
    sock_peer_v6: structure = "sock" "__sk_common.skc_v6_daddr";
    /// The next byte that it expects.
    tcp_expected: integer 4 = "tcp_sock" "rcv_nxt";
    /// The next byte that user space has not received.
    tcp_unread: integer 4 = "tcp_sock" "copied_seq";

    /// Interface queues of a ring: an xarray's head from 6.16 on, one pointer in 6.15.
    ring_queues: pointer = "io_ring_ctx" "zcrx_ctxs.xa_head" | "io_ring_ctx" "ifq";
    /// The memory that a ring shares with user space.
    ring_shared: pointer "io_rings" = "io_ring_ctx" "rings";
    /// Capacity of its completion queue.
    ring_cq_entries: integer 4 = "io_ring_ctx" "cq_entries";
    /// How far user space has read completions.
    cq_head: integer 4 = "io_rings" "cq.head";
    /// How far the kernel has written completions.
    cq_tail: integer 4 = "io_rings" "cq.tail";
    /// Completions that found no room.
    cq_overflow: integer 4 = "io_rings" "cq_overflow";
    /// Bits of the index that lie below an xarray's node.
    xa_node_shift: integer 1 = "xa_node" "shift";
    /// Number of entries in a node that are not empty.
    xa_node_count: integer 1 = "xa_node" "count";
    /// Entries of a node.
    xa_node_slots: array 512 of 8 = "xa_node" "slots";

    /// Hardware queue of an interface queue.
    ifq_rxq: integer 4 = "io_zcrx_ifq" "if_rxq";
    /// Its device.
    ifq_netdev: pointer "net_device" = "io_zcrx_ifq" "netdev";
    /// Capacity of its refill ring.
    ifq_entries: integer 4 = "io_zcrx_ifq" "rq.nr_entries" | "io_zcrx_ifq" "rq_entries";
    /// How far the kernel has consumed the refill ring.
    ifq_cached_head: integer 4 = "io_zcrx_ifq" "rq.cached_head" | "io_zcrx_ifq" "cached_rq_head";
    /// The refill ring's header.
    ifq_ring: pointer = "io_zcrx_ifq" "rq.ring" | "io_zcrx_ifq" "rq_ring";
    /// How far user space has published refill entries.
    refill_tail: integer 4 = "io_zcrx_ifq" "rq.ring->tail" | "io_zcrx_ifq" "rq_ring->tail";
    /// Its areas, from 7.3 on.
    ifq_areas: pointer = "io_zcrx_ifq" "areas";
    /// How many there are.
    ifq_nr_areas: integer 4 = "io_zcrx_ifq" "nr_areas";
    /// Its only area, up to 7.2.
    ifq_area: pointer "io_zcrx_area" = "io_zcrx_ifq" "area";
    /// Buffers of an area.
    area_buffers: integer 4 = "io_zcrx_area" "nia.num_niovs";
    /// Buffers on an area's freelist.
    area_free: integer 4 = "io_zcrx_area" "free_count";
    /// References to a queue, those of its page pools among them. Linux 6.19.
    ifq_refs: integer 4 = "io_zcrx_ifq" "refs";
    /// Size of a buffer, as a power of two. Linux 6.18.
    ifq_niov_shift: integer 4 = "io_zcrx_ifq" "niov_shift";
    /// Kinds of notification that the owner asked for. Linux 7.2.
    ifq_notifications_asked: integer 4 = "io_zcrx_ifq" "allowed_notif_mask";
    /// Kinds that it was sent and has not armed again. Linux 7.2.
    ifq_notifications_sent: integer 4 = "io_zcrx_ifq" "fired_notifs";
    /// User space's references to each buffer of an area.
    area_user_refs: pointer = "io_zcrx_area" "user_refs";

    /// The page pool that has a buffer; none for one that the kernel copied into.
    niov_pool: pointer "page_pool" = "net_iov" "desc.pp" | "net_iov" "pp";
    /// What a buffer belongs to.
    niov_owner: pointer "net_iov_area" = "net_iov" "owner";
    /// Size of what describes a buffer.
    niov_size: size = "net_iov" "sizeof";
    /// An area, as its buffers know it.
    area_owner: structure = "io_zcrx_area" "nia";
    /// Its buffers.
    owner_niovs: pointer "net_iov" = "net_iov_area" "niovs";

    /// How far a TCP socket was read.
    tcp_copied_seq: integer 4 = "tcp_sock" "copied_seq";
    /// How far it has received, the end of the stream included.
    tcp_rcv_nxt: integer 4 = "tcp_sock" "rcv_nxt";

    /// What a task may do.
    task_credentials: pointer "cred" = "task_struct" "cred";
    /// User id in the initial user namespace.
    credentials_user: integer 4 = "cred" "euid.val";
    /// Effective capabilities.
    credentials_capabilities: integer 8 = "cred" "cap_effective.val";
    /// User namespace in which the capabilities count.
    credentials_namespace: pointer "user_namespace" = "cred" "user_ns";
    /// Nesting depth of a user namespace: 0 for the initial one.
    user_namespace_level: integer 4 = "user_namespace" "level";

    /// Namespaces of a task.
    task_nsproxy: pointer "nsproxy" = "task_struct" "nsproxy";
    /// Its network namespace.
    nsproxy_net: pointer "net" = "nsproxy" "net_ns";
    /// The interfaces of a network namespace, hashed by index.
    net_interfaces: pointer "hlist_head" = "net" "dev_index_head";
    /// A device's link in that hash table.
    netdev_index_link: structure = "net_device" "index_hlist";
    /// Inode number of a network namespace, as `stat -L /proc/PID/ns/net` shows it.
    net_inum: integer 4 = "net" "ns.inum";

    /// Id of a page pool in the netdev netlink family.
    page_pool_id: integer 4 = "page_pool" "user.id";
    /// The hardware queue a page pool serves.
    page_pool_queue: integer 4 = "page_pool" "slow.queue_idx";
    /// The device a page pool serves.
    page_pool_netdev: pointer "net_device" = "page_pool" "slow.netdev";
    /// The operations of the memory provider that feeds it, if any.
    page_pool_provider: pointer "memory_provider_ops" = "page_pool" "mp_ops";
    /// What a memory provider keeps for a page pool: for zcrx its interface queue.
    page_pool_provider_state: pointer = "page_pool" "mp_priv";
    /// Buffers in a page pool's allocation cache.
    page_pool_cache: integer 4 = "page_pool" "alloc.count";
    /// The buffers themselves: 128 places, from 7.3 on 32 with pages of 16 KiB and 8 with pages of 64 KiB. `zcrx-ebpf` reads as many as a call has
    /// filled.
    page_pool_cached: array 64 of 8 = "page_pool" "alloc.cache";
    /// Where the next buffer enters the ring that a page pool keeps buffers in which came back outside its NAPI instance.
    page_pool_ring_producer: integer 4 = "page_pool" "ring.producer";
    /// Where the next buffer leaves it.
    page_pool_ring_consumer: integer 4 = "page_pool" "ring.consumer_head";
    /// Its places.
    page_pool_ring_size: integer 4 = "page_pool" "ring.size";
    /// The array of them; an empty one is null.
    page_pool_ring_places: pointer = "page_pool" "ring.queue";
    /// Buffers a page pool took in.
    page_pool_held: integer 4 = "page_pool" "pages_state_hold_cnt";
    /// Buffers a page pool gave up.
    page_pool_released: integer 4 = "page_pool" "pages_state_release_cnt";
    /// The NAPI instance that uses a page pool.
    page_pool_napi: pointer "napi_struct" = "page_pool" "p.napi";
    /// The id of a NAPI instance.
    napi_id: integer 4 = "napi_struct" "napi_id";
    /// The state of a NAPI instance (`NAPI_STATE_*`).
    napi_state: integer 4 = "napi_struct" "state";
    /// For how long a program that busy-polls may keep a NAPI instance's interrupts off, nanoseconds.
    napi_irq_suspend: integer 8 = "napi_struct" "irq_suspend_timeout";
    /// A page pool's link in the list of its device.
    page_pool_link: structure = "page_pool" "user.list";
    /// The first page pool of a device.
    netdev_page_pools: pointer "hlist_node" = "net_device" "page_pools.first";
    /// A device's network namespace.
    netdev_net: pointer "net" = "net_device" "nd_net.net";
    /// A device's interface index.
    netdev_ifindex: integer 4 = "net_device" "ifindex";
    /// A device's name, zero-terminated.
    netdev_name: array 16 of 1 = "net_device" "name";

    /// Flags of a ring (`IORING_SETUP_*`).
    ring_flags: integer 4 = "io_ring_ctx" "flags";
    /// The thread that submits to a ring and reaps from it.
    ring_consumer: pointer "task_struct" = "io_ring_ctx" "submitter_task";
    /// Number of completions for which a thread waits on the ring; negative while no thread waits.
    ring_waiting: integer 4 = "io_ring_ctx" "cq_wait_nr";
    /// Task work that the consumer has not run: last node of a queue. Linux 7.2.
    ring_work_tail: pointer "llist_node" = "io_ring_ctx" "work_list.tail";
    /// The node that is last in an empty queue of task work. Linux 7.2.
    ring_work_stub: structure = "io_ring_ctx" "work_list.stub";
    /// Task work that the consumer has not run: a list. Up to Linux 7.1.
    ring_work_first: pointer "llist_node" = "io_ring_ctx" "work_llist.first";
    /// Task work left over from the last run: a list. Up to Linux 7.1.
    ring_work_retry: pointer "llist_node" = "io_ring_ctx" "retry_llist.first";
    /// Completions, one slot after the other.
    cq_slots: structure = "io_rings" "cqes";
    /// Slots of the completion queue, less one.
    cq_mask: integer 4 = "io_rings" "cq_ring_mask";

    /// Operation of a request (`IORING_OP_*`).
    request_operation: integer 1 = "io_kiocb" "opcode";
    /// Its file.
    request_file: pointer "file" = "io_kiocb" "file";
    /// Its ring.
    request_ring: pointer "io_ring_ctx" = "io_kiocb" "ctx";
    /// What the operation keeps in it.
    request_command: structure = "io_kiocb" "cmd";
    /// The queue of a receive, in what the operation keeps.
    receive_queue: pointer "io_zcrx_ifq" = "io_recvzc" "ifq";

    /// Thread id of a task.
    task_tid: integer 4 = "task_struct" "pid";
    /// What a task does: `TASK_*`.
    task_state: integer 4 = "task_struct" "__state";
    /// How far it has exited: `EXIT_*`.
    task_exit_state: integer 4 = "task_struct" "exit_state";
    /// Stops and freezing: `JOBCTL_*`.
    task_job_control: integer 8 = "task_struct" "jobctl";
    /// Its CPU time, nanoseconds.
    task_cpu_time: integer 8 = "task_struct" "se.sum_exec_runtime";
    /// Time for which it was ready to run and had no CPU, nanoseconds.
    task_run_delay: integer 8 = "task_struct" "sched_info.run_delay";
    /// Its scheduling group.
    task_group: pointer "task_group" = "task_struct" "sched_task_group";
    /// Time for which `cpu.max` throttled a scheduling group, nanoseconds.
    group_throttled: integer 8 = "task_group" "cfs_bandwidth.throttled_time";
    /// The scheduling group above.
    group_parent: pointer "task_group" = "task_group" "parent";

    /// Who waits for a socket.
    sock_wait: pointer "socket_wq" = "sock" "sk_wq";
    /// The list of those who wait.
    wait_list: structure = "socket_wq" "wait.head";
    /// A waiter's link in that list.
    waiter_link: structure = "wait_queue_entry" "entry";
    /// What a waiter keeps: for io_uring the request, with flags in its low bits.
    waiter_private: pointer = "wait_queue_entry" "private";
    /// Memory that a socket accounts for received data, bytes.
    sock_buffered: integer 4 = "sock" "sk_backlog.rmem_alloc";
    /// Packets that a socket has received.
    sock_packets: structure = "sock" "sk_receive_queue";
    /// Memory that a packet accounts for, bytes.
    packet_memory: integer 4 = "sk_buff" "truesize";
    /// Where a packet's linear part begins.
    packet_head: pointer = "sk_buff" "head";
    /// Where its shared part lies behind that.
    packet_end: integer 4 = "sk_buff" "end";
    /// Buffers with payload of a packet.
    packet_buffers: integer 1 = "skb_shared_info" "nr_frags";
    /// Superblock of an inode.
    inode_superblock: pointer "super_block" = "inode" "i_sb";
    /// Directory entry of a file.
    file_dentry: pointer "dentry" = "file" "f_path.dentry";
    /// Its name.
    dentry_name: pointer = "dentry" "d_name.name";

    /// Whether an area is a dmabuf.
    area_is_dmabuf: integer 1 = "io_zcrx_area" "mem.is_dmabuf";
    /// Receive queues of a device.
    netdev_queues: pointer "netdev_rx_queue" = "net_device" "_rx";
    /// Size of one of them.
    rx_queue_size: size = "netdev_rx_queue" "sizeof";
    /// The device of a receive queue.
    rx_queue_device: pointer "net_device" = "netdev_rx_queue" "dev";
    /// The queue that a virtual device's queue leases. Linux 7.1.
    rx_queue_lease: pointer "netdev_rx_queue" = "netdev_rx_queue" "lease";
    /// The NAPI instance that polls a receive queue.
    rx_queue_napi: pointer "napi_struct" = "netdev_rx_queue" "napi";
}
