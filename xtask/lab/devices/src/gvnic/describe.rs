//! What the device says it can do.

use super::admin::Status;
use super::{Gvnic, QUEUES, RING, RING_RANGE};

/// Features, as bits that each option repeats.
const MODIFY_RING: u32 = 1 << 0;
const JUMBO_FRAMES: u32 = 1 << 2;
const BUFFER_SIZES: u32 = 1 << 4;
const FLOW_STEERING: u32 = 1 << 5;
const FEATURES: u32 = MODIFY_RING | JUMBO_FRAMES | BUFFER_SIZES | FLOW_STEERING;

/// Options. No RSS option: the driver then keeps the table itself and configures the device with it.
const OPTION_DQO_RDA: u16 = 0x4;
const OPTION_MODIFY_RING: u16 = 0x6;
const OPTION_JUMBO_FRAMES: u16 = 0x8;
const OPTION_BUFFER_SIZES: u16 = 0xa;
const OPTION_FLOW_STEERING: u16 = 0xb;

const MTU: u16 = 1500;
const JUMBO_MTU: u16 = 8896;
const PACKET_BUFFER: u16 = 4096;
const HEADER_BUFFER: u16 = 128;
const ADMIN_COUNTERS: u16 = 64;
/// Flow rules that the device takes.
pub(super) const MAX_RULES: u32 = 64;

/// Packet types: what is in a packet, by network (2 IPv4, 3 IPv6) and transport protocol (2 TCP, 3 UDP, 4 ICMP, 1 other).
const PACKET_TYPES: [[u8; 2]; 9] = [[0, 0], [2, 2], [2, 3], [2, 4], [3, 2], [3, 3], [3, 4], [2, 1], [3, 1]];
const PACKET_TYPE_BYTES: usize = 2048;

impl Gvnic {
    /// Writes the device descriptor with its options.
    pub(super) fn describe(&self, address: u64, room: u32) -> Status {
        let options = [
            (OPTION_DQO_RDA, vec![0; 4]),
            (
                OPTION_MODIFY_RING,
                words([*RING_RANGE.end(), *RING_RANGE.end(), *RING_RANGE.start(), *RING_RANGE.start()]),
            ),
            (OPTION_JUMBO_FRAMES, words([JUMBO_MTU, 0])),
            (OPTION_BUFFER_SIZES, words([PACKET_BUFFER, HEADER_BUFFER])),
            (OPTION_FLOW_STEERING, [[0; 4], MAX_RULES.to_be_bytes()].concat()),
        ];
        let mut body = Vec::new();
        for (id, fields) in &options {
            body.extend(id.to_be_bytes());
            body.extend((4 + fields.len() as u16).to_be_bytes());
            // No feature is required of the driver.
            body.extend([0; 4]);
            body.extend(FEATURES.to_be_bytes());
            body.extend(fields);
        }
        let mut descriptor = vec![0; 8];
        descriptor.extend(words([0, RING, RING, QUEUES as u16, MTU, ADMIN_COUNTERS, 0, 0]));
        descriptor.extend(self.mac);
        descriptor.extend(words([options.len() as u16, 40 + body.len() as u16]));
        descriptor.extend([0; 6]);
        descriptor.extend(body);
        if descriptor.len() > room as usize {
            return Status::InvalidArgument;
        }
        Status::of(self.port.memory.write(address, &descriptor))
    }

    /// Writes what each packet type means.
    pub(super) fn write_packet_types(&self, address: u64, length: u64) -> Status {
        if length != PACKET_TYPE_BYTES as u64 {
            return Status::InvalidArgument;
        }
        let mut map = PACKET_TYPES.concat();
        map.resize(PACKET_TYPE_BYTES, 0);
        Status::of(self.port.memory.write(address, &map))
    }
}

fn words<const N: usize>(words: [u16; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
