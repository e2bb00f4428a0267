//! Real data, from `zcrxd send` to a queue of `zcrxd run`, and what the metrics say of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::harness::{Daemon, Outcome, TestDirectory, output, refusal, zcrxd};

const MIB: u64 = 1 << 20;

fn queue_daemon(name: &str, args: &[&str]) -> Outcome<Daemon> {
    Daemon::start(name, &[&["--no-probes", "--listen", "127.0.0.1:0"], args].concat())
}

#[test]
fn every_byte_arrives_and_every_buffer_is_accounted_for() -> Outcome {
    let daemon = queue_daemon("traffic-verify", &["--sink", "verify"])?;
    let to = daemon.listen[0].to_string();
    let sent = output(zcrxd(&["send", "--to", &to, "--bytes", "8MiB", "--connections", "4", "--seed", "7"]))?;
    let said = String::from_utf8(sent.stdout)?;
    assert_eq!(sent.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&sent.stderr));
    assert!(said.starts_with("sent 33554432 bytes on 4 of 4 connections"), "{said}");
    assert!(said.ends_with("; 4 verified\n"), "{said}");

    // The verdict is on its way before the connection is gone.
    daemon.wait_metric("zcrxd_receiver_connections{", |open| open == 0.0)?;
    let metric = |name: &str| daemon.metric(name)?.ok_or_else(|| format!("{name} is absent").into());
    let count = |name: &str| -> Outcome<u64> { metric(name).map(|value: f64| value as u64) };
    assert_eq!(count("zcrxd_receiver_verified_bytes_total{")?, 32 * MIB);
    assert_eq!(count("zcrxd_receiver_mismatched_bytes_total{")?, 0);
    assert_eq!(count("zcrxd_receiver_received_bytes_total{")?, 32 * MIB + 4 * 16, "payload and headers");
    assert_eq!(count("zcrxd_receiver_accepted_connections_total{")?, 4);
    let delivered = count("zcrxd_receiver_delivered_buffers_total{")?;
    let returned = count("zcrxd_receiver_returned_buffers_total{")?;
    assert!(delivered > 0);
    assert_eq!(delivered, returned + count("zcrxd_receiver_held_buffers{")?);

    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("stopped: 33554496 bytes in "), "{said}");
    assert!(said.contains(&format!("buffers delivered {delivered} = returned {returned} + held ")), "{said}");
    Ok(())
}

#[test]
fn stop_closes_open_connections() -> Outcome {
    let daemon = queue_daemon("traffic-open", &[])?;
    let mut client = TcpStream::connect(daemon.listen[0])?;
    client.write_all(&[7; 1000])?;
    daemon.wait_metric("zcrxd_receiver_received_bytes_total{", |bytes| bytes >= 1000.0)?;
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("stopped: 1000 bytes in "), "{said}");
    assert!(said.contains("of 1 connections (0 open)"), "{said}");
    // Closed or reset, but not waiting.
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    Ok(())
}

#[test]
fn wrong_data_gets_a_bad_verdict() -> Outcome {
    let daemon = queue_daemon("traffic-bad", &["--sink", "verify"])?;
    let mut client = TcpStream::connect(daemon.listen[0])?;
    client.write_all(b"zcrxpat1\0\0\0\0\0\0\0\0not the pattern")?;
    client.shutdown(std::net::Shutdown::Write)?;
    let mut verdict = String::new();
    client.read_to_string(&mut verdict)?;
    assert!(verdict.starts_with("bad ") && verdict.contains(" of 15, first at "), "{verdict}");
    assert!(daemon.metric("zcrxd_receiver_mismatched_bytes_total{")?.is_some_and(|bytes| bytes > 0.0));
    Ok(())
}

#[test]
fn missing_verdict_fails_unless_unverified_is_given() -> Outcome {
    let daemon = queue_daemon("traffic-discard", &["--sink", "discard"])?;
    let to = daemon.listen[0].to_string();
    let (code, said) = refusal(zcrxd(&["send", "--to", &to, "--bytes", "64KiB"]))?;
    assert_eq!(code, Some(1));
    assert!(said.contains("--unverified"), "{said}");
    let sent = output(zcrxd(&["send", "--to", &to, "--bytes", "64KiB", "--unverified"]))?;
    assert_eq!(sent.status.code(), Some(0));
    assert!(String::from_utf8(sent.stdout)?.ends_with("; 0 verified\n"));
    Ok(())
}

#[test]
fn refused_connection_is_reported() -> Outcome {
    let gone = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (code, said) = refusal(zcrxd(&["send", "--to", &gone.to_string(), "--bytes", "1"]))?;
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("cannot connect to {gone}")), "{said}");
    Ok(())
}

#[test]
fn impossible_queue_setting_stops_the_start() -> Outcome {
    let place = TestDirectory::new("traffic-refused")?;
    let dir = place.path().join("run").display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (args, words) in [
        (vec!["--listen", "127.0.0.1:0", "--interface", "no-such-if0"], vec!["no-such-if0"]),
        (vec!["--listen", "127.0.0.1:0", "--interface", "lo", "--queue", "4000"], vec!["lo", "4000"]),
        (vec!["--listen", &address], vec![address.as_str(), "ss -ltnp"]),
        (vec!["--listen", "127.0.0.1:0", "--interface", "lo", "--backend", "device"], vec!["device", "lo"]),
    ] {
        let base = ["run", "--no-probes", "--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"];
        let (code, said) = refusal(zcrxd(&[&base, args.as_slice()].concat()))?;
        assert_eq!(code, Some(3), "{said}");
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with("zcrxd: ")).collect();
        assert_eq!(lines.len(), 1, "one clear line:\n{said}");
        for word in words {
            assert!(lines[0].contains(word), "{word} is not in {said}");
        }
    }
    Ok(())
}

/// A daemon that forwards to a destination which has read nothing yet, with more on its way than the sockets take.
fn forwarding_daemon(name: &str) -> Outcome<(Daemon, TcpStream)> {
    const SENT: usize = 12 << 20;
    let destination = TcpListener::bind("127.0.0.1:0")?;
    SockRef::from(&destination).set_recv_buffer_size(64 << 10)?;
    let sink = format!("forward:{}", destination.local_addr()?);
    let daemon = queue_daemon(name, &["--sink", &sink, "--drain-timeout", "50s"])?;
    let mut sender = TcpStream::connect(daemon.listen[0])?;
    // It blocks once zcrxd takes no more, and ends with the connection.
    std::thread::spawn(move || sender.write_all(&vec![7; SENT]).ok());
    daemon.wait_metric("zcrxd_receiver_received_bytes_total{", |bytes| bytes >= 2.0 * MIB as f64)?;
    let (reader, _) = destination.accept()?;
    Ok((daemon, reader))
}

#[test]
fn pair_of_signals_leaves_the_sinks_their_time() -> Outcome {
    let (mut daemon, mut reader) = forwarding_daemon("traffic-pair")?;
    daemon.signal(Signal::SIGTERM)?;
    daemon.signal(Signal::SIGINT)?;
    daemon.wait_for("sinks have")?;
    // Longer than a stop takes that waits for no sink.
    std::thread::sleep(Duration::from_millis(1500));
    SockRef::from(&reader).set_recv_buffer_size(4 << 20)?;
    let mut received = Vec::new();
    reader.read_to_end(&mut received)?;
    let said = daemon.wait_for("stopped: ")?;
    assert!(said.contains(&format!("stopped: {} bytes in ", received.len())), "{said}");
    let (status, said) = daemon.wait()?;
    assert_eq!(status.code(), Some(0), "{said}");
    Ok(())
}

#[test]
fn later_signal_takes_the_sinks_time() -> Outcome {
    let (mut daemon, reader) = forwarding_daemon("traffic-again")?;
    daemon.signal(Signal::SIGTERM)?;
    daemon.wait_for("sinks have")?;
    // Longer than the time in which a signal is the twin of the first.
    std::thread::sleep(Duration::from_millis(1500));
    let (status, said) = daemon.end(Signal::SIGTERM)?;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("SIGTERM again: no longer waiting for sinks"), "{said}");
    drop(reader);
    Ok(())
}
