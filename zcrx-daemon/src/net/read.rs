//! One interface, read from all its sources.

use std::collections::BTreeMap;

use super::{Link, NetError, Netlink, flow, ioctl};
use crate::model::{FlowRules, Interface, Reading, Rss, Setup};

/// Every interface of this namespace.
pub fn interfaces(netlink: &mut Netlink) -> Result<Vec<Interface>, NetError> {
    let links = netlink.links()?;
    Ok(links.into_iter().map(|link| interface_of(netlink, link)).collect())
}

/// One interface by its name or an alternative name.
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
        pause: netlink.pause(link.index).ok(),
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

/// RSS and flow rules of an interface as they are now, and nothing else: cheap enough to ask for every few seconds.
pub fn steering(name: &str) -> Result<Steering, NetError> {
    let name = Netlink::new().link(name)?.name;
    let ethtool = ioctl::Ethtool::open(&name)?;
    Ok(Steering { rss: ethtool.rss(0).into(), rules: ethtool.rules().map(|rules| flow_rules(&rules)).into() })
}

/// Which queue a packet goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Receive side scaling, without the tables of other contexts.
    pub rss: Reading<Rss>,
    /// Flow rules.
    pub rules: Reading<FlowRules>,
}

/// What can be set of an interface, as it is now.
pub fn setup(netlink: &mut Netlink, ifindex: u32, name: &str) -> Setup {
    let (rss, rules) = match ioctl::Ethtool::open(name) {
        Ok(ethtool) => {
            let raw = ethtool.rules();
            let rss = ethtool.rss(0).map(|rss| Rss {
                contexts: raw.as_ref().map_or_else(|_| BTreeMap::new(), |raw| contexts(&ethtool, raw)),
                ..rss
            });
            (rss.into(), raw.map(|rules| flow_rules(&rules)).into())
        }
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

/// Tables of the RSS contexts that rules spread over; one that cannot be read is left out.
fn contexts(ethtool: &ioctl::Ethtool, raw: &ioctl::RawRules) -> BTreeMap<u32, Vec<u32>> {
    let used = raw.rules.iter().filter_map(|rule| flow::context_of(&rule.spec, rule.rss_context));
    used.filter(|context| *context != 0)
        .filter_map(|context| Some((context, ethtool.rss(context).ok()?.table)))
        .collect()
}
