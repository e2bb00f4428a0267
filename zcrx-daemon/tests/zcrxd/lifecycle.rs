//! How the daemon starts, refuses to, and ends.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::harness::{Daemon, Outcome, TestDirectory, output, refusal, zcrxd};

#[test]
fn without_arguments_zcrxd_observes_until_a_signal() -> Outcome {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let daemon = Daemon::start(&format!("observe-{signal}"), &[])?;
        assert_eq!(daemon.get("/readyz")?.status, 200);
        let (status, said) = daemon.end(signal)?;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains(&format!("stopping on {signal}")), "{said}");
        assert!(said.trim_end().ends_with("stopped: no queues, observed only"), "{said}");
    }
    Ok(())
}

#[test]
fn second_daemon_reports_the_pid_of_the_first() -> Outcome {
    let place = TestDirectory::new("second")?;
    let dir = place.path().join("run").display().to_string();
    let args = ["run", "--no-probes", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"];
    let first = Daemon::spawn(zcrxd(&args), place)?;
    let (code, said) = refusal(zcrxd(&args))?;
    assert_eq!(code, Some(3));
    assert_eq!(
        said,
        format!(
            "zcrxd: another zcrxd is running, pid {}: stop it, or start this one with another --runtime-dir and \
             other addresses ({dir}/zcrxd.lock is locked)\n",
            first.pid()
        )
    );
    assert_eq!(first.get("/healthz")?.status, 200, "the first one is not disturbed");
    Ok(())
}

#[test]
fn killed_daemon_leaves_no_lock() -> Outcome {
    let place = TestDirectory::new("killed")?;
    let dir = place.path().join("run").display().to_string();
    let args = ["run", "--no-probes", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"];
    let first = Daemon::spawn(zcrxd(&args), TestDirectory::new("killed-first")?)?;
    first.end(Signal::SIGKILL)?;
    Daemon::spawn(zcrxd(&args), place)?.end(Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn web_port_in_use_is_named_with_a_command_to_find_its_owner() -> Outcome {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let place = TestDirectory::new("port")?;
    let dir = place.path().join("run").display().to_string();
    let (code, said) =
        refusal(zcrxd(&["run", "--runtime-dir", &dir, "--web.listen-address", &address.to_string()]))?;
    assert_eq!(code, Some(3));
    assert_eq!(
        said,
        format!(
            "zcrxd: cannot listen on web address {address}: Address already in use (os error 98); `ss -ltnp 'sport = \
             :{}'` shows who does, --web.listen-address names another\n",
            address.port()
        )
    );
    Ok(())
}

#[test]
fn address_without_interface_is_refused() -> Outcome {
    let place = TestDirectory::new("address")?;
    let dir = place.path().join("run").display().to_string();
    // TEST-NET-1: no host has it.
    let (code, said) =
        refusal(zcrxd(&["run", "--runtime-dir", &dir, "--web.listen-address", "192.0.2.1:9965"]))?;
    assert_eq!(code, Some(3));
    assert!(said.contains("192.0.2.1:9965") && said.contains("no interface has it"), "{said}");
    Ok(())
}

#[test]
fn invalid_rust_log_is_refused() -> Outcome {
    let mut command = zcrxd(&["run"]);
    command.env("RUST_LOG", "=loud");
    let (code, said) = refusal(command)?;
    assert_eq!(code, Some(2));
    assert!(said.contains("check RUST_LOG"), "{said}");
    Ok(())
}

#[test]
fn json_format_logs_one_object_per_line() -> Outcome {
    let daemon = Daemon::start("json", &["--no-probes", "--log.format", "json"])?;
    let (_, said) = daemon.end(Signal::SIGTERM)?;
    for line in said.lines() {
        let object: serde_json::Value = serde_json::from_str(line)?;
        assert_eq!(object["level"], "INFO", "{line}");
        assert!(object["message"].is_string(), "{line}");
    }
    Ok(())
}

#[test]
fn probes_are_listed_as_text_and_json() -> Outcome {
    let text = output(zcrxd(&["probes"]))?;
    assert_eq!(text.status.code(), Some(0));
    let text = String::from_utf8(text.stdout)?;
    let json = output(zcrxd(&["probes", "--format", "json"]))?;
    let probes: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    let probes = probes.as_array().ok_or("not a list")?;
    assert!(!probes.is_empty(), "the catalogue is empty");
    for probe in probes {
        let name = probe["name"].as_str().ok_or("a probe without a name")?;
        let line =
            text.lines().find(|line| line.starts_with(name)).ok_or_else(|| format!("{name} is not told"))?;
        let (asked, attached) = (probe["asked"] == true, !probe["attached"].is_null());
        assert_eq!(line.contains("NOT attached"), asked && !attached, "{line}");
        assert_eq!(line.contains("not asked for"), !asked, "{line}");
    }
    let attached = probes.iter().filter(|probe| !probe["attached"].is_null()).count();
    let asked = probes.iter().filter(|probe| probe["asked"] == true).count();
    assert!(text.ends_with(&format!("\n{attached} of {asked} attached\n")), "{text}");
    Ok(())
}
