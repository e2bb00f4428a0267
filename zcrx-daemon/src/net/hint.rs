//! Why a registration was refused, as far as the interface tells: the errno alone has many meanings.

use super::{NetError, Netlink, interface};
use crate::model::{HeaderSplit, Interface, MemoryProvider, Reading};

/// What is likely behind a refused registration of a queue, likeliest first, each with what mends it; the last
/// line says what was checked and found well.
///
/// `errno` is positive. Reads the interface as it is now, which may not be as it was when the kernel refused.
pub fn hint(name: &str, queue: u32, errno: i32) -> Vec<String> {
    match interface(&mut Netlink::new(), name) {
        Ok(interface) => hints(&interface, queue, errno),
        Err(error @ NetError::NoInterface(_)) => vec![error.to_string()],
        Err(error) => vec![format!("{name} could not be checked: {error}")],
    }
}

/// [`hint`] for an interface that was read.
fn hints(interface: &Interface, queue: u32, errno: i32) -> Vec<String> {
    // Each check holds the errnos it can explain; whatever is amiss is told, what explains this errno first.
    let checks = [
        (up(interface), &[libc::ENETDOWN][..]),
        (in_range(interface, queue), &[libc::ERANGE]),
        (header_split(interface), &[libc::EINVAL]),
        (threshold(interface), &[libc::EINVAL]),
        (xdp(interface), &[libc::EEXIST]),
        (provider(interface, queue), &[libc::EEXIST]),
        (af_xdp(interface, queue), &[libc::EBUSY]),
    ];
    let (mut likely, mut also, mut well) = (Vec::new(), Vec::new(), Vec::new());
    for (finding, explains) in checks {
        match finding {
            Finding::Amiss(text) if explains.contains(&errno) => likely.push(text),
            Finding::Amiss(text) => also.push(text),
            Finding::Unseen(text) if explains.contains(&errno) => likely.push(text),
            Finding::Unseen(_) => {}
            Finding::Well(text) => well.push(text),
        }
    }
    let mut hints = likely;
    if hints.is_empty() {
        hints.extend(beyond_sight(interface, queue, errno));
    }
    hints.extend(also.into_iter().map(|text| format!("amiss too: {text}")));
    if !well.is_empty() {
        hints.push(format!("checked and well on {}: {}", interface.name, well.join(", ")));
    }
    hints
}

enum Finding {
    Amiss(String),
    Unseen(String),
    Well(String),
}

fn up(interface: &Interface) -> Finding {
    let name = &interface.name;
    if interface.up {
        return Finding::Well("it is up".to_owned());
    }
    Finding::Amiss(format!("{name} is down: `ip link set {name} up`"))
}

fn in_range(interface: &Interface, queue: u32) -> Finding {
    let name = &interface.name;
    let count = match (&interface.setup.channels, &interface.queues) {
        (Reading::Known(channels), _) => channels.rx_queues(),
        (_, Reading::Known(queues)) if interface.up => queues.len() as u32,
        (Reading::Unknown(why), _) => {
            return Finding::Unseen(format!("how many receive queues {name} has cannot be seen ({why})"));
        }
    };
    if queue < count {
        return Finding::Well(format!("it has {count} receive queues"));
    }
    Finding::Amiss(format!(
        "{name} has {count} receive queues, 0 to {}: choose one of them, or `ethtool -L {name} combined {}`",
        count.saturating_sub(1),
        u64::from(queue) + 1
    ))
}

fn header_split(interface: &Interface) -> Finding {
    let name = &interface.name;
    match &interface.setup.rings {
        Reading::Known(rings) if rings.tcp_data_split == HeaderSplit::On => {
            Finding::Well("tcp-data-split is on".to_owned())
        }
        Reading::Known(rings) => Finding::Amiss(format!(
            "tcp-data-split of {name} is {}: `ethtool -G {name} tcp-data-split on`",
            rings.tcp_data_split.name()
        )),
        Reading::Unknown(why) => Finding::Unseen(format!("tcp-data-split of {name} cannot be seen ({why})")),
    }
}

fn threshold(interface: &Interface) -> Finding {
    let name = &interface.name;
    match interface.setup.rings.known().map(|rings| rings.hds_thresh) {
        Some(Some(0)) => Finding::Well("hds-thresh is 0".to_owned()),
        Some(Some(bytes)) => {
            Finding::Amiss(format!("hds-thresh of {name} is {bytes}: `ethtool -G {name} hds-thresh 0`"))
        }
        // A driver without the threshold has it at 0.
        Some(None) | None => {
            Finding::Unseen(format!("hds-thresh of {name} is not told; where there is none it is 0"))
        }
    }
}

fn xdp(interface: &Interface) -> Finding {
    let name = &interface.name;
    match interface.xdp.first() {
        None => Finding::Well("no XDP program is attached".to_owned()),
        Some(program) => Finding::Amiss(format!(
            "XDP program {} is attached to {name}: see whose it is (`bpftool net`), then `ip link set {name} xdp off`",
            program.id
        )),
    }
}

fn provider(interface: &Interface, queue: u32) -> Finding {
    let Some(queue) = known_queue(interface, queue) else { return unseen_owner(interface) };
    let by = match queue.provider {
        None => return Finding::Well(format!("queue {} has no memory provider", queue.id)),
        Some(MemoryProvider::IoUring { .. }) => "a zcrx queue",
        Some(MemoryProvider::Dmabuf { .. }) => "device memory",
    };
    Finding::Amiss(format!(
        "queue {} of {} is taken by {by}: stop its owner and wait a moment, for teardown is deferred, or choose \
         another queue",
        queue.id, interface.name
    ))
}

fn af_xdp(interface: &Interface, queue: u32) -> Finding {
    match known_queue(interface, queue) {
        Some(queue) if queue.af_xdp => Finding::Amiss(format!(
            "an AF_XDP socket has queue {} of {}: stop its owner or choose another queue",
            queue.id, interface.name
        )),
        Some(queue) => Finding::Well(format!("no AF_XDP socket has queue {}", queue.id)),
        None => unseen_owner(interface),
    }
}

fn known_queue(interface: &Interface, queue: u32) -> Option<&crate::model::RxQueue> {
    interface.queues.known()?.iter().find(|known| known.id == queue)
}

fn unseen_owner(interface: &Interface) -> Finding {
    Finding::Unseen(format!("who has that queue of {} cannot be seen", interface.name))
}

/// What no look at the interface can tell.
fn beyond_sight(interface: &Interface, queue: u32, errno: i32) -> Option<String> {
    let name = &interface.name;
    let driver = interface.driver.known().map_or("its driver", String::as_str);
    Some(match errno {
        libc::EOPNOTSUPP => format!(
            "whether {driver} can hand a queue of {name} to zcrx (queue management operations, a DMA device) cannot be \
             seen from user space: bnxt_en, fbnic, gve and mlx5_core can; or this kernel lacks CONFIG_IO_URING_ZCRX"
        ),
        libc::EINVAL => format!(
            "nothing is amiss with {name} itself. If header split is the driver's own choice, ask for it: `ethtool -G \
             {name} tcp-data-split off`, then `on`. Else the request is at fault, or {driver} rejects its buffer size"
        ),
        libc::EEXIST => format!(
            "queue {queue} of {name} is free now: its last owner may have been on its way out, or the call came from \
             another thread than the ring's own"
        ),
        libc::EBUSY => format!(
            "a virtual interface may have leased queue {queue} of {name}; on Linux 6.15 a ring takes one queue only"
        ),
        libc::ENETDOWN => format!("{name} is up now; it, or its rings, were not then: try again"),
        libc::ERANGE => format!(
            "queue {queue} exists on {name}: then the buffer size asked for is beyond what {driver} or the area's \
             memory can do; leave it at the page size"
        ),
        libc::ENODATA => format!(
            "{driver} built no page pool for queue {queue} of {name}: choose a queue that it feeds by one \
             (`zcrxd nic show {name}`)"
        ),
        libc::ENODEV => {
            format!("{name} is here now; the program may have looked in another network namespace")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Channels, Rings, RxQueue, Setup, XdpMode, XdpProgram};

    /// Ready for zcrx: whatever a test needs amiss it breaks.
    fn ready() -> Interface {
        let rings = Rings {
            rx: Some(256),
            rx_max: Some(4096),
            tx: None,
            tx_max: None,
            rx_buf_len: None,
            tcp_data_split: HeaderSplit::On,
            hds_thresh: Some(0),
            hds_thresh_max: Some(1024),
        };
        let queue = |id| RxQueue { ifindex: 2, id, napi_id: Some(8000 + id), provider: None, af_xdp: false };
        Interface {
            index: 2,
            name: "eth0".to_owned(),
            netns: Reading::Unknown("not asked".to_owned()),
            kind: None,
            driver: Reading::Known("bnxt_en".to_owned()),
            bus: None,
            mac: None,
            mtu: None,
            up: true,
            xdp: Vec::new(),
            queues: Reading::Known((0..4).map(queue).collect()),
            setup: Setup {
                channels: Reading::Known(Channels { combined: 4, combined_max: 8, ..Channels::default() }),
                rings: Reading::Known(rings),
                features: Reading::Known(BTreeMap::new()),
                rss: Reading::Unknown("not asked".to_owned()),
                rules: Reading::Unknown("not asked".to_owned()),
            },
        }
    }

    fn broken(breakage: impl FnOnce(&mut Interface)) -> Interface {
        let mut interface = ready();
        breakage(&mut interface);
        interface
    }

    fn rings(interface: &mut Interface) -> Option<&mut Rings> {
        match &mut interface.setup.rings {
            Reading::Known(rings) => Some(rings),
            Reading::Unknown(_) => None,
        }
    }

    fn queue_one(interface: &mut Interface) -> Option<&mut RxQueue> {
        match &mut interface.queues {
            Reading::Known(queues) => queues.get_mut(1),
            Reading::Unknown(_) => None,
        }
    }

    #[test]
    fn what_explains_the_errno_comes_first_with_its_mend() {
        let split_off = broken(|interface| {
            if let Some(rings) = rings(interface) {
                rings.tcp_data_split = HeaderSplit::Off;
            }
        });
        let threshold = broken(|interface| {
            if let Some(rings) = rings(interface) {
                rings.hds_thresh = Some(256);
            }
        });
        let xdp = broken(|interface| interface.xdp = vec![XdpProgram { mode: XdpMode::Native, id: 77 }]);
        let bound = broken(|interface| {
            if let Some(queue) = queue_one(interface) {
                queue.provider = Some(MemoryProvider::IoUring { rx_buf_len: None });
            }
        });
        let af_xdp = broken(|interface| {
            if let Some(queue) = queue_one(interface) {
                queue.af_xdp = true;
            }
        });
        let down = broken(|interface| interface.up = false);
        for (interface, queue, errno, mend) in [
            (
                &split_off,
                1,
                libc::EINVAL,
                "tcp-data-split of eth0 is off: `ethtool -G eth0 tcp-data-split on`",
            ),
            (&threshold, 1, libc::EINVAL, "hds-thresh of eth0 is 256: `ethtool -G eth0 hds-thresh 0`"),
            (&xdp, 1, libc::EEXIST, "`ip link set eth0 xdp off`"),
            (&bound, 1, libc::EEXIST, "queue 1 of eth0 is taken by a zcrx queue"),
            (&af_xdp, 1, libc::EBUSY, "an AF_XDP socket has queue 1"),
            (&ready(), 9, libc::ERANGE, "0 to 3: choose one of them, or `ethtool -L eth0 combined 10`"),
            (&down, 1, libc::ENETDOWN, "`ip link set eth0 up`"),
        ] {
            let hints = hints(interface, queue, errno);
            assert!(hints.first().is_some_and(|first| first.contains(mend)), "{errno}: {hints:?}");
        }
    }

    #[test]
    fn where_all_is_well_it_says_what_cannot_be_seen() {
        for (errno, word) in [
            (libc::EOPNOTSUPP, "cannot be seen from user space"),
            (libc::EINVAL, "nothing is amiss with eth0"),
            (libc::EEXIST, "free now"),
            (libc::EBUSY, "leased"),
            (libc::ERANGE, "buffer size"),
            (libc::ENODATA, "no page pool"),
        ] {
            let hints = hints(&ready(), 1, errno);
            assert!(hints.first().is_some_and(|first| first.contains(word)), "{errno}: {hints:?}");
            assert!(hints.last().is_some_and(|last| last.starts_with("checked and well on eth0: it is up")));
        }
        // Memory limits are nothing an interface could explain.
        assert_eq!(hints(&ready(), 1, libc::ENOMEM).len(), 1);
    }

    #[test]
    fn what_is_amiss_without_explaining_the_errno_is_told_after() {
        let interface = broken(|interface| interface.up = false);
        let hints = hints(&interface, 9, libc::ERANGE);
        assert!(hints[0].contains("has 4 receive queues") && hints[1].starts_with("amiss too: eth0 is down"));
    }

    #[test]
    fn an_interface_that_is_not_there_is_the_whole_answer() {
        assert!(hint("no-such-if0", 0, libc::ENODEV).concat().contains("no interface \"no-such-if0\""));
    }
}
