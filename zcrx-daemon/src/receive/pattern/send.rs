//! A blocking client that sends the pattern.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::{ParseVerdictError, Verdict, fill, header};

/// How much is generated at once, bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why sending came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No program listens there, or the address is unreachable.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("lost {address} after {sent} payload bytes: {source}")]
    Lost {
        /// Where to.
        address: SocketAddr,
        /// Payload handed to the kernel before, bytes.
        sent: u64,
        /// Why.
        source: io::Error,
    },
    /// The other side answered something else, or nothing.
    #[error("{address} answered: {source}")]
    Answer {
        /// Who.
        address: SocketAddr,
        /// What it said.
        source: ParseVerdictError,
    },
}

/// Sends a stream of `bytes` payload bytes to a sink that verifies, and waits for its verdict.
pub fn send(address: SocketAddr, bytes: u64, seed: u64) -> Result<Verdict, SendError> {
    let mut stream = TcpStream::connect(address).map_err(|source| SendError::Connect { address, source })?;
    let mut sent = 0;
    let answer = write_stream(&mut stream, bytes, seed, &mut sent)
        .and_then(|()| read_answer(&stream))
        .map_err(|source| SendError::Lost { address, sent, source })?;
    answer.parse().map_err(|source| SendError::Answer { address, source })
}

fn write_stream(stream: &mut TcpStream, bytes: u64, seed: u64, sent: &mut u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    stream.write_all(&header(seed))?;
    while *sent < bytes {
        let now = (bytes - *sent).min(CHUNK_BYTES as u64) as usize;
        fill(seed, *sent, &mut chunk[..now]);
        stream.write_all(&chunk[..now])?;
        *sent += now as u64;
    }
    stream.shutdown(Shutdown::Write)
}

fn read_answer(stream: &TcpStream) -> io::Result<String> {
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
