//! The differences between the first description of an interface queue and the kernels since, each with a name.

use std::fs;

use anyhow::Context;

use crate::kernel::Target;

/// A kernel version as far as it matters: 6.15, 7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// The running kernel's.
    ///
    /// What a kernel can do is never derived from this; here it is what is being examined: the rows below say from
    /// which version on a kernel differs, and a kernel that differs earlier or later proves the row wrong.
    pub(crate) fn running() -> anyhow::Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
        let mut numbers = release.split(['.', '-']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self(major, minor)),
            _ => anyhow::bail!("the kernel's release cannot be read: {release}"),
        }
    }
}

/// What the kernel does where the software queue does something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the peculiarity is allowed.
    Accepted,
    /// Refuses with this errno.
    Refused(i32),
}

/// One difference in how requests are judged.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Its name in the documentation.
    pub(crate) name: &'static str,
    /// The peculiarities of a request that it is about, by their names.
    pub(crate) spoils: &'static [&'static str],
    /// The first kernel that differs.
    pub(crate) since: Version,
    /// On which targets.
    pub(crate) on: fn(Target) -> bool,
    /// What the kernel does.
    pub(crate) verdict: Verdict,
    /// What the software queue does.
    pub(crate) software: &'static str,
    /// Why.
    pub(crate) why: &'static str,
}

const FIRST: Version = Version(6, 15);

const fn anywhere(_: Target) -> bool {
    true
}

const fn on_device(target: Target) -> bool {
    matches!(target, Target::Device { .. })
}

const fn with_one_size(target: Target) -> bool {
    matches!(target, Target::Device { sizes: false, .. })
}

const fn not_with_one_size(target: Target) -> bool {
    !with_one_size(target)
}

const fn on_loopback(target: Target) -> bool {
    matches!(target, Target::Loopback { .. })
}

const fn beyond_loopback(target: Target) -> bool {
    !on_loopback(target)
}

const fn not_on_device(target: Target) -> bool {
    !on_device(target)
}

/// All of them.
pub(crate) const ALL: &[Difference] = &[
    Difference {
        name: "many-queues",
        spoils: &["a second queue on the ring"],
        since: Version(6, 16),
        on: not_on_device,
        verdict: Verdict::Accepted,
        software: "EBUSY",
        why: "a ring may have many queues; up to 6.15 the second is EBUSY",
    },
    Difference {
        name: "many-queues-one-provider",
        spoils: &["a second queue on the ring"],
        since: Version(6, 16),
        on: on_device,
        verdict: Verdict::Refused(libc::EEXIST),
        software: "EBUSY",
        why: "a ring may have many queues, but a hardware queue has one memory provider",
    },
    Difference {
        name: "mixed-completions",
        spoils: &["CQE_MIXED instead of CQE32"],
        since: Version(6, 18),
        on: anywhere,
        verdict: Verdict::Accepted,
        software: "EINVAL",
        why: "rings with completions of both sizes will do",
    },
    Difference {
        name: "buffer-size",
        spoils: &["rx_buf_len of a page"],
        since: Version(7, 0),
        on: not_with_one_size,
        verdict: Verdict::Accepted,
        software: "EINVAL",
        why: "a reserved field became the size of a buffer",
    },
    Difference {
        name: "buffer-size-of-one",
        spoils: &["rx_buf_len of a page"],
        since: Version(7, 0),
        on: with_one_size,
        verdict: Verdict::Refused(libc::EOPNOTSUPP),
        software: "EINVAL",
        why: "this driver (gve, fbnic) has no sizes to choose from, and refuses also the one it has",
    },
    Difference {
        name: "buffer-size-judged-late",
        spoils: &["rx_buf_len no power of two"],
        since: Version(7, 0),
        on: on_loopback,
        verdict: Verdict::Accepted,
        software: "EINVAL",
        why: "the size of a buffer is judged with the area, after the interface",
    },
    Difference {
        name: "buffer-size-order",
        spoils: &["rx_buf_len no power of two"],
        since: Version(7, 0),
        on: beyond_loopback,
        verdict: Verdict::Refused(libc::EINVAL),
        software: "EINVAL",
        why: "the same, but judged with the area, after the region",
    },
    Difference {
        name: "import-first",
        spoils: &["flag IMPORT"],
        since: Version(6, 19),
        on: anywhere,
        verdict: Verdict::Refused(libc::EINVAL),
        software: "EINVAL",
        why: "the same, but judged before what it is given with: an imported queue brings its own ring and area",
    },
    Difference {
        name: "events",
        spoils: &["event_desc not readable"],
        since: Version(7, 2),
        on: anywhere,
        verdict: Verdict::Refused(libc::EFAULT),
        software: "EINVAL",
        why: "a reserved field became a pointer to what events are wanted",
    },
    Difference {
        name: "area-pinned",
        spoils: &["area not mapped"],
        since: FIRST,
        on: beyond_loopback,
        verdict: Verdict::Refused(libc::EFAULT),
        software: "nothing",
        why: "the kernel pins the area's pages; the software queue touches none of them",
    },
];

/// What a request is judged by that has all of these peculiarities; each alone is judged as above.
pub(crate) const TOGETHER: &[Difference] = &[Difference {
    name: "import-of-no-queue",
    spoils: &["flag IMPORT", "no entries", "region pointer null", "area pointer null"],
    since: Version(6, 19),
    on: anywhere,
    verdict: Verdict::Refused(libc::EBADF),
    software: "EFAULT",
    why: "just what an import looks like: the interface's index is then a file descriptor, and not that of a queue",
}];

impl Difference {
    /// Whether this kernel differs so on this target.
    pub(crate) fn applies(&self, running: Version, target: Target) -> bool {
        running >= self.since && (self.on)(target)
    }
}

/// Where head, tail and the first entry are, by kernel: the software queue has them as the first version did.
pub(crate) const GEOMETRY: &[(Version, [u32; 3], &str)] = &[
    (FIRST, [0, 4, 64], "the header is padded to a cache line"),
    (Version(7, 3), [0, 64, 128], "head and tail are on cache lines of their own"),
];

/// The offsets on this kernel.
pub(crate) fn geometry(running: Version) -> [u32; 3] {
    GEOMETRY.iter().rev().find(|(since, ..)| running >= *since).map_or([0, 4, 8], |(_, offsets, _)| *offsets)
}

/// One difference in the order of checks.
#[derive(Debug)]
pub(crate) struct Order {
    /// Its name in the documentation.
    pub(crate) name: &'static str,
    /// The first kernel that differs.
    pub(crate) since: Version,
    /// On which targets.
    pub(crate) on: fn(Target) -> bool,
    /// What kernels look at first: peculiarities by name.
    pub(crate) first: &'static [&'static str],
    /// What they look at only then; the software queue does it the other way round.
    pub(crate) then: &'static [&'static str],
    /// Describes both.
    pub(crate) words: &'static str,
}

/// All of them.
pub(crate) const ORDERS: &[Order] = &[
    Order {
        name: "fields-before-region",
        since: Version(6, 19),
        on: anywhere,
        first: &[
            "zcrx_id set",
            "rx_buf_len of a page",
            "rx_buf_len no power of two",
            "event_desc not readable",
            "first reserved word set",
            "last reserved word set",
        ],
        then: REGION_POINTER,
        words: "fields that must be zero, before the region is read",
    },
    Order {
        name: "flags-before-region",
        since: Version(7, 1),
        on: anywhere,
        first: &["unknown flag"],
        then: REGION_POINTER,
        words: "flags, before the region is read",
    },
    Order {
        name: "area-before-region",
        since: Version(7, 3),
        on: beyond_loopback,
        first: &["area with a token"],
        then: &[
            "region of 2^62 bytes",
            "region beyond the address space",
            "region the kernel's, with an address",
            "region the user's, without an address",
        ],
        words: "the area's token, before the region is judged",
    },
];

const REGION_POINTER: &[&str] = &["region pointer null", "region not readable"];

/// The differences in order that apply to this kernel and target.
pub(crate) fn orders(running: Version, target: Target) -> impl Iterator<Item = &'static Order> {
    ORDERS.iter().filter(move |order| running >= order.since && (order.on)(target))
}

/// Differences in the handling of refill entries: since when, what kernels do, what the software queue does.
pub(crate) const ENTRIES: &[(&str, Version, &str, &str)] = &[
    (
        "flush-stops-at-malformed",
        Version(6, 19),
        "FLUSH_RQ consumes up to and including the first entry that names no buffer, and says nothing; called again, it \
         goes on",
        "consumes all",
    ),
    (
        "side-by-side-doubles-lose",
        Version(7, 3),
        "where a NIC's allocation consumes them (FLUSH_RQ does not), two entries for one buffer side by side are joined \
         and found to be more than its references; neither is honoured, and the buffer is lost until the queue goes: \
         scenario `starved-by-double-returns`",
        "the second is ignored, as by kernels before",
    ),
];
