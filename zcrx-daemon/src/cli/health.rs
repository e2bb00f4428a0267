//! `zcrxd health`: whether the running zcrxd is alive, asked over its local socket.

use std::path::PathBuf;

use super::{Exit, complain, print};
use crate::daemon;

/// Arguments of `zcrxd health`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also fail while zcrxd is starting or stopping, or a local queue does not receive
    #[arg(long)]
    ready: bool,
    /// Runtime directory of the zcrxd to ask
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

/// Asks for the health of the running zcrxd. The local socket needs no credentials and no certificate: a probe in the
/// container works however the web endpoint is secured.
pub(super) fn run(args: &Args) -> Exit {
    let socket = daemon::socket(args.runtime_dir.as_deref());
    let page = if args.ready { "/readyz" } else { "/healthz" };
    match daemon::request(&socket, page) {
        Ok((200, body)) => {
            print(&body);
            Exit::Done
        }
        Ok((_, body)) => {
            complain(&body.trim_end());
            Exit::Host
        }
        Err(error) => {
            complain(&format!(
                "no zcrxd responds on {}: {error}; start it with `zcrxd run`, or name its directory with --runtime-dir",
                socket.display()
            ));
            Exit::Host
        }
    }
}
