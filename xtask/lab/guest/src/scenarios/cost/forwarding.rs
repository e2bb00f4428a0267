//! Instructions per completion of a forward sink, which copies payload to the destination's socket or not.

use std::io::Read;
use std::net::TcpListener;
use std::thread;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::receiving::{TRANSFERS, keep, measure, zcrxd};
use crate::harness::instructions::require_counting;
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::Scenario;

/// The scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[FORWARD];

/// A forward sink whose destination is behind the NIC.
const FORWARD: Scenario = Scenario {
    name: "cost-forward",
    about: "instructions per completion of a sink that forwards over the NIC, with sendmsg and without a copy, one connection and \
            sixteen (lab run --count-instructions)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 1800,
    default: false,
    run: || {
        require_counting()?;
        let nic = Nic::pair()?;
        nic.patient_sender()?;
        let sink = format!("forward:{}", destination(&nic)?);
        for connections in [1, 16] {
            for (name, further) in [
                ("sendmsg", ["--sink", &sink].as_slice()),
                ("zero-copy", &["--sink", &sink, "--forward-zero-copy"]),
            ] {
                let mut daemon = zcrxd(&nic, further)?;
                let cost = measure(&nic, &mut daemon, connections, TRANSFERS, None)?;
                keep(&format!("forward/{name}/{connections}"), cost)?;
                let metrics = daemon.metrics()?;
                let bytes = metrics.count("zcrxd_receiver_forwarded_zero_copy_bytes_total")?;
                let copied = metrics.count("zcrxd_receiver_forwarded_zero_copy_copied_sends_total")?;
                let received = metrics.count("zcrxd_receiver_received_bytes_total")?;
                println!(
                    "{name}, {connections} connections: {bytes} of {received} bytes without a copy, {copied} sends copied"
                );
                ensure!((bytes > 0) == (name == "zero-copy"), "{name} sent {bytes} bytes without a copy");
                daemon.stop()?;
            }
        }
        Ok(())
    },
};

/// Starts a program behind the NIC that reads all connections to their end. Returns its address.
fn destination(nic: &Nic) -> Result<String> {
    let listener =
        nic.tx.enter(|| TcpListener::bind((nic::TX_ADDRESS, 0)).context("cannot bind a destination"))?;
    let address = listener.local_addr().context("no address")?.to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut room = vec![0; 64 << 10];
                // zcrxd counts what is lost on a failure.
                while stream.read(&mut room).is_ok_and(|bytes| bytes > 0) {}
            });
        }
    });
    Ok(address)
}
