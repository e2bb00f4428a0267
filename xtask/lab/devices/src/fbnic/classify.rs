//! The classifier: content-addressed tables find the action for a frame, and the action a queue.
//!
//! A word of a table's entry holds the value in its lower and the mask of what not to compare in its upper half.

use super::Fbnic;
use super::csr::{
    self, RPC_ACTION, RPC_RSS_KEY, RPC_RSS_KEY_WORDS, RPC_RSS_TABLE, RPC_RSS_TABLE_SIZE, RPC_TCAM_ACT,
    RPC_TCAM_IPDST, RPC_TCAM_IPSRC, RPC_TCAM_MACDA,
};
use crate::bytes::be16;
use crate::wire::{Frame, IpVersion, Transport};

const VALID: u32 = 1 << 31;
const ACTIONS: usize = 64;
const MAC_ADDRESSES: usize = 32;
const IP_ADDRESSES: usize = 8;
/// Words of an action's key.
const KEY_WORDS: usize = 11;

/// Bits in the first two words of an action's key.
const SOURCE_FOUND: u16 = 1 << 3;
const DESTINATION_FOUND: u16 = 1 << 7;
const MAC_FOUND: u16 = 1 << 10;
const IS_IPV6: u16 = 1 << 11;
const IS_IP: u16 = 1 << 12;
const IS_UDP: u16 = 1 << 14;
const HAS_PORTS: u16 = 1 << 15;

/// Fields of an action.
const DROP: u32 = 1 << 0;
const TO_HOST: u32 = 1 << 1;
const TO_QUEUE: u32 = 1 << 4;

impl Fbnic {
    /// The queue of a frame; none for frames that are not for this host.
    pub(super) fn classify(&self, frame: &Frame) -> Option<usize> {
        if self.register(csr::RPC_RMI_CONFIG) & csr::RPC_RMI_ENABLE == 0 {
            return None;
        }
        let key = self.action_key(frame);
        let entry = self.find(RPC_TCAM_ACT, ACTIONS, ACTIONS, &key, None)?;
        let action = self.register(RPC_ACTION + entry);
        if action & DROP != 0 || action & TO_HOST == 0 {
            return None;
        }
        if action & TO_QUEUE != 0 {
            return Some((action >> 8 & 0xff) as usize);
        }
        let table = RPC_RSS_TABLE + RPC_RSS_TABLE_SIZE * (action >> 30 & 1) as usize;
        Some(self.register(table + (self.flow_hash(frame) & 0xff) as usize) as usize)
    }

    /// The hash over addresses and ports.
    pub(super) fn flow_hash(&self, frame: &Frame) -> u32 {
        let key: Vec<u8> =
            (0..RPC_RSS_KEY_WORDS).flat_map(|word| self.register(RPC_RSS_KEY + word).to_be_bytes()).collect();
        frame.flow_hash(&key).max(1)
    }

    /// What the tables of addresses say, and the ports.
    fn action_key(&self, frame: &Frame) -> [u16; KEY_WORDS] {
        let mut key = [0; KEY_WORDS];
        let mac = [4, 2, 0].map(|at| be16(&frame.bytes, at));
        if let Some(entry) = self.find(RPC_TCAM_MACDA, 0x20, MAC_ADDRESSES, &mac, None) {
            key[1] |= (entry as u16) << 5 | MAC_FOUND;
        }
        if let Some(version) = frame.ip {
            let is_v6 = version == IpVersion::V6;
            key[1] |= IS_IP | if is_v6 { IS_IPV6 } else { 0 };
            let (source, destination) = frame.addresses();
            if let Some(entry) = self.find(RPC_TCAM_IPSRC, 8, IP_ADDRESSES, &words(source), Some(is_v6)) {
                key[0] |= entry as u16 | SOURCE_FOUND;
            }
            if let Some(entry) = self.find(RPC_TCAM_IPDST, 8, IP_ADDRESSES, &words(destination), Some(is_v6))
            {
                key[0] |= (entry as u16) << 4 | DESTINATION_FOUND;
            }
        }
        if let &[a, b, c, d] = frame.ports() {
            key[1] |= HAS_PORTS | if frame.transport == Some(Transport::Udp) { IS_UDP } else { 0 };
            key[3] = u16::from_be_bytes([a, b]);
            key[4] = u16::from_be_bytes([c, d]);
        }
        key
    }

    /// The first valid entry of a table that matches. The word after the key says whether an entry is valid, and of
    /// addresses whether they are IPv6.
    fn find(
        &self,
        table: usize,
        stride: usize,
        entries: usize,
        key: &[u16],
        is_v6: Option<bool>,
    ) -> Option<usize> {
        (0..entries).find(|entry| {
            let word = |index: usize| self.register(table + stride * index + entry);
            let validity = word(key.len());
            validity & VALID != 0
                && is_v6.is_none_or(|is_v6| (validity & 1 == 1) == is_v6)
                && key.iter().enumerate().all(|(index, key)| {
                    let entry = word(index);
                    (entry as u16 ^ key) & !((entry >> 16) as u16) == 0
                })
        })
    }
}

/// Converts an address to 16-bit words, the last word first, padded with zeroes to eight words.
fn words(address: &[u8]) -> [u16; 8] {
    let mut words = [0; 8];
    for (word, pair) in words.iter_mut().zip(address.rchunks(2)) {
        *word = be16(pair, 0);
    }
    words
}
