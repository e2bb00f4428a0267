//! A real interface, as something to take steps on.

use super::apply::{Device, Keep};
use super::journal::{Identity, Journal, JournalError, Store};
use super::rss::Spread;
use super::step::{Step, rx_queues};
use super::{NetError, Netlink, flow, ioctl, setup};
use crate::model::{Interface, Setup};

/// An interface of this namespace.
pub struct Nic {
    netlink: Netlink,
    index: u32,
    name: String,
}

impl Nic {
    /// A handle on an interface that was read before.
    pub fn new(interface: &Interface) -> Self {
        Self { netlink: Netlink::new(), index: interface.index, name: interface.name.clone() }
    }

    fn set_rss(&mut self, spread: &Spread) -> Result<(), NetError> {
        let ethtool = ioctl::Ethtool::open(&self.name)?;
        // An empty table asks the driver for its default.
        let table = match spread {
            Spread::Default => Vec::new(),
            other => other.table(ethtool.rss()?.table.len(), rx_queues(&self.read()?)),
        };
        ethtool.set_rss_table(&table)
    }
}

impl Device for Nic {
    fn read(&mut self) -> Result<Setup, NetError> {
        // Parts that cannot be read are unknown; an interface that is gone is an error.
        let name = self.netlink.link(&self.name)?;
        if name.index != self.index {
            return Err(NetError::NoInterface(self.name.clone()));
        }
        Ok(setup(&mut self.netlink, self.index, &self.name))
    }

    fn take(&mut self, step: &Step) -> Result<Option<u32>, NetError> {
        match step {
            Step::Feature { name, on } => self.netlink.set_feature(self.index, name, *on)?,
            Step::Channels { to, .. } => self.netlink.set_channels(self.index, to)?,
            Step::HeaderSplit { split, threshold } => {
                self.netlink.set_header_split(self.index, *split, *threshold)?;
            }
            Step::Rss(spread) => self.set_rss(spread)?,
            Step::InsertRule(rule) => {
                let spec = flow::spec_of(rule).ok_or_else(|| NetError::Unreadable {
                    what: format!("add flow rule {}", rule.text),
                    reason: "its spec is no ethtool_rx_flow_spec",
                })?;
                let ethtool = ioctl::Ethtool::open(&self.name)?;
                return ethtool.insert_rule(spec, rule.location, rule.rss_context).map(Some);
            }
            Step::DeleteRule(rule) => {
                ioctl::Ethtool::open(&self.name)?.delete_rule(rule.location.unwrap_or_default())?;
            }
        }
        Ok(None)
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
