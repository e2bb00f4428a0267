//! A real interface, as something to take steps on.

use super::apply::{Device, Keep};
use super::driver::Driver;
use super::header_split::{self, RingRequests};
use super::journal::{Identity, Journal, JournalError, Store};
use super::rings_watch::RingsWatch;
use super::rss::Spread;
use super::step::{Step, Taken, rx_queues};
use super::{NetError, Netlink, flow, ioctl, setup, unhex};
use crate::model::{FlowRule, HeaderSplit, Interface, Reading, Setup};

/// An interface of this namespace, identified by its index: a rename does not matter.
pub struct Nic {
    netlink: Netlink,
    index: u32,
    name: String,
    driver: Driver,
    /// Header split that was configured through this handle.
    split_configured: Option<HeaderSplit>,
    watch: Option<RingsWatch>,
}

impl Nic {
    /// A handle on an interface that was read before.
    pub fn new(interface: &Interface) -> Self {
        let mut netlink = Netlink::new();
        // Without it zcrxd knows less and sets the same.
        let watch = RingsWatch::open(&mut netlink).ok();
        let driver = interface.driver.known().map_or(Driver::GENERIC, |name| Driver::named(name));
        let (index, name) = (interface.index, interface.name.clone());
        Self { netlink, index, name, driver, split_configured: None, watch }
    }

    fn ethtool(&self) -> Result<ioctl::Ethtool, NetError> {
        ioctl::Ethtool::open(&self.name)
    }

    fn set_rss(&mut self, spread: &Spread) -> Result<(), NetError> {
        let ethtool = self.ethtool()?;
        // An empty table asks the driver for its default.
        let table = match spread {
            Spread::Default => Vec::new(),
            other => other.table(ethtool.rss(0)?.table.len(), rx_queues(&self.read()?)),
        };
        ethtool.set_rss_table(&table)
    }

    /// Adds a rule where it is wanted; a driver that places rules itself may insist on that.
    fn insert_rule(&mut self, rule: &FlowRule) -> Result<u32, NetError> {
        let spec = flow::spec_of(rule).ok_or_else(|| NetError::Unreadable {
            what: format!("add flow rule {}", rule.text),
            reason: "its spec is no ethtool_rx_flow_spec",
        })?;
        let ethtool = self.ethtool()?;
        match ethtool.insert_rule(spec, rule.location, rule.rss_context) {
            Err(error)
                if rule.location.is_some()
                    && error.raw_os_error() == Some(libc::EINVAL)
                    && ethtool.rules()?.driver_places =>
            {
                ethtool.insert_rule(spec, None, rule.rss_context)
            }
            other => other,
        }
    }
}

impl RingRequests for Nic {
    fn reported(&mut self) -> Result<(HeaderSplit, Option<u32>), NetError> {
        let rings = self.netlink.rings(self.index)?;
        Ok((rings.tcp_data_split, rings.hds_thresh))
    }

    fn request(
        &mut self,
        split: Option<HeaderSplit>,
        threshold: Option<u32>,
    ) -> Result<Option<bool>, NetError> {
        let announced = |nic: &Self| nic.watch.as_ref().and_then(|watch| watch.announced(nic.index));
        announced(self);
        self.netlink.set_header_split(self.index, split, threshold)?;
        if split.is_some() {
            self.split_configured = split;
        }
        Ok(announced(self))
    }
}

impl Device for Nic {
    fn read(&mut self) -> Result<Setup, NetError> {
        // Parts that cannot be read are unknown; an interface that is gone is an error.
        self.name = self.netlink.link_by_index(self.index)?.name;
        let mut setup = setup(&mut self.netlink, self.index, &self.name);
        if let Reading::Known(rings) = &mut setup.rings {
            rings.split_configured = self.split_configured;
        }
        Ok(setup)
    }

    fn take(&mut self, step: &Step, learned: &mut dyn FnMut(HeaderSplit)) -> Result<Taken, NetError> {
        match step {
            Step::Feature { name, on } => self.netlink.set_feature(self.index, name, *on)?,
            Step::Channels { to, .. } => self.netlink.set_channels(self.index, to)?,
            Step::HeaderSplit { split, threshold } => {
                return header_split::configure(self, *split, *threshold, learned);
            }
            Step::Rss(spread) => self.set_rss(spread)?,
            Step::RssHash { key, function, input_xfrm } => {
                let key = unhex(key).ok_or_else(|| NetError::Unreadable {
                    what: "set the RSS hash".to_owned(),
                    reason: "its key is not hexadecimal",
                })?;
                self.ethtool()?.set_rss_hash(&key, *function, *input_xfrm)?;
            }
            Step::InsertRule(rule) => {
                return Ok(Taken { place: Some(self.insert_rule(rule)?), ..Taken::default() });
            }
            Step::DeleteRule(rule) => self.ethtool()?.delete_rule(rule.location.unwrap_or_default())?,
        }
        Ok(Taken::default())
    }

    fn driver(&self) -> Driver {
        self.driver
    }
}

impl Keep for Store {
    fn save(&mut self, journal: &Journal) -> Result<(), JournalError> {
        Self::save(self, journal)
    }

    fn forget(&mut self, identity: &Identity) -> Result<(), JournalError> {
        self.remove(identity)
    }
}
