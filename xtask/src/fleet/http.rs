//! An HTTP server for simulated hosts and for notifications.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use tiny_http::{Response, Server};

/// Requests that are answered at one time.
const AT_ONCE: usize = 4;

/// A request.
pub(super) struct Request {
    /// Path with the query.
    pub path: String,
    /// What a POST carries; empty for a GET.
    pub body: Vec<u8>,
}

/// Answers every request with what `answer` returns, until this process ends. Returns the address.
pub(super) fn serve(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Result<SocketAddr> {
    let server =
        Server::http("127.0.0.1:0").map_err(|error| anyhow!("cannot listen on 127.0.0.1: {error}"))?;
    let address = server.server_addr().to_ip().context("a listener has an address")?;
    let (server, answer) = (Arc::new(server), Arc::new(answer));
    for _ in 0..AT_ONCE {
        let (server, answer) = (Arc::clone(&server), Arc::clone(&answer));
        thread::spawn(move || {
            for mut request in server.incoming_requests() {
                let mut body = Vec::new();
                // A peer that is gone connects again.
                if request.as_reader().read_to_end(&mut body).is_ok() {
                    let asked = Request { path: request.url().to_owned(), body };
                    request.respond(Response::from_data(answer(&asked))).ok();
                }
            }
        });
    }
    Ok(address)
}
