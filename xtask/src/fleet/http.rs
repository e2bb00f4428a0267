//! A small HTTP server: GET and POST, connections that stay open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

/// Enough for a thread that only copies text.
const STACK: usize = 256 << 10;

/// A request.
pub(super) struct Request {
    /// Path with the query.
    pub path: String,
    /// What a POST carries; empty for a GET.
    pub body: Vec<u8>,
}

/// Answers every request with what `answer` returns, until this process ends. Returns the address.
pub(super) fn serve(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
    let address = listener.local_addr().context("cannot read the address of a listener")?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // The peer sees a connection that ends; it connects again.
            let connection = move || connection(stream, answer.as_ref()).ok();
            thread::Builder::new().stack_size(STACK).spawn(connection).ok();
        }
    });
    Ok(address)
}

fn connection(stream: TcpStream, answer: &dyn Fn(&Request) -> Vec<u8>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = request(&mut reader)? {
        let body = answer(&request);
        // One write, so that no packet waits for an acknowledgement.
        let mut text = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        text.extend(body);
        writer.write_all(&text)?;
    }
    Ok(())
}

/// Reads a request; `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { path, body }))
}
