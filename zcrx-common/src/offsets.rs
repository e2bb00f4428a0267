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

            /// Fills the table from `lookup(structure, dotted path)`.
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

    /// Namespaces of a task.
    task_nsproxy: 8 = "task_struct" "nsproxy";
    /// Its network namespace.
    nsproxy_net: 8 = "nsproxy" "net_ns";
    /// Inode number of a network namespace, as `stat -L /proc/PID/ns/net` shows it.
    net_inum: 4 = "net" "ns.inum";

    /// Id of a page pool in the netdev netlink family.
    page_pool_id: 4 = "page_pool" "user.id";
    /// The device a page pool serves.
    page_pool_netdev: 8 = "page_pool" "slow.netdev";
    /// The operations of the memory provider that feeds it, if any.
    page_pool_provider: 8 = "page_pool" "mp_ops";
    /// A device's interface index.
    netdev_ifindex: 4 = "net_device" "ifindex";
    /// A device's name, zero-terminated.
    netdev_name: 16 = "net_device" "name";
}
