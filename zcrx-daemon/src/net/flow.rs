//! Flow steering: which packets go to which queue, as a person says it, as the kernel takes it, as ethtool spells it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ioctl::FlowSpec;
use super::{hex, unhex};
use crate::model::{FlowRule, Rss};

const TCP_V4_FLOW: u32 = 0x01;
const UDP_V4_FLOW: u32 = 0x02;
const TCP_V6_FLOW: u32 = 0x05;
const UDP_V6_FLOW: u32 = 0x06;
const ETHER_FLOW: u32 = 0x12;
/// Flags of the flow type.
const FLOW_EXT: u32 = 0x8000_0000;
const FLOW_MAC_EXT: u32 = 0x4000_0000;
const FLOW_RSS: u32 = 0x2000_0000;
/// Destinations that are no queue.
const RX_CLS_FLOW_DISC: u64 = u64::MAX;
const RX_CLS_FLOW_WAKE: u64 = u64::MAX - 1;
/// The rest of a destination names a virtual function.
const QUEUE_MASK: u64 = 0xffff_ffff;

/// TCP connections to one local port, of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Destination port.
    pub port: u16,
    /// Queue; `None` takes the next of the zcrx queues in turn.
    pub queue: Option<u32>,
}

/// A flow that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no flow: {problem} (say tcp4:PORT or tcp6:PORT, and @QUEUE after it to choose a queue)")]
pub struct FlowError {
    text: String,
    problem: &'static str,
}

impl FromStr for Flow {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let wrong = |problem| FlowError { text: text.to_owned(), problem };
        let (matched, queue) = match text.split_once('@') {
            Some((matched, queue)) => {
                (matched, Some(queue.parse().map_err(|_| wrong("what follows @ is not a queue index"))?))
            }
            None => (text, None),
        };
        let (kind, port) = matched.split_once(':').ok_or_else(|| wrong("there is no port"))?;
        let ipv6 = match kind {
            "tcp4" => false,
            "tcp6" => true,
            _ => return Err(wrong("zcrx carries TCP over IPv4 or IPv6 only")),
        };
        let port =
            port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("a port is 1 to 65535"))?;
        Ok(Self { ipv6, port, queue })
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp{}:{}", if self.ipv6 { 6 } else { 4 }, self.port)?;
        match self.queue {
            Some(queue) => write!(f, "@{queue}"),
            None => Ok(()),
        }
    }
}

impl Flow {
    /// The rule that sends this flow to a queue, at a place or where the driver likes.
    pub fn rule(&self, queue: u32, location: Option<u32>) -> FlowRule {
        let mut spec = FlowSpec::empty();
        spec.flow_type = if self.ipv6 { TCP_V6_FLOW } else { TCP_V4_FLOW };
        let port = layout(self.ipv6).destination_port;
        spec.value[port..port + 2].copy_from_slice(&self.port.to_be_bytes());
        spec.mask[port..port + 2].copy_from_slice(&u16::MAX.to_be_bytes());
        spec.ring_cookie = queue.into();
        to_rule(&spec, location, 0)
    }

    /// The queue a rule sends this flow to, if it is a rule for this flow and for nothing narrower.
    pub(super) fn steered_by(&self, rule: &FlowRule) -> Option<u32> {
        let spec = spec_of(rule)?;
        let wanted = spec_of(&self.rule(0, None))?;
        let same = (spec.flow_type, spec.value, spec.mask) == (wanted.flow_type, wanted.value, wanted.mask);
        (same && spec.ring_cookie <= QUEUE_MASK).then_some(spec.ring_cookie as u32)
    }
}

/// The queues a rule delivers to; none where it drops, wakes or serves a virtual function.
///
/// A rule that spreads over an RSS context adds the queue it names to each entry of the context's table.
pub(super) fn queues_of(rule: &FlowRule, rss: Option<&Rss>) -> Vec<u32> {
    let Some(spec) = spec_of(rule).filter(|spec| spec.ring_cookie <= QUEUE_MASK) else { return Vec::new() };
    let first = spec.ring_cookie as u32;
    if spec.flow_type & FLOW_RSS == 0 {
        return vec![first];
    }
    let table = rss.and_then(|rss| match rule.rss_context {
        0 => Some(&rss.table),
        context => rss.contexts.get(&context),
    });
    let mut queues: Vec<u32> = table.into_iter().flatten().map(|queue| queue.saturating_add(first)).collect();
    queues.sort_unstable();
    queues.dedup();
    queues
}

/// The RSS context that a rule spreads over, if it does.
pub(super) fn context_of(spec: &FlowSpec, rss_context: u32) -> Option<u32> {
    (spec.flow_type & FLOW_RSS != 0).then_some(rss_context)
}

/// Converts the kernel's representation of a rule.
pub(super) fn to_rule(spec: &FlowSpec, location: Option<u32>, rss_context: u32) -> FlowRule {
    let spec = FlowSpec { location: 0, ..*spec };
    FlowRule { location, spec: hex(&spec.to_bytes()), rss_context, text: describe(&spec, rss_context) }
}

/// Back to what the kernel takes; `None` where the text is not such a spec.
pub(super) fn spec_of(rule: &FlowRule) -> Option<FlowSpec> {
    FlowSpec::from_bytes(&unhex(&rule.spec)?)
}

/// Where the parts of a TCP or UDP spec lie.
struct Layout {
    source: usize,
    destination: usize,
    address_bytes: usize,
    source_port: usize,
    destination_port: usize,
    class: usize,
}

const fn layout(ipv6: bool) -> Layout {
    let bytes = if ipv6 { 16 } else { 4 };
    Layout {
        source: 0,
        destination: bytes,
        address_bytes: bytes,
        source_port: 2 * bytes,
        destination_port: 2 * bytes + 2,
        class: 2 * bytes + 4,
    }
}

/// A rule in the words of `ethtool -N`, as far as those go.
fn describe(spec: &FlowSpec, rss_context: u32) -> String {
    let kind = spec.flow_type & !(FLOW_EXT | FLOW_MAC_EXT | FLOW_RSS);
    let mut words = match kind {
        TCP_V4_FLOW => vec!["flow-type tcp4".to_owned()],
        UDP_V4_FLOW => vec!["flow-type udp4".to_owned()],
        TCP_V6_FLOW => vec!["flow-type tcp6".to_owned()],
        UDP_V6_FLOW => vec!["flow-type udp6".to_owned()],
        ETHER_FLOW => vec!["flow-type ether".to_owned()],
        other => vec![format!("flow-type {other:#x}")],
    };
    match kind {
        TCP_V4_FLOW | UDP_V4_FLOW => words.extend(transport(spec, &layout(false))),
        TCP_V6_FLOW | UDP_V6_FLOW => words.extend(transport(spec, &layout(true))),
        _ => {}
    }
    if spec.mask_ext != [0; 20] {
        words.push("(further fields match too)".to_owned());
    }
    match spec.ring_cookie {
        RX_CLS_FLOW_DISC => words.push("action -1".to_owned()),
        RX_CLS_FLOW_WAKE => words.push("action -2".to_owned()),
        cookie if cookie > QUEUE_MASK => {
            words.push(format!("vf {} queue {}", (cookie >> 32) - 1, cookie & QUEUE_MASK));
        }
        _ if spec.flow_type & FLOW_RSS != 0 => words.push(format!("context {rss_context}")),
        cookie => words.push(format!("action {cookie}")),
    }
    words.join(" ")
}

fn transport(spec: &FlowSpec, layout: &Layout) -> Vec<String> {
    let mut words = Vec::new();
    let mut field = |name: &str, at: usize, bytes: usize, show: fn(&[u8]) -> String| {
        let (value, mask) = (&spec.value[at..at + bytes], &spec.mask[at..at + bytes]);
        if mask.iter().all(|byte| *byte == 0) {
            return;
        }
        words.push(format!("{name} {}", show(value)));
        if mask.iter().any(|byte| *byte != 0xff) {
            // ethtool's masks name the bits that do not matter.
            let ignored: Vec<u8> = mask.iter().map(|byte| !byte).collect();
            words.push(format!("m {}", show(&ignored)));
        }
    };
    field("src-ip", layout.source, layout.address_bytes, address);
    field("dst-ip", layout.destination, layout.address_bytes, address);
    field("src-port", layout.source_port, 2, number);
    field("dst-port", layout.destination_port, 2, number);
    field("tos", layout.class, 1, number);
    words
}

fn address(bytes: &[u8]) -> String {
    match *bytes {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).to_string(),
        _ => {
            bytes.first_chunk().map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes).to_string()).unwrap_or_default()
        }
    }
}

fn number(bytes: &[u8]) -> String {
    bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_read_and_said_alike() {
        for text in ["tcp4:9999", "tcp6:443", "tcp4:1@3"] {
            assert_eq!(text.parse::<Flow>().map(|flow| flow.to_string()).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn a_wrong_flow_says_what_is_wrong() {
        let message =
            |text: &str| text.parse::<Flow>().map_err(|error| error.to_string()).err().unwrap_or_default();
        assert!(message("tcp4").contains("no port"));
        assert!(message("udp4:53").contains("TCP"));
        assert!(message("tcp4:0").contains("1 to 65535"));
        assert!(message("tcp4:70000").contains("1 to 65535"));
        assert!(message("tcp4:80@x").contains("not a queue index"));
    }

    #[test]
    fn a_rule_says_what_ethtool_would_be_told() {
        let four = Flow { ipv6: false, port: 9999, queue: None }.rule(1, Some(7));
        assert_eq!(four.text, "flow-type tcp4 dst-port 9999 action 1");
        let six = Flow { ipv6: true, port: 443, queue: None }.rule(2, None);
        assert_eq!(six.text, "flow-type tcp6 dst-port 443 action 2");
    }

    #[test]
    fn a_rule_survives_being_written_down() {
        let flow = Flow { ipv6: true, port: 9999, queue: None };
        let rule = flow.rule(3, Some(12));
        let spec = spec_of(&rule).expect("the rule was made from a spec");
        assert_eq!(to_rule(&spec, Some(12), 0), rule);
        assert_eq!((queues_of(&rule, None), flow.steered_by(&rule)), (vec![3], Some(3)));
        let other = Flow { port: 9998, ..flow };
        assert_eq!(other.steered_by(&rule), None);
    }

    #[test]
    fn a_rule_that_drops_has_no_queue() {
        let mut spec =
            spec_of(&Flow { ipv6: false, port: 1, queue: None }.rule(0, None)).expect("made from a spec");
        spec.ring_cookie = RX_CLS_FLOW_DISC;
        let dropped = to_rule(&spec, Some(0), 0);
        assert_eq!((queues_of(&dropped, None), dropped.text.ends_with("action -1")), (vec![], true));
    }

    #[test]
    fn a_rule_that_spreads_leads_to_the_queues_of_its_context() {
        let mut spec =
            spec_of(&Flow { ipv6: false, port: 1, queue: None }.rule(0, None)).expect("made from a spec");
        spec.ring_cookie = 2;
        spec.flow_type |= FLOW_RSS;
        let rule = to_rule(&spec, Some(0), 5);
        assert!(rule.text.ends_with("context 5"));
        let rss = Rss { table: vec![0, 1], contexts: [(5, vec![1, 3, 1])].into(), ..Rss::default() };
        assert_eq!(queues_of(&rule, Some(&rss)), [3, 5]);
        assert_eq!(queues_of(&FlowRule { rss_context: 0, ..rule.clone() }, Some(&rss)), [2, 3]);
        assert_eq!(queues_of(&rule, None), [0; 0], "an unknown table is not a guess");
    }
}
