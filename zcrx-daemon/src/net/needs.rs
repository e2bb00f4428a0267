//! What zcrx needs of an interface, need by need, and how each is met now.

use super::driver::Driver;
use super::step::NTUPLE;
use super::target::is_combined;
use crate::model::{HeaderSplit, Interface, MemoryProvider, Reading, RxQueue};

/// How one need is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is met; says what was found.
    Well(String),
    /// It is not.
    Amiss {
        /// What was found.
        found: String,
        /// What remedies it.
        remedy: String,
    },
    /// It cannot be seen; says why.
    Unseen(String),
}

fn unmet(found: impl Into<String>, remedy: impl Into<String>) -> Condition {
    Condition::Amiss { found: found.into(), remedy: remedy.into() }
}

/// The interface is up.
pub(crate) fn up(interface: &Interface) -> Condition {
    let name = &interface.name;
    if interface.up {
        return Condition::Well("it is up".to_owned());
    }
    unmet(format!("{name} is down"), format!("`ip link set {name} up`"))
}

/// How many receive queues there are, where that can be seen.
pub(crate) fn queue_count(interface: &Interface) -> Result<u32, String> {
    match (&interface.setup.channels, &interface.queues) {
        (Reading::Known(channels), _) => Ok(channels.rx_queues()),
        (_, Reading::Known(queues)) if interface.up => Ok(queues.len() as u32),
        (Reading::Unknown(why), _) => Err(why.clone()),
    }
}

/// The interface has a queue for zcrx and one for ordinary traffic.
pub(crate) fn enough_queues(interface: &Interface) -> Condition {
    let name = &interface.name;
    match queue_count(interface) {
        Ok(count) if count >= 2 => Condition::Well(format!("it has {count} receive queues")),
        Ok(count) => unmet(
            format!("{name} has {count} receive queue, and one is always left to ordinary traffic"),
            format!("`ethtool -L {name} {} 2`, where the NIC has more", channel_word(interface)),
        ),
        Err(why) => Condition::Unseen(format!("how many receive queues {name} has cannot be seen ({why})")),
    }
}

/// The interface has that queue.
pub(crate) fn in_range(interface: &Interface, queue: u32) -> Condition {
    let name = &interface.name;
    match queue_count(interface) {
        Ok(count) if queue < count => Condition::Well(format!("it has {count} receive queues")),
        Ok(count) => unmet(
            format!("{name} has {count} receive queues, 0 to {}", count.saturating_sub(1)),
            format!(
                "choose one of them, or `ethtool -L {name} {} {}`",
                channel_word(interface),
                u64::from(queue) + 1
            ),
        ),
        Err(why) => Condition::Unseen(format!("how many receive queues {name} has cannot be seen ({why})")),
    }
}

/// ethtool's word for the channels that carry receive queues.
fn channel_word(interface: &Interface) -> &'static str {
    match interface.setup.channels.known() {
        Some(channels) if !is_combined(channels) => "rx",
        _ => "combined",
    }
}

/// The driver can give that queue away.
pub(crate) fn given_by_driver(interface: &Interface, queue: u32) -> Condition {
    let Some(driver) = interface.driver.known().map(|name| Driver::named(name)) else {
        return Condition::Unseen("the driver is unknown".to_owned());
    };
    if let Some((found, remedy)) = driver.refuses(&interface.name, queue) {
        return unmet(found, remedy);
    }
    Condition::Well(format!("{} has no objection to queue {queue}", or_driver(driver.name)))
}

const fn or_driver(name: &str) -> &str {
    if name.is_empty() { "its driver" } else { name }
}

/// TCP headers and payload go to different buffers. Drivers report what is in force; the kernel asks for what is
/// configured, which only a queue that zcrx holds proves.
pub(crate) fn header_split(interface: &Interface) -> Condition {
    let name = &interface.name;
    let ask = format!(
        "`ethtool -G {name} tcp-data-split on`, which changes nothing where it is configured (`zcrxd nic apply` does it)"
    );
    match &interface.setup.rings {
        Reading::Known(rings) if rings.tcp_data_split == HeaderSplit::On => {
            let mut queues = interface.queues.known().into_iter().flatten();
            if rings.split_configured == Some(HeaderSplit::On) || queues.any(|queue| queue.provider.is_some())
            {
                return Condition::Well("tcp-data-split is on".to_owned());
            }
            let driver = interface.driver.known().map_or("the driver", String::as_str);
            Condition::Unseen(format!(
                "tcp-data-split of {name} is reported on, which may be {driver}'s own choice; zcrx needs it configured: \
                 {ask}"
            ))
        }
        Reading::Known(rings) => unmet(
            format!("tcp-data-split of {name} is {}", rings.tcp_data_split.name()),
            format!("`ethtool -G {name} tcp-data-split on`"),
        ),
        Reading::Unknown(why) => {
            Condition::Unseen(format!("tcp-data-split of {name} cannot be read ({why})"))
        }
    }
}

/// The feature that the driver's header split depends on is on.
pub(crate) fn split_feature(interface: &Interface) -> Condition {
    let name = &interface.name;
    let driver = interface.driver.known().map_or(Driver::GENERIC, |name| Driver::named(name));
    let Some(feature) = driver.split_needs else {
        return Condition::Well("header split depends on no other feature".to_owned());
    };
    match interface.setup.features.known().and_then(|features| features.get(feature)) {
        Some(state) if state.active => Condition::Well(format!("{feature} is on")),
        Some(_) => unmet(
            format!("{feature} of {name} is off, and {} splits headers only with it", driver.name),
            format!("`ethtool -K {name} {feature} on`"),
        ),
        None => Condition::Unseen(format!("{feature} of {name} cannot be read")),
    }
}

/// Small packets are split too.
pub(crate) fn threshold(interface: &Interface) -> Condition {
    let name = &interface.name;
    match interface.setup.rings.known().map(|rings| rings.hds_thresh) {
        Some(Some(0)) => Condition::Well("hds-thresh is 0".to_owned()),
        Some(Some(bytes)) => {
            unmet(format!("hds-thresh of {name} is {bytes}"), format!("`ethtool -G {name} hds-thresh 0`"))
        }
        // A driver without the threshold has it at 0.
        Some(None) | None => {
            Condition::Unseen(format!("hds-thresh of {name} is not reported; where there is none it is 0"))
        }
    }
}

/// Flows can be sent to a queue by rule.
pub(crate) fn steering(interface: &Interface) -> Condition {
    let name = &interface.name;
    match &interface.setup.features {
        Reading::Known(features) => match features.get(NTUPLE) {
            Some(feature) if feature.active => Condition::Well("flows can be steered by rule".to_owned()),
            Some(feature) if !feature.fixed => unmet(
                format!("flow steering of {name} is off"),
                format!("`ethtool -K {name} ntuple on`, or `zcrxd nic apply` with --flow"),
            ),
            Some(_) | None => unmet(
                format!("{name} cannot steer flows by rule"),
                "let RSS spread over the zcrx queues alone, or open connections until they arrive there",
            ),
        },
        Reading::Unknown(why) => {
            Condition::Unseen(format!("whether {name} can steer flows cannot be seen ({why})"))
        }
    }
}

/// No XDP program is in the way.
pub(crate) fn xdp(interface: &Interface) -> Condition {
    let name = &interface.name;
    match interface.xdp.first() {
        None => Condition::Well("no XDP program is attached".to_owned()),
        Some(program) => unmet(
            format!("XDP program {} is attached to {name}", program.id),
            format!("find the program's owner (`bpftool net`), then `ip link set {name} xdp off`"),
        ),
    }
}

/// User of a queue, as text; `None` if the driver feeds the queue.
pub(crate) fn taken_by(queue: &RxQueue) -> Option<&'static str> {
    match queue.provider {
        Some(MemoryProvider::IoUring { .. }) => Some("a zcrx queue"),
        Some(MemoryProvider::Dmabuf { .. }) => Some("device memory"),
        None => queue.af_xdp.then_some("an AF_XDP socket"),
    }
}

/// The queue has no memory provider yet.
pub(crate) fn provider(interface: &Interface, queue: u32) -> Condition {
    let Some(queue) = known_queue(interface, queue) else { return unseen_owner(interface) };
    match taken_by(queue).filter(|_| queue.provider.is_some()) {
        None => Condition::Well(format!("queue {} has no memory provider", queue.id)),
        Some(by) => unmet(
            format!("queue {} of {} is taken by {by}", queue.id, interface.name),
            "stop its owner and wait a moment, for teardown is deferred, or choose another queue",
        ),
    }
}

/// No AF_XDP socket has the queue.
pub(crate) fn af_xdp(interface: &Interface, queue: u32) -> Condition {
    match known_queue(interface, queue) {
        Some(queue) if queue.af_xdp => unmet(
            format!("an AF_XDP socket has queue {} of {}", queue.id, interface.name),
            "stop its owner or choose another queue",
        ),
        Some(queue) => Condition::Well(format!("no AF_XDP socket has queue {}", queue.id)),
        None => unseen_owner(interface),
    }
}

fn known_queue(interface: &Interface, queue: u32) -> Option<&RxQueue> {
    interface.queues.known()?.iter().find(|known| known.id == queue)
}

fn unseen_owner(interface: &Interface) -> Condition {
    Condition::Unseen(format!("who has that queue of {} cannot be seen", interface.name))
}

#[cfg(test)]
pub(crate) mod fixture {
    use std::collections::BTreeMap;

    use crate::model::{Channels, HeaderSplit, Interface, Reading, Rings, RxQueue, Setup};

    /// An interface that is ready for zcrx; each test breaks one setting of it.
    pub(crate) fn ready() -> Interface {
        let rings = Rings {
            rx: Some(256),
            rx_max: Some(4096),
            tx: None,
            tx_max: None,
            rx_buf_len: None,
            tcp_data_split: HeaderSplit::On,
            hds_thresh: Some(0),
            hds_thresh_max: Some(1024),
            rx_jumbo: None,
            rx_jumbo_max: None,
            split_configured: Some(HeaderSplit::On),
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
            pause: None,
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
}
