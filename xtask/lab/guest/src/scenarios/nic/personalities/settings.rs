//! Everything of an interface that preparing it for zcrx may change, read without zcrxd's help.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use netlink_bindings::ethtool;
use netlink_socket2::NetlinkSocket;

use crate::harness::nic::{self, Driver, Nic};

const CONFIGURED_SPLIT: &str = "hds_config: ";
const KEY: &str = "RSS key of context ";

/// What ethtool shows, RSS key and transformation of every context, the threshold of header split, and what the stack keeps as
/// header split's configuration where the driver shows that: others report something else.
pub(super) fn shown(nic: &Nic) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    for option in ["-g", "-l", "-x", "-n", "-k"] {
        let lines = nic.ethtool(&[option, nic::RX])?;
        shown.extend(lines.lines().map(|line| format!("ethtool {option}: {}", line.trim())));
    }
    let (split, threshold) = nic.receiving().reported_header_split()?;
    shown.push(format!("tcp-data-split {split:?}, hds-thresh {threshold:?}"));
    shown.extend(rss(nic)?);
    if Driver::of_this_guest()? == Driver::Software {
        shown.push(format!("{CONFIGURED_SPLIT}{}", configured_split(nic)?));
    }
    Ok(shown)
}

/// Splits RSS keys, which a driver chooses at random when it is loaded, from everything else.
pub(super) fn without_keys(shown: &[String]) -> (Vec<String>, Vec<String>) {
    let is_key = |line: &String| {
        let table = line.strip_prefix("ethtool -x: ").unwrap_or_default();
        let is_hex = |byte: &str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
        line.starts_with(KEY) || table.contains(':') && table.split(':').all(is_hex)
    };
    shown.iter().cloned().partition(is_key)
}

/// The same without what the stack keeps of header split and no driver reports.
pub(super) fn without_configured_split(shown: &[String]) -> Vec<String> {
    shown.iter().filter(|line| !line.starts_with(CONFIGURED_SPLIT)).cloned().collect()
}

/// Fails with the lines that differ.
pub(super) fn same(when: &str, expected: &[String], found: &[String]) -> Result<()> {
    let gone: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let new: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    ensure!(expected == found, "{when}: {gone:?} became {new:?}");
    Ok(())
}

fn configured_split(nic: &Nic) -> Result<String> {
    let path = Path::new("/sys/kernel/debug/zcnic").join(nic::RX).join("hds_config");
    nic.rx.enter(|| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    })
}

/// Two lines for each RSS context.
fn rss(nic: &Nic) -> Result<Vec<String>> {
    const RSS_GET: u8 = 38;
    nic.rx.enter(|| {
        let mut request = ethtool::Request::new().op_rss_get_dump();
        // The bindings number ethtool's commands by place in the specification, which leaves some out.
        request.header_mut().cmd = RSS_GET;
        drop(request.encode().nested_header().push_dev_name_bytes(nic::RX.as_bytes()));
        let mut socket = NetlinkSocket::new();
        let mut replies = socket.request(&request).context("cannot ask for RSS")?;
        let mut contexts = Vec::new();
        while let Some(reply) = replies.recv() {
            let reply = reply.context("RSS is refused")?;
            let context = reply.get_context().unwrap_or(0);
            contexts.push(format!("{KEY}{context}: {:?}", reply.get_hkey().ok()));
            contexts.push(format!(
                "RSS context {context}: function {:?}, input_xfrm {:?}, table {:?}",
                reply.get_hfunc().ok(),
                reply.get_input_xfrm().ok(),
                reply.get_indir().ok(),
            ));
        }
        ensure!(!contexts.is_empty(), "the kernel lists no RSS context");
        Ok(contexts)
    })
}

/// Sets symmetric hashing, of which old ethtools know nothing.
pub(super) fn set_symmetric_hashing(nic: &Nic, input_xfrm: u32) -> Result<()> {
    const RSS_SET: u8 = 48;
    nic.rx.enter(|| {
        let mut request = ethtool::Request::new().op_rss_set_do();
        request.header_mut().cmd = RSS_SET;
        let header = request.encode().nested_header().push_dev_name_bytes(nic::RX.as_bytes()).end_nested();
        drop(header.push_input_xfrm(input_xfrm));
        let mut socket = NetlinkSocket::new();
        let mut reply = socket.request(&request).context("cannot ask for symmetric hashing")?;
        reply.recv_ack().context("symmetric hashing is refused")
    })
}
