//! zcrxd: see the library's [`cli`](zcrx_daemon::cli) for its commands.

fn main() -> std::process::ExitCode {
    zcrx_daemon::cli::main()
}
