//! A receive loop on epoll and `read`: the yardstick for the copy backend.
//!
//! Level-triggered, one `read` of up to 64 KiB into the same memory for each readable connection. Looks at no data and survives no error.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, bail};
use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create, wait};

/// Where to receive.
#[derive(Args, Clone, Debug)]
pub(crate) struct EpollArgs {
    /// Address to accept connections on.
    #[arg(long, default_value = "[::]:9999")]
    listen: SocketAddr,
}

/// Receives until killed; prints the bytes so far whenever a connection has ended.
pub(crate) fn run(args: &EpollArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listening on {}", args.listen))?;
    let epoll = create(CreateFlags::CLOEXEC).context("creating an epoll instance")?;
    add(&epoll, &listener, EventData::new_u64(0), EventFlags::IN).context("watching the listener")?;
    println!("{}", serde_json::json!({ "pid": std::process::id(), "bytes": 0 }));
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        wait(&epoll, spare_capacity(&mut events), None).context("waiting for events")?;
        for event in &events {
            let data = event.data;
            let Some(index) = (data.u64() as usize).checked_sub(1) else {
                let (stream, _) = listener.accept().context("accepting a connection")?;
                let number = connections.len() as u64 + 1;
                add(&epoll, &stream, EventData::new_u64(number), EventFlags::IN)
                    .context("watching a connection")?;
                connections.push(Some(stream));
                continue;
            };
            let Some(stream) = &mut connections[index] else { bail!("connection {index} is closed") };
            match stream.read(&mut buffer).context("reading")? {
                0 => {
                    println!("{}", serde_json::json!({ "bytes": bytes }));
                    connections[index] = None;
                }
                read => bytes += read,
            }
        }
    }
}
