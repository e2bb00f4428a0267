//! The sending end of a battery: `zcrxd send --serve`.
//!
//! The battery connects to it and writes one line for each transfer, `PORT BYTES SEED verified|unverified`. The sender connects
//! back to that port of the host which asked, and to no other, sends, and answers with one line: `ok`, or the reason.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::receive::pattern::{SendError, Verdict, send};

/// How long the battery waits for a connection, and the longest single wait for an answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest request that the sending end reads, bytes. A battery may have any number of them.
const REQUEST_LIMIT: u64 = 128;
/// Largest transfer that the sending end sends.
pub(super) const TRANSFER_BYTES: u64 = 4 << 30;
const POLL: Duration = Duration::from_millis(50);

/// A connection to the sending end.
pub(super) struct Peer {
    stream: BufReader<TcpStream>,
    /// The part of an answer that has arrived.
    line: String,
    /// Transfers that have no result yet: those before the last one belong to tests that ended early.
    running: u32,
}

/// A transfer that the sending end is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) port: u16,
    pub(super) bytes: u64,
    pub(super) seed: u64,
    /// Whether the receiver answers with a verdict.
    pub(super) verified: bool,
}

impl Peer {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL))?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), running: 0 })
    }

    /// The address of this host that the peer reaches.
    pub(super) fn local_address(&self) -> io::Result<IpAddr> {
        Ok(self.stream.get_ref().local_addr()?.ip())
    }

    /// Asks for a transfer; [`Peer::outcome`] returns its result.
    pub(super) fn ask(&mut self, transfer: Transfer) -> io::Result<()> {
        let Transfer { port, bytes, seed, verified } = transfer;
        self.running += 1;
        let verdict = if verified { "verified" } else { "unverified" };
        self.stream.get_mut().write_all(format!("{port} {bytes} {seed} {verdict}\n").as_bytes())
    }

    /// The result of the transfer that was asked for last; `None` if it is still running. Waits a moment.
    pub(super) fn outcome(&mut self) -> io::Result<Option<Result<(), String>>> {
        match self.stream.read_line(&mut self.line) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer ended the connection")),
            Ok(_) => {
                let line = std::mem::take(&mut self.line);
                self.running = self.running.saturating_sub(1);
                if self.running > 0 {
                    return Ok(None);
                }
                let line = line.trim_end();
                Ok(Some(if line == "ok" { Ok(()) } else { Err(line.to_owned()) }))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Sends for batteries until the process ends.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || {
            // A battery that ends closes the connection; the next one opens another.
            serve_battery(&stream).ok();
        });
    }
}

fn serve_battery(mut stream: &TcpStream) -> io::Result<()> {
    let asker = stream.peer_addr()?.ip();
    let mut requests = BufReader::new(stream);
    let mut line = String::new();
    while requests.by_ref().take(REQUEST_LIMIT).read_line(&mut line)? > 0 {
        let Some(request) = line.strip_suffix('\n') else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request is cut off, or too long"));
        };
        let answer = parse(request).map_or_else(Err, |transfer| transmit(asker, transfer));
        let answer = answer.map_or_else(|why| why.replace('\n', " "), |()| "ok".to_owned());
        stream.write_all(format!("{answer}\n").as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn transmit(to: IpAddr, transfer: Transfer) -> Result<(), String> {
    match send(SocketAddr::new(to, transfer.port), transfer.bytes, transfer.seed) {
        Ok(Verdict::Ok { payload }) if payload == transfer.bytes => Ok(()),
        Ok(verdict) => Err(format!("verdict of the receiver: {verdict}")),
        Err(SendError::Answer { .. }) if !transfer.verified => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse(line: &str) -> Result<Transfer, String> {
    let wrong = || format!("{line:?} is no transfer: write PORT BYTES SEED verified|unverified");
    let mut words = line.split(' ');
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or_else(wrong);
    let (port, bytes, seed) = (number()?, number()?, number()?);
    let port = u16::try_from(port).map_err(|_| wrong())?;
    if bytes > TRANSFER_BYTES {
        return Err(format!("{bytes} bytes are more than the {TRANSFER_BYTES} that one transfer may have"));
    }
    let verified = match (words.next(), words.next()) {
        (Some("verified"), None) => true,
        (Some("unverified"), None) => false,
        _ => return Err(wrong()),
    };
    Ok(Transfer { port, bytes, seed, verified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_is_parsed_and_anything_else_refused() {
        let transfer = Transfer { port: 9999, bytes: 100, seed: 7, verified: true };
        assert_eq!(parse("9999 100 7 verified"), Ok(transfer));
        for wrong in [
            "",
            "9999 100 7",
            "99999 100 7 verified",
            "9999 100 7 verified more",
            "9999 -1 7 verified",
            "9999 4294967297 7 verified",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn peer_reports_a_transfer_that_nobody_receives() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || serve(&listener));
        let mut peer = Peer::connect(address)?;
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        peer.ask(Transfer { port, bytes: 1, seed: 1, verified: true })?;
        assert!(last_outcome(&mut peer)?.is_err_and(|why| why.contains("cannot connect")));
        Ok(())
    }

    fn last_outcome(peer: &mut Peer) -> io::Result<Result<(), String>> {
        loop {
            if let Some(outcome) = peer.outcome()? {
                return Ok(outcome);
            }
        }
    }

    #[test]
    fn outcome_is_that_of_the_transfer_that_was_asked_for_last() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peer = Peer::connect(listener.local_addr()?)?;
        let (stream, _) = listener.accept()?;
        let transfer = Transfer { port: 1, bytes: 1, seed: 1, verified: true };
        // A test that ended early asked for the first one.
        peer.ask(transfer)?;
        (&stream).write_all(b"the one before failed\n")?;
        peer.ask(transfer)?;
        assert_eq!(peer.outcome()?, None);
        (&stream).write_all(b"ok\n")?;
        assert_eq!(last_outcome(&mut peer)?, Ok(()));
        Ok(())
    }

    #[test]
    fn battery_has_any_number_of_requests_of_limited_length() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || serve(&listener));
        let stream = TcpStream::connect(address)?;
        let mut answers = BufReader::new(&stream).lines();
        for _ in 0..10_000 {
            (&stream).write_all(b"no transfer\n")?;
            let answer = answers.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            assert!(answer.contains("is no transfer"), "{answer}");
        }
        (&stream).write_all(&[b'x'; 1000])?;
        assert!(
            answers.next().is_none_or(|answer| answer.is_err()),
            "too long a request ends the connection"
        );
        Ok(())
    }
}
