//! The example program of the crate `zcrx-receive`: a complete receiver.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::zero_copy::ZeroCopy;
use crate::harness::{STEP_LIMIT, eventually, program};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[EXAMPLE];

const BYTES: u64 = 1 << 30;

const EXAMPLE: Scenario = Scenario {
    name: "receive-example",
    about: "the example program of the crate zcrx-receive receives 1 GiB: the NIC wrote all of it to the program's buffers and \
            nothing to ordinary pages, and the kernel copied nothing",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 1200,
    default: false,
    run: || {
        let nic = Nic::pair()?;
        let zero_copy = ZeroCopy::watch(&nic)?;
        let (queue, port) = (nic::QUEUE.to_string(), nic::PORT.to_string());
        let mut command = nic.rx.command(program("receive-example"));
        let mut example =
            Process::start("example", command.args([nic::RX, &queue, &port, &BYTES.to_string()]))?;
        nic.tx.enter(|| {
            let stream = eventually("the example listens", STEP_LIMIT, || {
                example.alive()?;
                Ok(TcpStream::connect(Nic::address()).ok())
            })?;
            send(stream)
        })?;
        let printed = example.finish(TRANSFER_LIMIT)?;
        print!("{printed}");
        ensure!(printed.starts_with(&format!("received {BYTES} bytes ")), "the example prints {printed:?}");
        zero_copy.verify(BYTES)
    },
};

/// Sends all bytes, and waits until the example has received them and closes.
fn send(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a read")?;
    stream.set_write_timeout(Some(TRANSFER_LIMIT)).context("cannot limit a write")?;
    let piece = vec![7; 64 << 10];
    for _ in 0..BYTES / piece.len() as u64 {
        stream.write_all(&piece).context("cannot send")?;
    }
    stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
    stream.read_to_end(&mut Vec::new()).context("the example does not close")?;
    Ok(())
}
