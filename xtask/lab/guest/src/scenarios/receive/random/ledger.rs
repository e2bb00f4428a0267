//! Compares the senders' ledgers with the destinations' ledgers and with the losses that zcrxd logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::destinations::Arrived;
use super::senders::Sent;
use super::stream::{HEADER_BYTES, first_difference, number_in};

/// Sums of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) connections: u64,
    pub(super) written: u64,
    pub(super) acknowledged: u64,
    pub(super) arrived: u64,
    pub(super) lost: u64,
    /// Connections whose loss was between what was acknowledged and what was written.
    pub(super) with_loss: u64,
}

/// Losses in zcrxd's log by the sender's port. Port 0 has those without a peer and those whose lines the log's rate limit
/// suppressed: the line that zcrxd logs when it has stopped has the sum of all.
pub(super) fn losses(log: &str) -> Result<BTreeMap<u16, u64>> {
    let mut losses = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(" lost=")) {
        let field = |name: &str| {
            let rest = line.split_once(name).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split_whitespace().next())
                .map(|value| value.trim_matches('"').to_owned())
        };
        let port = field("peer=").and_then(|peer| peer.rsplit_once(':')?.1.parse().ok()).unwrap_or(0);
        let lost: u64 =
            field(" lost=").and_then(|lost| lost.parse().ok()).with_context(|| line.to_owned())?;
        *losses.entry(port).or_default() += lost;
    }
    let sums = log.lines().filter(|line| line.contains("stopped: ")).filter_map(|line| {
        line.split_once(" acknowledged bytes lost")?.0.rsplit(' ').next()?.parse::<u64>().ok()
    });
    let unnamed = sums.sum::<u64>().saturating_sub(losses.values().sum());
    if unnamed > 0 {
        *losses.entry(0).or_default() += unnamed;
    }
    Ok(losses)
}

/// Adds the content of the files of a directory. Fails if a byte is not what was sent.
pub(super) fn read_files(directory: &Path, arrived: &mut BTreeMap<u64, Arrived>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry.context("cannot read a folder of files")?.path();
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(number) = number_in(&content) else {
            ensure!(content.len() < HEADER_BYTES as usize, "{} has no header", path.display());
            continue;
        };
        if let Some(at) = first_difference(number, 0, &content) {
            bail!("{}: byte {at} is not what was sent", path.display());
        }
        let found = Arrived { bytes: content.len() as u64, ..Arrived::default() };
        ensure!(arrived.insert(number, found).is_none(), "connection {number} arrived twice");
    }
    Ok(())
}

/// Checks every connection: the bytes that were acknowledged to its sender are those that its destination got and those that
/// zcrxd says are lost, and no byte more than was sent.
///
/// The sink `discard` keeps no record, and `verify` reports only with a verdict: `unknown` returns whether a connection's sink may
/// have been one of these.
pub(super) fn check(
    sent: &[Sent],
    arrived: &BTreeMap<u64, Arrived>,
    losses: &BTreeMap<u16, u64>,
    unknown: impl Fn(&Sent) -> bool,
) -> Result<Sums> {
    let mut sums = Sums::default();
    let mut short = Vec::new();
    // A port may have served several connections, one after the other.
    let mut by_port: BTreeMap<u16, Vec<&Sent>> = BTreeMap::new();
    for one in sent {
        by_port.entry(one.port).or_default().push(one);
    }
    for (port, connections) in by_port {
        let lost = losses.get(&port).copied().unwrap_or(0);
        sums.lost += lost;
        sums.with_loss += u64::from(lost > 0);
        let (mut least, mut most, mut got, mut known, mut exact) = (0, 0, 0, true, true);
        for one in &connections {
            sums.connections += 1;
            sums.written += one.written;
            sums.acknowledged += one.acknowledged;
            least += one.acknowledged;
            most += one.written;
            match (arrived.get(&one.plan.number), one.verified) {
                (Some(arrived), _) => {
                    got += arrived.bytes;
                    exact &= !arrived.forwarded;
                }
                (None, Some(verified)) => got += verified,
                (None, None) => known &= !unknown(one),
            }
        }
        sums.arrived += got;
        ensure!(lost <= most, "{lost} bytes of {most} are said to be lost: {connections:?}");
        ensure!(got <= most, "{got} bytes of {most} arrived: {connections:?}");
        if known && exact {
            // A file that got less than a header cannot say which connection brought it.
            let slack = if got == 0 { HEADER_BYTES } else { 0 };
            ensure!(
                got + lost <= most + slack,
                "more arrived than was sent: {got} and {lost} lost: {connections:?}"
            );
        }
        if known && got + lost < least {
            short.push((least - got - lost, format!("{got} arrived, {lost} lost: {connections:?}")));
        }
    }
    let nameless = losses.get(&0).copied().unwrap_or(0);
    sums.lost += nameless;
    // A destination cannot attribute bytes that arrived without a header.
    short.retain(|(missing, _)| *missing >= HEADER_BYTES);
    let missing: u64 = short.iter().map(|(missing, _)| missing).sum();
    ensure!(
        missing <= nameless,
        "{missing} acknowledged bytes are missing, {nameless} lost without a name: {short:#?}"
    );
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::stream::{Plan, fill};
    use super::*;

    fn sent(number: u64, written: u64, acknowledged: u64) -> Sent {
        let plan = Plan::of(1, number, 1);
        let began = std::time::Instant::now();
        Sent { plan, port: 100 + number as u16, written, acknowledged, verified: None, began }
    }

    #[test]
    fn missing_doubled_and_invented_bytes_are_found() {
        let one = [sent(7, 1000, 900)];
        for forwarded in [false, true] {
            let check = |bytes, lost| {
                let arrived = BTreeMap::from([(7, Arrived { bytes, forwarded })]);
                check(&one, &arrived, &BTreeMap::from([(107, lost)]), |_| false)
            };
            assert!(check(900, 0).is_ok() && check(500, 400).is_ok() && check(600, 400).is_ok());
            assert!(check(800, 0).is_err(), "100 bytes are missing");
            assert!(check(1001, 0).is_err() && check(0, 1001).is_err(), "more than was sent");
            assert_eq!(check(900, 101).is_ok(), forwarded, "lost, or not confirmed in time");
        }
    }

    #[test]
    fn losses_are_read_from_the_log() -> Result<()> {
        let log = "WARN zcrxd: connection closed: TCP acknowledged 12 bytes queue=\"zcn0:1\" peer=\"10.9.0.2:4711\" lost=12\n\
                   WARN zcrxd: waiting queue=\"zcn0:1\" lost=5\nINFO zcrxd: fine\n";
        assert_eq!(losses(log)?, BTreeMap::from([(4711, 12), (0, 5)]));
        let suppressed = format!("{log}INFO zcrxd: stopped: 99 bytes; 20 acknowledged bytes lost\n");
        assert_eq!(losses(&suppressed)?, BTreeMap::from([(4711, 12), (0, 8)]));
        Ok(())
    }

    #[test]
    fn stream_names_its_connection_and_shows_a_wrong_byte() {
        let mut bytes = vec![0; 100];
        fill(9, 0, &mut bytes);
        assert_eq!((number_in(&bytes), first_difference(9, 0, &bytes)), (Some(9), None));
        bytes[50] ^= 1;
        assert_eq!(first_difference(9, 0, &bytes), Some(50));
        assert_eq!(first_difference(8, 0, &bytes), Some(12));
    }
}
