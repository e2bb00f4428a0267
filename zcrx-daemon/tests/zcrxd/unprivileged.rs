//! An ordinary user, and a host that refuses what a privileged user would get.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::harness::{Daemon, Outcome, TestDirectory, output, refusal, zcrxd};

/// `zcrxd` as an ordinary user without any capability, who has a directory for temporary files and no more.
fn as_user(place: &TestDirectory, args: &[&str]) -> Outcome<Command> {
    // The build directory may be closed to others.
    let binary = place.path().join("zcrxd");
    std::fs::copy(env!("CARGO_BIN_EXE_zcrxd"), &binary)?;
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
    let temporary = place.path().join("tmp");
    std::fs::create_dir(&temporary)?;
    std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o1777))?;
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ]);
        command.arg(&binary);
        command
    } else {
        Command::new(&binary)
    };
    command.args(args).env("TMPDIR", &temporary).current_dir("/");
    for variable in ["RUST_LOG", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// Nothing fails for lack of a privilege that it did not need, and what is lost is said.
#[test]
fn ordinary_user_receives_and_sees_what_is_missing() -> Outcome {
    let place = TestDirectory::new("user")?;
    let args = ["run", "--listen", "127.0.0.1:0", "--sink", "verify", "--web.listen-address", "127.0.0.1:0"];
    let command = as_user(&place, &args)?;
    let daemon = Daemon::spawn(command, place)?;
    assert_eq!(daemon.get("/readyz")?.status, 200);
    let page = daemon.get("/")?.body;
    assert!(page.contains("not attached"), "the page says that probes are missing:\n{page}");
    assert!(
        page.contains("CAP_BPF") || page.contains("eBPF programs"),
        "the page says what would help:\n{page}"
    );
    let sent = output(zcrxd(&["send", "--to", &daemon.listen[0].to_string(), "--bytes", "1MiB"]))?;
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("no probe is attached"), "{said}");
    Ok(())
}

#[test]
fn missing_capability_is_named_with_its_purpose() -> Outcome {
    let place = TestDirectory::new("capability")?;
    let args = ["run", "--no-probes", "--listen", "127.0.0.1:0", "--interface", "lo", "--backend", "device"];
    let (code, said) =
        refusal(as_user(&place, &[&args[..], &["--web.listen-address", "127.0.0.1:0"]].concat())?)?;
    assert_eq!(code, Some(3), "{said}");
    let line = said.lines().find(|line| line.starts_with("zcrxd: ")).ok_or("no line")?;
    assert!(line.contains("CAP_NET_ADMIN") && line.contains("register"), "{line}");
    Ok(())
}

/// A seccomp filter that refuses a system call, as container runtimes install it.
fn without(call: libc::c_long, mut command: Command, errno: i32) -> Command {
    const fn statement(code: u32, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
    }
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: call as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: prctl reads its arguments only; `program` points to a live filter of the length it states.
        let installed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if installed { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and touches nothing but its own memory.
    unsafe { command.pre_exec(install) };
    command
}

#[test]
fn without_io_uring_zcrxd_observes_or_reports_it() -> Outcome {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let place = TestDirectory::new(&format!("seccomp-{errno}"))?;
        let dir = place.path().join("run").display().to_string();
        let args = ["run", "--no-probes", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"];
        let receive = [&args[..], &["--listen", "127.0.0.1:0"]].concat();
        let (code, said) = refusal(without(libc::SYS_io_uring_setup, zcrxd(&receive), errno))?;
        assert_eq!(code, Some(3), "{said}");
        let line = said.lines().find(|line| line.starts_with("zcrxd: ")).ok_or("no line")?;
        assert!(line.contains("io_uring"), "{line}");
        let observer = Daemon::spawn(without(libc::SYS_io_uring_setup, zcrxd(&args), errno), place)?;
        assert_eq!(observer.get("/readyz")?.status, 200);
    }
    Ok(())
}

/// A refused bpf(2) is one finding with its likely reason, and one line of the log, whatever the number of probes.
#[test]
fn refused_bpf_is_one_finding() -> Outcome {
    if !geteuid().is_root() {
        return Ok(());
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        let without_bpf = |args: &[&str]| without(libc::SYS_bpf, zcrxd(args), errno);
        let checked = output(without_bpf(&["check", "--format", "json"]))?;
        let report: serde_json::Value = serde_json::from_slice(&checked.stdout)?;
        let findings = report["findings"].as_array().ok_or("no findings")?;
        let of_probes: Vec<_> = findings.iter().filter(|finding| finding["group"] == "probes").collect();
        if of_probes.iter().all(|finding| finding["verdict"] == "skip") {
            // The kernel of this host has no zcrx, or this build has no programs.
            continue;
        }
        assert_eq!(of_probes.len(), 1, "{of_probes:?}");
        let found = of_probes[0]["found"].as_str().ok_or("no text")?;
        assert!(found.contains("system call bpf") && found.contains("seccomp filter"), "{found}");
        let last = findings.last().ok_or("no findings")?;
        assert_eq!(last["group"], "causes", "the report ends with what can be diagnosed: {last}");
        assert_eq!(last["verdict"], "warn", "{last}");
        for command in ["queues", "diagnose"] {
            let refused = output(without_bpf(&[command]))?;
            let said = String::from_utf8(refused.stderr)?;
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("seccomp filter"), "{said}");
        }
        let place = TestDirectory::new(&format!("bpf-{errno}"))?;
        let dir = place.path().join("run").display().to_string();
        let daemon = Daemon::spawn(
            without_bpf(&["run", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"]),
            place,
        )?;
        let (_, said) = daemon.end(Signal::SIGTERM)?;
        assert_eq!(said.lines().filter(|line| line.contains("WARN")).count(), 1, "{said}");
    }
    Ok(())
}
