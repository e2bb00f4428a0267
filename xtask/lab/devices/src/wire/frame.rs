//! One Ethernet frame: its headers, and how it is cut into segments.

use super::hash::toeplitz;
use crate::bytes::{be16, be32, put};

const ETHERNET: usize = 14;
const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Version of the network protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Transport protocol of an unfragmented packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, of either version.
    Icmp,
}

/// An Ethernet frame, or a TCP packet larger than a frame that its receiver may keep whole or cut.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// From the destination MAC address on, without a checksum.
    pub bytes: Vec<u8>,
    /// Network protocol, where it is IP.
    pub ip: Option<IpVersion>,
    /// Transport protocol, where it is known and its header is complete.
    pub transport: Option<Transport>,
    /// Offset of the transport header; of the payload where there is none.
    pub transport_at: usize,
    /// Offset of the payload of TCP and UDP; 0 for others.
    pub payload_at: usize,
    /// Payload bytes of each segment, of a packet that is larger than a frame.
    pub segment_size: Option<usize>,
}

impl Frame {
    /// Reads the headers. Every byte comes from a guest: incomplete headers count as none.
    pub(crate) fn new(bytes: Vec<u8>, segment_size: Option<usize>) -> Self {
        let mut frame =
            Self { bytes, ip: None, transport: None, transport_at: 0, payload_at: 0, segment_size: None };
        let Some(protocol) = frame.read_network() else { return frame };
        let rest = frame.bytes.len().saturating_sub(frame.transport_at);
        match protocol {
            6 if rest >= 20 => {
                let header = usize::from(frame.bytes[frame.transport_at + 12] >> 4) * 4;
                if header >= 20 && header <= rest {
                    frame.transport = Some(Transport::Tcp);
                    frame.payload_at = frame.transport_at + header;
                }
            }
            17 if rest >= 8 => {
                frame.transport = Some(Transport::Udp);
                frame.payload_at = frame.transport_at + 8;
            }
            1 | 58 => frame.transport = Some(Transport::Icmp),
            _ => {}
        }
        let payload = frame.bytes.len().saturating_sub(frame.payload_at);
        frame.segment_size = segment_size.filter(|&size| frame.payload_at > 0 && size > 0 && size < payload);
        frame
    }

    /// Reads the network header and returns the transport's protocol number, unless the packet is a fragment.
    fn read_network(&mut self) -> Option<u8> {
        let rest = self.bytes.len().checked_sub(ETHERNET)?;
        match be16(&self.bytes, 12) {
            0x0800 if rest >= 20 => {
                let header = usize::from(self.bytes[ETHERNET] & 15) * 4;
                if header < 20 || header > rest {
                    return None;
                }
                self.ip = Some(IpVersion::V4);
                self.transport_at = ETHERNET + header;
                let is_fragment = be16(&self.bytes, ETHERNET + 6) & 0x3fff != 0;
                (!is_fragment).then(|| self.bytes[ETHERNET + 9])
            }
            0x86dd if rest >= 40 => {
                self.ip = Some(IpVersion::V6);
                self.transport_at = ETHERNET + 40;
                Some(self.bytes[ETHERNET + 6])
            }
            _ => None,
        }
    }

    /// Source and destination address, in the order of the wire; none unless it is IP.
    pub(crate) fn addresses(&self) -> (&[u8], &[u8]) {
        let (at, length) = match self.ip {
            None => return (&[], &[]),
            Some(IpVersion::V4) => (ETHERNET + 12, 4),
            Some(IpVersion::V6) => (ETHERNET + 8, 16),
        };
        (&self.bytes[at..at + length], &self.bytes[at + length..at + 2 * length])
    }

    /// Source and destination port, in the order of the wire; none unless it is TCP or UDP.
    pub(crate) fn ports(&self) -> &[u8] {
        match self.transport {
            Some(Transport::Tcp | Transport::Udp) => &self.bytes[self.transport_at..self.transport_at + 4],
            _ => &[],
        }
    }

    /// The flow's hash by receive-side scaling.
    pub(crate) fn flow_hash(&self, key: &[u8]) -> u32 {
        let (source, destination) = self.addresses();
        toeplitz(key, source.iter().chain(destination).chain(self.ports()).copied())
    }

    /// The frames of a packet that is larger than a frame, as a NIC cuts it; the frame itself otherwise.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Self> + '_ {
        let payload = &self.bytes[self.payload_at..];
        let size = self.segment_size.unwrap_or(usize::MAX);
        let count = payload.len().div_ceil(size).max(1);
        (0..count).map(move |index| match self.segment_size {
            None => self.clone(),
            Some(size) => {
                self.segment(index, &payload[index * size..payload.len().min((index + 1) * size)], count)
            }
        })
    }

    fn segment(&self, index: usize, payload: &[u8], count: usize) -> Self {
        let mut bytes = [&self.bytes[..self.payload_at], payload].concat();
        let (length, offset) = (bytes.len(), index * self.segment_size.unwrap_or(0));
        if self.ip == Some(IpVersion::V6) {
            put(&mut bytes, ETHERNET + 4, &((length - ETHERNET - 40) as u16).to_be_bytes());
        } else {
            let identification = be16(&self.bytes, ETHERNET + 4).wrapping_add(index as u16);
            put(&mut bytes, ETHERNET + 2, &((length - ETHERNET) as u16).to_be_bytes());
            put(&mut bytes, ETHERNET + 4, &identification.to_be_bytes());
            put(&mut bytes, ETHERNET + 10, &[0, 0]);
            let checksum = internet_checksum(&bytes[ETHERNET..self.transport_at]);
            put(&mut bytes, ETHERNET + 10, &checksum.to_be_bytes());
        }
        let at = self.transport_at;
        if self.transport == Some(Transport::Tcp) {
            let sequence = be32(&self.bytes, at + 4).wrapping_add(offset as u32);
            put(&mut bytes, at + 4, &sequence.to_be_bytes());
            if index + 1 < count {
                bytes[at + 13] &= !(FIN | PUSH);
            }
            if index > 0 {
                bytes[at + 13] &= !CWR;
            }
        } else {
            put(&mut bytes, at + 4, &((8 + payload.len()) as u16).to_be_bytes());
        }
        Self { bytes, segment_size: None, ..*self }
    }
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(be16(pair, 0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp4(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0; ETHERNET + 40 + payload];
        put(&mut bytes, 12, &[8, 0]);
        bytes[ETHERNET] = 0x45;
        bytes[ETHERNET + 9] = 6;
        put(&mut bytes, ETHERNET + 12, &[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes[ETHERNET + 32] = 5 << 4;
        bytes[ETHERNET + 33] = PUSH | FIN;
        for (at, byte) in bytes[ETHERNET + 40..].iter_mut().enumerate() {
            *byte = at as u8;
        }
        bytes
    }

    #[test]
    fn segments_carry_the_whole_payload_in_sequence() {
        let whole = Frame::new(tcp4(5000), Some(1448));
        let segments: Vec<_> = whole.segments().collect();
        assert_eq!(segments.len(), 4);
        let mut payload: Vec<u8> = Vec::new();
        for segment in &segments {
            assert_eq!(be32(&segment.bytes, ETHERNET + 24) as usize, payload.len());
            assert_eq!(usize::from(be16(&segment.bytes, ETHERNET + 2)), segment.bytes.len() - ETHERNET);
            assert_eq!(internet_checksum(&segment.bytes[ETHERNET..ETHERNET + 20]), 0);
            payload.extend(&segment.bytes[segment.payload_at..]);
        }
        assert_eq!(payload, whole.bytes[whole.payload_at..]);
        let flags: Vec<_> = segments.iter().map(|segment| segment.bytes[ETHERNET + 33]).collect();
        assert_eq!(flags, [0, 0, 0, PUSH | FIN], "only the last segment ends the flow");
    }

    #[test]
    fn fragment_has_no_transport() {
        let mut bytes = tcp4(100);
        bytes[ETHERNET + 6] = 0x20;
        let frame = Frame::new(bytes, None);
        assert_eq!((frame.ip, frame.transport), (Some(IpVersion::V4), None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_parsed_and_cut(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            kind in 0..3,
            length in any::<u8>(),
            size in 0_usize..80,
        ) {
            match kind {
                0 => put(&mut bytes, 12, &[8, 0, 0x40 | length & 15]),
                1 => put(&mut bytes, 12, &[0x86, 0xdd]),
                _ => {}
            }
            let frame = Frame::new(bytes.clone(), Some(size));
            let payload: usize = frame.segments().map(|segment| segment.bytes.len() - frame.payload_at).sum();
            prop_assert_eq!(payload, bytes.len() - frame.payload_at);
            prop_assert!(frame.addresses().0.len() == frame.addresses().1.len());
            frame.flow_hash(&[1; 40]);
        }
    }
}
