//! A receiver of Alertmanager's notifications.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result};
use serde_json::Value;

/// Listens, and sends each notification's path and body through the channel.
pub(super) fn listen(address: SocketAddr) -> Result<Receiver<(String, Value)>> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            match notification(stream) {
                Ok(notification) => {
                    if sender.send(notification).is_err() {
                        return;
                    }
                }
                Err(error) => eprintln!("not a notification: {error:#}"),
            }
        }
    });
    Ok(receiver)
}

fn notification(stream: TcpStream) -> Result<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("no request")?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().context("no length")?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok((path, serde_json::from_slice(&body).context("no JSON")?))
}
