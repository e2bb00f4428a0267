//! Flow rules: TCP and UDP flows, by addresses and ports under a mask, each to one queue.

use std::collections::BTreeMap;

use super::admin::Status;
use super::describe::MAX_RULES;
use super::{Gvnic, QUEUES};
use crate::bytes::{be16, be32, be64};
use crate::wire::{Frame, IpVersion, Transport};

const ADD: u16 = 0;
const DELETE: u16 = 1;
const RESET: u16 = 2;
const QUERY_RULES: u16 = 0;
const QUERY_IDS: u16 = 1;
const QUERY_STATISTICS: u16 = 2;

/// A rule: flow type, queue, key and mask.
const RULE_BYTES: usize = 84;
const KEY: usize = 4;
const MASK: usize = 44;
/// Addresses and ports, at the begin of key and mask.
const COMPARED: usize = 36;
/// An add, delete or reset command: opcode, rule and location.
const COMMAND_BYTES: usize = 92;
const HEADER_BYTES: u32 = 16;

/// Rules by location. The first that matches counts.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<u32, [u8; RULE_BYTES]>);

impl Rules {
    /// The queue of the first rule that matches.
    pub(super) fn queue(&self, frame: &Frame) -> Option<usize> {
        let rule = self.0.values().find(|rule| matches(rule, frame))?;
        Some(usize::from(be16(rule, 2)) % QUEUES)
    }
}

fn matches(rule: &[u8; RULE_BYTES], frame: &Frame) -> bool {
    let (version, transport) = match be16(rule, 0) {
        0 => (IpVersion::V4, Transport::Tcp),
        1 => (IpVersion::V4, Transport::Udp),
        5 => (IpVersion::V6, Transport::Tcp),
        6 => (IpVersion::V6, Transport::Udp),
        _ => return false,
    };
    if frame.ip != Some(version) || frame.transport != Some(transport) {
        return false;
    }
    let (source, destination) = frame.addresses();
    let mut found = [0; COMPARED];
    found[..source.len()].copy_from_slice(source);
    found[16..16 + destination.len()].copy_from_slice(destination);
    found[32..].copy_from_slice(frame.ports());
    let (key, mask) = (&rule[KEY..KEY + COMPARED], &rule[MASK..MASK + COMPARED]);
    found.iter().zip(key).zip(mask).all(|((found, key), mask)| found & mask == key & mask)
}

impl Gvnic {
    /// Adds a rule, deletes one, or deletes all.
    pub(super) fn configure_rule(&mut self, command: &[u8; COMMAND_BYTES]) -> Status {
        let location = be32(command, 88);
        match be16(command, 0) {
            ADD if location >= MAX_RULES || usize::from(be16(command, 6)) >= QUEUES => Status::OutOfRange,
            ADD => {
                let mut rule = [0; RULE_BYTES];
                rule.copy_from_slice(&command[4..4 + RULE_BYTES]);
                self.rules.0.insert(location, rule);
                Status::Passed
            }
            DELETE if self.rules.0.remove(&location).is_none() => Status::NotFound,
            DELETE => Status::Passed,
            RESET => {
                self.rules.0.clear();
                Status::Passed
            }
            _ => Status::InvalidArgument,
        }
    }

    /// Writes rules or their locations, from a location on, until the buffer is full.
    pub(super) fn query_rules(&self, fields: &[u8]) -> Status {
        let (what, start, room, address) =
            (be16(fields, 0), be32(fields, 4), be64(fields, 8), be64(fields, 16));
        let item_bytes = match what {
            QUERY_RULES => 4 + RULE_BYTES,
            QUERY_IDS => 4,
            QUERY_STATISTICS => 0,
            _ => return Status::InvalidArgument,
        };
        let room = room.saturating_sub(u64::from(HEADER_BYTES)) as usize;
        let most = room.checked_div(item_bytes).unwrap_or(0);
        let mut items = Vec::new();
        let mut count = 0_u32;
        for (location, rule) in self.rules.0.range(start..).take(most) {
            items.extend(location.to_be_bytes());
            if what == QUERY_RULES {
                items.extend(rule);
            }
            count += 1;
        }
        let header = [self.rules.0.len() as u32, MAX_RULES, count, HEADER_BYTES + items.len() as u32];
        let mut answer: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        answer.extend(items);
        Status::of(self.port.memory.write(address, &answer))
    }
}
