//! Emulated NICs for the lab: two of a kind, wired to each other, each served to QEMU over vfio-user.
//!
//! The drivers are the kernel's own, unmodified. What the devices do is read from those drivers' sources; see the
//! README beside this crate for what is emulated and what is not.
//!
//! A guest is hostile by assumption: every descriptor, length and index is checked, and the crate has no unsafe code.

#![forbid(unsafe_code)]

mod bytes;
mod fbnic;
mod gvnic;
#[cfg(test)]
mod hostile;
mod nic;
mod port;
mod server;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};

use self::fbnic::Fbnic;
use self::gvnic::Gvnic;
use self::nic::{Nic, Pair};
use self::server::Endpoint;

/// Serves two emulated NICs, wired to each other, to QEMU
#[derive(Debug, Parser)]
struct Arguments {
    /// Kind of NIC, by the name of its driver
    kind: Kind,
    /// Sockets of the two NICs; they must not exist
    #[arg(num_args = 2, required = true)]
    sockets: Vec<PathBuf>,
}

/// Kinds of NIC.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Google's virtual NIC
    Gve,
    /// Meta's host NIC
    Fbnic,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.kind {
        Kind::Gve => serve::<Gvnic>(&arguments.sockets),
        Kind::Fbnic => serve::<Fbnic>(&arguments.sockets),
    }
}

/// Serves both NICs until both are disconnected.
fn serve<N: Nic + 'static>(sockets: &[PathBuf]) -> Result<()> {
    let pair = Arc::new(Pair::<N>::new());
    let endpoints =
        sockets.iter().enumerate().map(|(end, path)| Endpoint::bind(path, Arc::clone(&pair), end));
    let endpoints = endpoints.collect::<Result<Vec<_>>>()?;
    println!("ready");
    let threads: Vec<_> =
        endpoints.into_iter().map(|endpoint| thread::spawn(move || endpoint.serve())).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("the thread of a NIC panicked"))?.context("cannot serve a NIC")?;
    }
    Ok(())
}
