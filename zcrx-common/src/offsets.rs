//! Where fields of kernel structures lie on the kernel that runs.
//!
//! User space looks them up in the kernel's own type information and hands them over as one read-only global
//! that is frozen before the programs are loaded: the verifier sees constants, so code for a field that this
//! kernel does not have is never even verified.

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// A field as the kernel's type information describes it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Distance from the start of the outermost structure.
    pub offset: u32,
    /// Size of the field.
    pub size: u32,
}

/// Declares the table of offsets: a name, the width in bytes that the programs read, and the places where
/// kernels keep the field, newest first.
macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $width:literal = $($structure:literal $path:literal)|+;)+) => {
        /// Byte offsets, [`ABSENT`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$doc])* #[doc = concat!("\n\nKernel: ", $("`", $structure, ".", $path, "` "),+)] pub $field: u32,)+
        }

        impl Offsets {
            /// Nothing is known.
            pub const NONE: Self = Self { $($field: ABSENT,)+ };

            /// Names of all fields, in the order of declaration.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            /// Fills the table from `lookup(structure, dotted path)`. Of the path `sizeof` it wants the size of the structure
            /// itself, in the place of the offset.
            ///
            /// A field narrower than what the programs read counts as absent. A wider one is taken: on the
            /// little-endian machines this runs on, its low bytes come first.
            pub fn resolve(mut lookup: impl FnMut(&str, &str) -> Option<Field>) -> Self {
                let mut find = |width: u32, places: &[(&str, &str)]| {
                    places
                        .iter()
                        .filter_map(|(structure, path)| lookup(structure, path))
                        .find(|field| field.size >= width)
                        .map_or(ABSENT, |field| field.offset)
                };
                Self { $($field: find($width, &[$(($structure, $path)),+]),)+ }
            }

            /// Every field with its offset, in the order of declaration.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u32)> {
                Self::NAMES.iter().copied().zip([$(self.$field),+])
            }
        }

        const _: () = assert!(size_of::<Offsets>() == 4 * Offsets::NAMES.len());
    };
}

offsets! {
    /// Number of the system call that a task is in, as saved at its entry.
    syscall_number: 4 = "pt_regs" "orig_ax" | "pt_regs" "syscallno" | "pt_regs" "a7";
    /// Its second argument.
    syscall_arg1: 8 = "pt_regs" "si" | "pt_regs" "regs[1]" | "pt_regs" "a1";
    /// Its third argument.
    syscall_arg2: 8 = "pt_regs" "dx" | "pt_regs" "regs[2]" | "pt_regs" "a2";

    /// Process of a task.
    task_tgid: 4 = "task_struct" "tgid";
    /// Its main thread.
    task_leader: 8 = "task_struct" "group_leader";
    /// Its name, zero-terminated.
    task_comm: 16 = "task_struct" "comm";
    /// Its cgroups.
    task_cgroups: 8 = "task_struct" "cgroups";
    /// The one of the unified hierarchy.
    css_set_cgroup: 8 = "css_set" "dfl_cgrp";
    /// A cgroup's directory.
    cgroup_node: 8 = "cgroup" "kn";
    /// A directory's inode number: the cgroup id.
    kernfs_id: 8 = "kernfs_node" "id";
    /// What io_uring keeps for a task.
    task_io_uring: 8 = "task_struct" "io_uring";
    /// Rings registered with a task (`IORING_REGISTER_RING_FDS`).
    registered_rings: 128 = "io_uring_task" "registered_rings";

    /// Operations of a file: what kind it is.
    file_operations: 8 = "file" "f_op";
    /// What a kind keeps for a file: the ring context, the queue.
    file_private: 8 = "file" "private_data";

    /// Open files of a task.
    task_files: 8 = "task_struct" "files";
    /// The table of descriptors.
    files_table: 8 = "files_struct" "fdt";
    /// Its files, by descriptor.
    table_files: 8 = "fdtable" "fd";
    /// How many descriptors it has room for.
    table_size: 4 = "fdtable" "max_fds";
    /// The inode of a file.
    file_inode: 8 = "file" "f_inode";
    /// Its type and permissions.
    inode_mode: 2 = "inode" "i_mode";
    /// Files registered with a ring: how many slots.
    ring_files_count: 4 = "io_ring_ctx" "file_table.data.nr";
    /// The slots.
    ring_files: 8 = "io_ring_ctx" "file_table.data.nodes";
    /// The file in a slot, with flags in its low bits.
    slot_file: 8 = "io_rsrc_node" "file_ptr";
    /// The kernel's side of a socket.
    socket_sock: 8 = "socket" "sk";
    /// Address family of a socket.
    sock_family: 2 = "sock" "__sk_common.skc_family";
    /// State of its connection.
    sock_state: 1 = "sock" "__sk_common.skc_state";
    /// Its type: a stream, datagrams.
    sock_type: 2 = "sock" "sk_type";
    /// Its protocol.
    sock_protocol: 2 = "sock" "sk_protocol";
    /// Flags (`SOCK_DONE` and others).
    sock_flags: 8 = "sock" "__sk_common.skc_flags";
    /// Most that may wait in it, bytes.
    sock_receive_limit: 4 = "sock" "sk_rcvbuf";
    /// NAPI instance that delivered to it last.
    sock_napi: 4 = "sock" "sk_napi_id";
    /// The next byte that it expects.
    tcp_expected: 4 = "tcp_sock" "rcv_nxt";
    /// The next byte that user space has not received.
    tcp_unread: 4 = "tcp_sock" "copied_seq";

    /// Interface queues of a ring: an xarray's head from 6.16 on, one pointer in 6.15.
    ring_queues: 8 = "io_ring_ctx" "zcrx_ctxs.xa_head" | "io_ring_ctx" "ifq";
    /// The memory that a ring shares with user space.
    ring_shared: 8 = "io_ring_ctx" "rings";
    /// Capacity of its completion queue.
    ring_cq_entries: 4 = "io_ring_ctx" "cq_entries";
    /// How far user space has read completions.
    cq_head: 4 = "io_rings" "cq.head";
    /// How far the kernel has written completions.
    cq_tail: 4 = "io_rings" "cq.tail";
    /// Completions that found no room.
    cq_overflow: 4 = "io_rings" "cq_overflow";
    /// Bits of the index that lie below an xarray's node.
    xa_node_shift: 1 = "xa_node" "shift";
    /// Entries of a node.
    xa_node_slots: 512 = "xa_node" "slots";

    /// Hardware queue of an interface queue.
    ifq_rxq: 4 = "io_zcrx_ifq" "if_rxq";
    /// Its device.
    ifq_netdev: 8 = "io_zcrx_ifq" "netdev";
    /// Capacity of its refill ring.
    ifq_entries: 4 = "io_zcrx_ifq" "rq.nr_entries" | "io_zcrx_ifq" "rq_entries";
    /// How far the kernel has consumed the refill ring.
    ifq_cached_head: 4 = "io_zcrx_ifq" "rq.cached_head" | "io_zcrx_ifq" "cached_rq_head";
    /// The refill ring's header.
    ifq_ring: 8 = "io_zcrx_ifq" "rq.ring" | "io_zcrx_ifq" "rq_ring";
    /// How far user space has published refill entries.
    refill_tail: 4 = "zcrx_rq_hdr" "tail" | "io_uring" "tail";
    /// Its areas, from 7.3 on.
    ifq_areas: 8 = "io_zcrx_ifq" "areas";
    /// How many there are.
    ifq_nr_areas: 4 = "io_zcrx_ifq" "nr_areas";
    /// Its only area, up to 7.2.
    ifq_area: 8 = "io_zcrx_ifq" "area";
    /// Buffers of an area.
    area_buffers: 4 = "io_zcrx_area" "nia.num_niovs";
    /// Buffers on an area's freelist.
    area_free: 4 = "io_zcrx_area" "free_count";
    /// References to a queue, those of its page pools among them. Linux 6.19.
    ifq_refs: 4 = "io_zcrx_ifq" "refs";
    /// Size of a buffer, as a power of two. Linux 6.18.
    ifq_niov_shift: 4 = "io_zcrx_ifq" "niov_shift";
    /// Kinds of notification that the owner asked for. Linux 7.2.
    ifq_notifications_asked: 4 = "io_zcrx_ifq" "allowed_notif_mask";
    /// Kinds that it was sent and has not armed again. Linux 7.2.
    ifq_notifications_sent: 4 = "io_zcrx_ifq" "fired_notifs";
    /// User space's references to each buffer of an area.
    area_user_refs: 8 = "io_zcrx_area" "user_refs";

    /// The page pool that has a buffer; none for one that the kernel copied into.
    niov_pool: 8 = "net_iov" "desc.pp" | "net_iov" "pp";
    /// What a buffer belongs to.
    niov_owner: 8 = "net_iov" "owner";
    /// Size of what describes a buffer.
    niov_size: 4 = "net_iov" "sizeof";
    /// An area, as its buffers know it.
    area_owner: 8 = "io_zcrx_area" "nia";
    /// Its buffers.
    owner_niovs: 8 = "net_iov_area" "niovs";

    /// How far a TCP socket was read.
    tcp_copied_seq: 4 = "tcp_sock" "copied_seq";
    /// How far it has received, the end of the stream included.
    tcp_rcv_nxt: 4 = "tcp_sock" "rcv_nxt";

    /// Namespaces of a task.
    task_nsproxy: 8 = "task_struct" "nsproxy";
    /// Its network namespace.
    nsproxy_net: 8 = "nsproxy" "net_ns";
    /// The interfaces of a network namespace, hashed by index.
    net_interfaces: 8 = "net" "dev_index_head";
    /// A device's link in that hash table.
    netdev_index_link: 8 = "net_device" "index_hlist";
    /// Inode number of a network namespace, as `stat -L /proc/PID/ns/net` shows it.
    net_inum: 4 = "net" "ns.inum";

    /// Id of a page pool in the netdev netlink family.
    page_pool_id: 4 = "page_pool" "user.id";
    /// The device a page pool serves.
    page_pool_netdev: 8 = "page_pool" "slow.netdev";
    /// The operations of the memory provider that feeds it, if any.
    page_pool_provider: 8 = "page_pool" "mp_ops";
    /// What a memory provider keeps for a page pool: for zcrx its interface queue.
    page_pool_provider_state: 8 = "page_pool" "mp_priv";
    /// Buffers in a page pool's allocation cache.
    page_pool_cache: 4 = "page_pool" "alloc.count";
    /// The buffers themselves.
    page_pool_cached: 512 = "page_pool" "alloc.cache";
    /// Buffers a page pool took in.
    page_pool_held: 4 = "page_pool" "pages_state_hold_cnt";
    /// Buffers a page pool gave up.
    page_pool_released: 4 = "page_pool" "pages_state_release_cnt";
    /// The NAPI instance that uses a page pool.
    page_pool_napi: 8 = "page_pool" "p.napi";
    /// The id of a NAPI instance.
    napi_id: 4 = "napi_struct" "napi_id";
    /// A page pool's link in the list of its device.
    page_pool_link: 8 = "page_pool" "user.list";
    /// The first page pool of a device.
    netdev_page_pools: 8 = "net_device" "page_pools.first";
    /// A device's network namespace.
    netdev_net: 8 = "net_device" "nd_net.net";
    /// A device's interface index.
    netdev_ifindex: 4 = "net_device" "ifindex";
    /// A device's name, zero-terminated.
    netdev_name: 16 = "net_device" "name";
}
