//! Explains a refused registration by the state of the interface: the errno alone has many meanings.

use super::driver::Driver;
use super::needs::{self, Condition};
use super::{NetError, Netlink, interface};
use crate::model::Interface;

/// What is likely behind a refused registration of a queue, likeliest first, each with what remedies it; the last
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
    // Each check lists the errnos that it can explain. All failed checks are reported, those that explain this errno first.
    let checks = [
        (needs::up(interface), &[libc::ENETDOWN][..]),
        (needs::in_range(interface, queue), &[libc::ERANGE]),
        (needs::given_by_driver(interface, queue), &[libc::ERANGE]),
        (needs::split_feature(interface), &[libc::EINVAL]),
        (needs::header_split(interface), &[libc::EINVAL]),
        (needs::threshold(interface), &[libc::EINVAL]),
        (needs::xdp(interface), &[libc::EEXIST]),
        (needs::provider(interface, queue), &[libc::EEXIST]),
        (needs::af_xdp(interface, queue), &[libc::EBUSY]),
    ];
    let (mut likely, mut also, mut well) = (Vec::new(), Vec::new(), Vec::new());
    for (condition, explains) in checks {
        let here = explains.contains(&errno);
        match condition {
            Condition::Amiss { found, remedy } if here => likely.push(format!("{found}: {remedy}")),
            Condition::Amiss { found, remedy } => also.push(format!("{found}: {remedy}")),
            Condition::Unseen(found) if here => likely.push(found),
            Condition::Unseen(_) => {}
            Condition::Well(found) => well.push(found),
        }
    }
    let mut hints = likely;
    if hints.is_empty() {
        hints.extend(beyond_sight(interface, queue, errno));
    }
    hints.extend(also.into_iter().map(|text| format!("also wrong: {text}")));
    if !well.is_empty() {
        hints.push(format!("checked and right on {}: {}", interface.name, well.join(", ")));
    }
    hints
}

/// Explanations that the state of the interface does not show.
fn beyond_sight(interface: &Interface, queue: u32, errno: i32) -> Option<String> {
    let name = &interface.name;
    let driver = interface.driver.known().map_or("its driver", String::as_str);
    let known = interface.driver.known().map_or(Driver::GENERIC, |name| Driver::named(name));
    Some(match errno {
        libc::EOPNOTSUPP if known.gives_queues == Some(false) => format!(
            "{driver} has no queue management operations up to Linux 7.3, so zcrx cannot have a queue of {name}: use the \
             copying backend, or a NIC with bnxt_en, fbnic, gve or mlx5_core"
        ),
        libc::EOPNOTSUPP => format!(
            "whether {driver} can give a queue of {name} to zcrx (queue management operations, a DMA device) cannot be read \
             from user space: bnxt_en, fbnic, gve and mlx5_core can; or this kernel lacks CONFIG_IO_URING_ZCRX"
        ),
        libc::EINVAL => format!(
            "nothing is wrong with {name} itself: the request is at fault, or {driver} rejects its buffer size"
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
    use super::*;
    use crate::model::{HeaderSplit, MemoryProvider, Reading, Rings, RxQueue, XdpMode, XdpProgram};
    use crate::net::needs::fixture::ready;

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
    fn what_explains_the_errno_comes_first_with_its_remedy() {
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
        for (interface, queue, errno, remedy) in [
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
            assert!(hints.first().is_some_and(|first| first.contains(remedy)), "{errno}: {hints:?}");
        }
    }

    #[test]
    fn where_all_is_well_it_says_what_cannot_be_seen() {
        for (errno, word) in [
            (libc::EOPNOTSUPP, "cannot be read from user space"),
            (libc::EINVAL, "nothing is wrong with eth0"),
            (libc::EEXIST, "free now"),
            (libc::EBUSY, "leased"),
            (libc::ERANGE, "buffer size"),
            (libc::ENODATA, "no page pool"),
        ] {
            let hints = hints(&ready(), 1, errno);
            assert!(hints.first().is_some_and(|first| first.contains(word)), "{errno}: {hints:?}");
            assert!(hints.last().is_some_and(|last| last.starts_with("checked and right on eth0: it is up")));
        }
        // Memory limits are nothing an interface could explain.
        assert_eq!(hints(&ready(), 1, libc::ENOMEM).len(), 1);
    }

    #[test]
    fn what_is_amiss_without_explaining_the_errno_is_told_after() {
        let interface = broken(|interface| interface.up = false);
        let hints = hints(&interface, 9, libc::ERANGE);
        assert!(
            hints[0].contains("has 4 receive queues") && hints[1].starts_with("also wrong: eth0 is down")
        );
    }

    #[test]
    fn a_reported_split_is_no_proof_that_it_is_configured() {
        let reported = broken(|interface| {
            if let Some(rings) = rings(interface) {
                rings.split_configured = None;
            }
            interface.driver = Reading::Known("fbnic".to_owned());
        });
        let hints = hints(&reported, 1, libc::EINVAL);
        assert!(hints[0].contains("may be fbnic's own choice"), "{hints:?}");
        assert!(hints[0].contains("`ethtool -G eth0 tcp-data-split on`"), "{hints:?}");
        assert!(!hints.concat().contains("tcp-data-split off"), "fbnic refuses off: {hints:?}");
    }

    #[test]
    fn the_driver_explains_what_it_refuses() {
        let driven = |driver: &str| broken(|interface| interface.driver = Reading::Known(driver.to_owned()));
        let gve = hints(&driven("gve"), 0, libc::ERANGE);
        assert!(gve[0].contains("choose queue 1"), "{gve:?}");
        let ice = hints(&driven("ice"), 1, libc::EOPNOTSUPP);
        assert!(ice[0].starts_with("ice has no queue management"), "{ice:?}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_the_whole_answer() {
        assert!(hint("no-such-if0", 0, libc::ENODEV).concat().contains("no interface \"no-such-if0\""));
    }
}
