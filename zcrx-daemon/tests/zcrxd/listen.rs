//! Where the web endpoint listens: hosts without IPv6, hosts that keep IPv4 apart, sockets of systemd.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::{Daemon, Outcome, TestDirectory, refusal, request, zcrxd};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: zcrxd\r\nConnection: close\r\n\r\n";

/// Offset of the number of the system call in `struct seccomp_data`, and of the low half of its first argument.
const CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

/// `zcrxd run` that listens on every address.
fn run_everywhere(place: &TestDirectory) -> Command {
    let dir = place.path().join("run").display().to_string();
    zcrxd(&["run", "--no-probes", "--runtime-dir", &dir, "--web.listen-address", ":0"])
}

/// Has the kernel refuse IPv6 sockets with EAFNOSUPPORT, as it does where IPv6 is switched off and as systemd's
/// `RestrictAddressFamilies=` has it do.
fn without_ipv6(command: &mut Command) -> Outcome {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| -> Outcome<libc::sock_filter> {
        Ok(libc::sock_filter { code: u16::try_from(code)?, jt, jf, k })
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let refused = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EAFNOSUPPORT)?;
    let mut filter = [
        instruction(load, 0, 0, CALL)?,
        instruction(equal, 0, 3, u32::try_from(libc::SYS_socket)?)?,
        instruction(load, 0, 0, FIRST_ARGUMENT)?,
        instruction(equal, 0, 1, u32::try_from(libc::AF_INET6)?)?,
        instruction(end, 0, 0, refused)?,
        instruction(end, 0, 0, libc::SECCOMP_RET_ALLOW)?,
    ];
    let install = move || {
        let len = u16::try_from(filter.len()).map_err(std::io::Error::other)?;
        let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
        // SAFETY: prctl may be called after a fork; the program and its filter live until the call returns.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure only calls prctl, which is async-signal-safe.
    unsafe { command.pre_exec(install) };
    Ok(())
}

#[test]
fn every_address_is_every_ipv4_address_where_there_is_no_ipv6() -> Outcome {
    let place = TestDirectory::new("listen-no-ipv6")?;
    let mut command = run_everywhere(&place);
    without_ipv6(&mut command)?;
    let daemon = Daemon::spawn(command, place)?;
    assert_eq!(daemon.web.ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon.web.port()));
    assert_eq!(request(address, HEALTH)?.status, 200);
    Ok(())
}

#[test]
fn every_address_includes_ipv4_where_ipv6_sockets_leave_it_out() -> Outcome {
    let place = TestDirectory::new("listen-bindv6only")?;
    let apart = "echo 1 > /proc/sys/net/ipv6/bindv6only && ip link set lo up && exec \"$@\"";
    let run = run_everywhere(&place);
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "sh", "-c", apart, "sh"]).arg(run.get_program()).args(run.get_args());
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    if !Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        println!("skipped: this user cannot make a network namespace");
        return Ok(());
    }
    let daemon = Daemon::spawn(command, place)?;
    let namespace = File::open(format!("/proc/{}/ns/net", daemon.pid()))?;
    let port = daemon.web.port();
    let both = std::thread::spawn(move || -> Result<(), String> {
        // Only this thread changes its namespace, and it ends here.
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| error.to_string())?;
        let only_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
        let other = only_ipv6.local_addr().map_err(|error| error.to_string())?.port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, other)).is_err(), "sockets leave IPv4 out here");
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let answer =
                request((address, port).into(), HEALTH).map_err(|error| format!("{address}: {error}"))?;
            assert_eq!(answer.status, 200, "{address}");
        }
        Ok(())
    });
    Ok(both.join().map_err(|_| "the thread panicked")??)
}

/// `zcrxd run` that gets this socket from systemd.
fn run_with(socket: OwnedFd, place: &TestDirectory) -> Command {
    let dir = place.path().join("run").display().to_string();
    // The first descriptor that is handed over is 3; the process id must be the daemon's own.
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let run = zcrxd(&["run", "--no-probes", "--runtime-dir", &dir, "--web.systemd-socket"]);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.stdin(Stdio::from(socket)).env_remove("NOTIFY_SOCKET");
    command
}

#[test]
fn sockets_from_systemd_are_used() -> Outcome {
    let place = TestDirectory::new("listen-socket")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let dir = place.path().join("run").display().to_string();
    let daemon = Daemon::spawn(run_with(listener.into(), &place), place)?;
    assert_eq!(daemon.web, address);
    assert_eq!(daemon.get("/metrics")?.status, 200);
    let without = zcrxd(&["run", "--no-probes", "--runtime-dir", &format!("{dir}2"), "--web.systemd-socket"]);
    let (code, said) = refusal(without)?;
    assert_eq!(code, Some(3));
    assert!(said.contains("systemd passed no socket"), "{said}");
    Ok(())
}

#[test]
fn sockets_of_a_wrong_kind_from_systemd_are_refused() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    let wrong: [(&str, OwnedFd); 2] =
        [("datagrams", UdpSocket::bind("127.0.0.1:0")?.into()), ("accept", accepted.into())];
    for (unit, socket) in wrong {
        let place = TestDirectory::new(&format!("listen-{unit}"))?;
        let (code, said) = refusal(run_with(socket, &place))?;
        assert_eq!(code, Some(3), "{unit}: {said}");
        assert!(said.contains("ListenStream= and Accept=no"), "{unit}: {said}");
    }
    drop(client);
    Ok(())
}
