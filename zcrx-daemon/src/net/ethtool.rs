//! Channels, ring parameters and feature bits: the `ethtool` netlink family (Linux 5.6 and later).

use std::collections::BTreeMap;

use netlink_bindings::ethtool::{self, HeaderFlags, IterableFeatures, IterableRings, IterableStrset};

use super::{NetError, Netlink};
use crate::model::{Channels, Feature, HeaderSplit, Pause, Rings};

/// `ETH_SS_FEATURES`: the string set with the names of the feature bits.
const FEATURES: u32 = 4;

/// Numbers of the requests (`ETHTOOL_MSG_*`). Requests and answers of this family are numbered apart; the bindings
/// count them through and so reach another request.
mod command {
    pub(super) const FEATURES_GET: u8 = 11;
    pub(super) const FEATURES_SET: u8 = 12;
    pub(super) const RINGS_GET: u8 = 15;
    pub(super) const RINGS_SET: u8 = 16;
    pub(super) const CHANNELS_GET: u8 = 17;
    pub(super) const CHANNELS_SET: u8 = 18;
    pub(super) const PAUSE_GET: u8 = 21;
}

/// `ETHTOOL_TCP_DATA_SPLIT_*`.
const SPLIT_UNKNOWN: u8 = 0;
const SPLIT_DISABLED: u8 = 1;
const SPLIT_ENABLED: u8 = 2;

impl Netlink {
    /// Channel counts.
    pub fn channels(&mut self, ifindex: u32) -> Result<Channels, NetError> {
        let mut request = ethtool::Request::new().op_channels_get_do();
        request.header_mut().cmd = command::CHANNELS_GET;
        request.encode().nested_header().push_dev_index(ifindex);
        self.ask_one("read channels", &request, |reply| {
            // A count of a sort that the interface does not have is left out.
            Some(Channels {
                rx: reply.get_rx_count().unwrap_or(0),
                tx: reply.get_tx_count().unwrap_or(0),
                other: reply.get_other_count().unwrap_or(0),
                combined: reply.get_combined_count().unwrap_or(0),
                rx_max: reply.get_rx_max().unwrap_or(0),
                tx_max: reply.get_tx_max().unwrap_or(0),
                other_max: reply.get_other_max().unwrap_or(0),
                combined_max: reply.get_combined_max().unwrap_or(0),
            })
        })
    }

    /// Sets channel counts; a sort the interface does not have is not mentioned.
    pub fn set_channels(&mut self, ifindex: u32, to: &Channels) -> Result<(), NetError> {
        let mut request = ethtool::Request::new().op_channels_set_do();
        request.header_mut().cmd = command::CHANNELS_SET;
        let mut encoder = request.encode().nested_header().push_dev_index(ifindex).end_nested();
        if to.rx_max > 0 {
            encoder = encoder.push_rx_count(to.rx);
        }
        if to.tx_max > 0 {
            encoder = encoder.push_tx_count(to.tx);
        }
        if to.combined_max > 0 {
            encoder = encoder.push_combined_count(to.combined);
        }
        drop(encoder);
        self.set("set channels", &request)
    }

    /// Ring parameters.
    pub fn rings(&mut self, ifindex: u32) -> Result<Rings, NetError> {
        let mut request = ethtool::Request::new().op_rings_get_do();
        request.header_mut().cmd = command::RINGS_GET;
        request.encode().nested_header().push_dev_index(ifindex);
        self.ask_one("read ring parameters", &request, |reply| Some(rings(&reply)))
    }

    /// Sets header split and its threshold; `None` leaves one as it is.
    pub fn set_header_split(
        &mut self,
        ifindex: u32,
        split: Option<HeaderSplit>,
        threshold: Option<u32>,
    ) -> Result<(), NetError> {
        let mut request = ethtool::Request::new().op_rings_set_do();
        request.header_mut().cmd = command::RINGS_SET;
        let mut encoder = request.encode().nested_header().push_dev_index(ifindex).end_nested();
        if let Some(split) = split {
            encoder = encoder.push_tcp_data_split(match split {
                HeaderSplit::Auto => SPLIT_UNKNOWN,
                HeaderSplit::Off => SPLIT_DISABLED,
                HeaderSplit::On => SPLIT_ENABLED,
            });
        }
        if let Some(threshold) = threshold {
            encoder = encoder.push_hds_thresh(threshold);
        }
        drop(encoder);
        self.set("set ring parameters", &request)
    }

    /// Flow control by pause frames.
    pub fn pause(&mut self, ifindex: u32) -> Result<Pause, NetError> {
        let mut request = ethtool::Request::new().op_pause_get_do();
        request.header_mut().cmd = command::PAUSE_GET;
        request.encode().nested_header().push_dev_index(ifindex);
        self.ask_one("read flow control", &request, |reply| {
            Some(Pause { rx: reply.get_rx().ok()? != 0, tx: reply.get_tx().ok()? != 0 })
        })
    }

    /// Feature bits by their ethtool name ("rx-ntuple-filter", "rx-gro-hw").
    pub fn features(&mut self, ifindex: u32) -> Result<BTreeMap<String, Feature>, NetError> {
        let mut request = ethtool::Request::new().op_strset_get_do();
        // The header is empty because the names are the same for every interface, but it has to be there.
        request
            .encode()
            .nested_header()
            .end_nested()
            .nested_stringsets()
            .nested_stringset()
            .push_id(FEATURES);
        let names = self.ask_one("read feature names", &request, |reply| feature_names(&reply))?;
        let mut request = ethtool::Request::new().op_features_get_do();
        request.header_mut().cmd = command::FEATURES_GET;
        // Four sets with every name spelt out would not fit the socket's buffer.
        request
            .encode()
            .nested_header()
            .push_dev_index(ifindex)
            .push_flags(HeaderFlags::CompactBitsets as u32);
        self.ask_one("read features", &request, |reply| features(&names, &reply))
    }

    /// Asks for a feature bit to be on or off.
    pub fn set_feature(&mut self, ifindex: u32, name: &str, on: bool) -> Result<(), NetError> {
        let mut request = ethtool::Request::new().op_features_set_do();
        request.header_mut().cmd = command::FEATURES_SET;
        let bit = request
            .encode()
            .nested_header()
            .push_dev_index(ifindex)
            .end_nested()
            .nested_wanted()
            .nested_bits()
            .nested_bit()
            .push_name_bytes(name.as_bytes());
        drop(if on { bit.push_value(()) } else { bit });
        self.set(&format!("set feature {name}"), &request)
    }
}

fn rings(reply: &IterableRings<'_>) -> Rings {
    Rings {
        rx: reply.get_rx().ok(),
        rx_max: reply.get_rx_max().ok(),
        tx: reply.get_tx().ok(),
        tx_max: reply.get_tx_max().ok(),
        rx_buf_len: reply.get_rx_buf_len().ok(),
        rx_jumbo: reply.get_rx_jumbo().ok(),
        rx_jumbo_max: reply.get_rx_jumbo_max().ok(),
        split_configured: None,
        tcp_data_split: match reply.get_tcp_data_split() {
            Ok(SPLIT_ENABLED) => HeaderSplit::On,
            Ok(SPLIT_DISABLED) => HeaderSplit::Off,
            _ => HeaderSplit::Auto,
        },
        hds_thresh: reply.get_hds_thresh().ok(),
        hds_thresh_max: reply.get_hds_thresh_max().ok(),
    }
}

fn feature_names(reply: &IterableStrset<'_>) -> Option<Vec<(usize, String)>> {
    let sets = reply.get_stringsets().ok()?;
    let set = sets.get_stringset().find(|set| set.get_id().is_ok_and(|id| id == FEATURES))?;
    let mut names = Vec::new();
    for attribute in set {
        if let Ok(ethtool::Stringset::Strings(strings)) = attribute {
            names.extend(strings.get_string().filter_map(|string| {
                let index = usize::try_from(string.get_index().ok()?).ok()?;
                Some((index, string.get_value().ok()?.to_string_lossy().into_owned()))
            }));
        }
    }
    Some(names)
}

fn features(names: &[(usize, String)], reply: &IterableFeatures<'_>) -> Option<BTreeMap<String, Feature>> {
    let (hw, wanted, active, nochange) = (
        reply.get_hw().ok()?.get_value().ok()?,
        reply.get_wanted().ok()?.get_value().ok()?,
        reply.get_active().ok()?.get_value().ok()?,
        reply.get_nochange().ok()?.get_value().ok()?,
    );
    let one = |(index, name): &(usize, String)| {
        let feature = Feature {
            active: bit(active, *index),
            wanted: bit(wanted, *index),
            fixed: bit(nochange, *index) || !bit(hw, *index),
        };
        (!name.is_empty()).then(|| (name.clone(), feature))
    };
    Some(names.iter().filter_map(one).collect())
}

/// A bit of a compact bitset, which is a row of 32-bit words in host order.
fn bit(words: &[u8], index: usize) -> bool {
    let Some(word) = words.get(index / 32 * 4..).and_then(<[u8]>::first_chunk) else { return false };
    u32::from_ne_bytes(*word) >> (index % 32) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_across_words() {
        let words: Vec<u8> = [1_u32 << 31, 1 << 2].into_iter().flat_map(u32::to_ne_bytes).collect();
        let set: Vec<usize> = (0..70).filter(|index| bit(&words, *index)).collect();
        assert_eq!(set, [31, 34]);
    }
}
