//! Finds packets whose headers the NIC does not split off.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{Battery, SMALL, Step, Stop, TRANSFER_LIMIT, skips_for_steering};
use crate::check::Verdict;
use crate::qualify::peer::Transfer;
use crate::qualify::report::QualifyReport;
use crate::receive::{QueueConfig, SinkConfig};

impl Battery<'_> {
    /// Packets with little payload, each on a connection that is read without zcrx: payload in the area cannot be read so.
    ///
    /// The kernel's counts of copies leave out what lies in the header buffer, so they do not show such packets.
    pub(super) fn header_split(&mut self, report: &mut QualifyReport) -> Step {
        const NAME: &str = "header_split";
        if skips_for_steering(report, NAME) {
            return Ok(());
        }
        let elsewhere = vec![SocketAddr::new(self.here, 0)];
        let queue = QueueConfig { listen: elsewhere, ..self.config(SinkConfig::Verify) };
        let receiver = self.registered(&queue)?;
        let listener = TcpListener::bind((self.here, self.target.port))?;
        listener.set_nonblocking(true)?;
        let (count, _) = SMALL;
        let mut outside = 0;
        for seed in 0..count {
            // Without payload the peer sends one packet, with the header of the test pattern.
            self.peer.ask(Transfer { port: self.target.port, bytes: 0, seed, verified: false })?;
            let connection = self.wait(TRANSFER_LIMIT, |_| accepted(&listener))?;
            let connection = connection.ok_or_else(|| Stop::Failed("no connection arrived".to_owned()))?;
            let is_outside = self.wait(TRANSFER_LIMIT, |_| lies_outside_the_area(&connection))?;
            outside += u64::from(is_outside.ok_or_else(|| Stop::Failed("no packet arrived".to_owned()))?);
            drop(connection);
            // The peer misses the answer.
            self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))?;
        }
        drop(receiver);
        if outside == 0 {
            report.add(
                NAME,
                Verdict::Pass,
                format!("the NIC split the headers of {count} of {count} small packets"),
            );
        } else {
            let found = format!(
                "{outside} of {count} small packets arrived outside the area: the NIC did not split their headers"
            );
            report.add(NAME, Verdict::Fail, found);
        }
        Ok(())
    }
}

/// The next connection, if there is one.
fn accepted(listener: &TcpListener) -> Step<Option<TcpStream>> {
    match listener.accept() {
        Ok((connection, _)) => {
            connection.set_nonblocking(true)?;
            Ok(Some(connection))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the first packet of a connection lies in ordinary memory; `None` if none has arrived. The kernel refuses to copy from an area
/// to a reader, with EFAULT.
fn lies_outside_the_area(connection: &TcpStream) -> Step<Option<bool>> {
    match connection.peek(&mut [0]) {
        Ok(0) => Err(Stop::Failed("a connection ended without a packet".to_owned())),
        Ok(_) => Ok(Some(true)),
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(Some(false)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}
