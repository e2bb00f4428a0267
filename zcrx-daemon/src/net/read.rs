//! One interface, read from all its sources.

use super::{Link, NetError, Netlink, flow, ioctl};
use crate::model::{FlowRules, Interface, Reading, Setup};

/// Every interface of this namespace.
pub fn interfaces(netlink: &mut Netlink) -> Result<Vec<Interface>, NetError> {
    let links = netlink.links()?;
    Ok(links.into_iter().map(|link| interface_of(netlink, link)).collect())
}

/// One interface by name.
pub fn interface(netlink: &mut Netlink, name: &str) -> Result<Interface, NetError> {
    let link = netlink.link(name)?;
    Ok(interface_of(netlink, link))
}

fn interface_of(netlink: &mut Netlink, link: Link) -> Interface {
    let driver = ioctl::Ethtool::open(&link.name).and_then(|ethtool| ethtool.driver());
    let bus = driver.as_ref().ok().and_then(|(_, bus)| bus.clone());
    Interface {
        netns: ioctl::own_namespace().into(),
        driver: driver.map(|(name, _)| name).into(),
        bus,
        queues: netlink.queues(Some(link.index)).into(),
        setup: setup(netlink, link.index, &link.name),
        index: link.index,
        name: link.name,
        kind: link.kind,
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        xdp: link.xdp,
    }
}

/// What can be set of an interface, as it is now.
pub fn setup(netlink: &mut Netlink, ifindex: u32, name: &str) -> Setup {
    let (rss, rules) = match ioctl::Ethtool::open(name) {
        Ok(ethtool) => (ethtool.rss().into(), ethtool.rules().map(|rules| flow_rules(&rules)).into()),
        Err(error) => (Reading::Unknown(error.to_string()), Reading::Unknown(error.to_string())),
    };
    Setup {
        channels: netlink.channels(ifindex).into(),
        rings: netlink.rings(ifindex).into(),
        features: netlink.features(ifindex).into(),
        rss,
        rules,
    }
}

fn flow_rules(raw: &ioctl::RawRules) -> FlowRules {
    FlowRules {
        capacity: raw.capacity,
        driver_places: raw.driver_places,
        rules: raw
            .rules
            .iter()
            .map(|rule| flow::to_rule(&rule.spec, Some(rule.spec.location), rule.rss_context))
            .collect(),
    }
}
