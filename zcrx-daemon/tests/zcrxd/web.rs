//! The web endpoint, as clients of all kinds see it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::{Daemon, Outcome, output, request};

#[test]
fn every_path_has_its_content_type() -> Outcome {
    let daemon = Daemon::start("web-paths", &["--no-probes"])?;
    for (path, status, kind, words) in [
        ("/", 200, "text/html; charset=utf-8", "<h1>zcrxd "),
        ("/refresh.js", 200, "text/javascript; charset=utf-8", "setInterval"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "# TYPE zcrxd_build_info gauge"),
        ("/diagnose.json", 200, "application/json", "\"queues\":["),
        ("/healthz", 200, "text/plain; charset=utf-8", "alive"),
        ("/readyz", 200, "text/plain; charset=utf-8", "ready"),
        ("/nothing", 404, "text/plain; charset=utf-8", "/metrics"),
    ] {
        let answer = daemon.get(path)?;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {}", answer.head);
        assert!(answer.body.contains(words), "{path}: {}", answer.body);
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{path}");
    }
    Ok(())
}

#[test]
fn metrics_are_served_on_the_configured_path() -> Outcome {
    let daemon = Daemon::start("web-telemetry-path", &["--no-probes", "--web.telemetry-path=/zcrx/metrics"])?;
    let metrics = daemon.get("/zcrx/metrics")?.body;
    assert!(metrics.contains("zcrxd_collector_success{collector=\"process\"} 1"), "{metrics}");
    // Nothing that these collectors read can be missing here: without probes there are no snapshots.
    for collector in ["receive", "probe"] {
        assert!(
            !metrics.contains(&format!("zcrxd_collector_success{{collector=\"{collector}\"")),
            "{metrics}"
        );
    }
    assert!(daemon.get("/")?.body.contains("href=\"/zcrx/metrics\""));
    let answer = daemon.get("/metrics")?;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/zcrx/metrics"), "{}", answer.body);
    Ok(())
}

#[test]
fn other_methods_than_get_and_head_are_refused() -> Outcome {
    let daemon = Daemon::start("web-methods", &["--no-probes"])?;
    let head = request(daemon.web, "HEAD /metrics HTTP/1.1\r\nHost: zcrxd\r\nConnection: close\r\n\r\n")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let post = request(
        daemon.web,
        "POST /metrics HTTP/1.1\r\nHost: zcrxd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get"), "{}", post.head);
    Ok(())
}

#[test]
fn page_forbids_foreign_code() -> Outcome {
    let daemon = Daemon::start("web-policy", &["--no-probes"])?;
    let answer = daemon.get("/")?;
    assert!(answer.head.contains("content-security-policy: default-src 'none'"), "{}", answer.head);
    Ok(())
}

#[test]
fn scrape_is_served_while_a_client_holds_many_connections() -> Outcome {
    let daemon = Daemon::start("web-flood", &["--no-probes"])?;
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(daemon.web)?;
        // Some say nothing, some begin and never end, some talk nonsense. Those closed meanwhile cannot be written to.
        match number % 3 {
            0 => {}
            1 => stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: zc").unwrap_or_default(),
            _ => stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap_or_default(),
        }
        held.push(stream);
        if number % 100 == 99 {
            assert_eq!(daemon.get("/metrics")?.status, 200);
        }
    }
    assert!(daemon.metric("zcrxd_web_evicted_connections_total")?.is_some_and(|evicted| evicted > 0.0));
    assert!(daemon.metric("zcrxd_web_connections ")?.is_some_and(|open| open <= 128.0));
    Ok(())
}

#[test]
fn endless_request_head_is_refused() -> Outcome {
    let daemon = Daemon::start("web-head", &["--no-probes"])?;
    let long = format!("GET / HTTP/1.1\r\nHost: zcrxd\r\nX: {}\r\n\r\n", "x".repeat(14 << 10));
    assert_eq!(
        request(daemon.web, &format!("{long}GET / HTTP/1.1\r\nConnection: close\r\n\r\n"))?.status,
        200
    );
    let endless = format!("GET / HTTP/1.1\r\nHost: zcrxd\r\nX: {}", "x".repeat(16 << 10));
    assert_eq!(request(daemon.web, &endless)?.status, 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    assert_eq!(request(daemon.web, &many)?.status, 431);
    assert_eq!(daemon.get("/healthz")?.status, 200);
    Ok(())
}

#[test]
fn promtool_accepts_a_live_scrape() -> Outcome {
    let daemon = Daemon::start("web-promtool", &["--listen", "127.0.0.1:0"])?;
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        println!(
            "skipped: promtool is not installed (Debian: apt-get install prometheus, or promtool from trixie on)"
        );
        return Ok(());
    };
    promtool.stdin.take().ok_or("no standard input")?.write_all(daemon.get("/metrics")?.body.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Names of the series of a page.
fn names(page: &str) -> BTreeSet<String> {
    let series = page.lines().filter(|line| !line.starts_with('#'));
    series.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

/// Another form of the page, and the names of the page's series before and after it, which are the same: series that need some samples are
/// absent at first.
fn amid_equal_pages<T>(
    daemon: &mut Daemon,
    mut other: impl FnMut(&mut Daemon) -> Outcome<T>,
) -> Outcome<(T, BTreeSet<String>)> {
    loop {
        daemon.headers.clear();
        let before = names(&daemon.get("/metrics")?.body);
        let amid = other(daemon)?;
        daemon.headers.clear();
        if names(&daemon.get("/metrics")?.body) == before {
            return Ok((amid, before));
        }
    }
}

/// OpenMetrics is the same figures in another form, and gzip the same bytes in fewer.
#[test]
fn openmetrics_and_gzip_are_served_on_request() -> Outcome {
    let mut daemon =
        Daemon::start("web-negotiation", &["--no-probes", "--listen", "127.0.0.1:0", "--backend", "copy"])?;
    let (open, plain) = amid_equal_pages(&mut daemon, |daemon| {
        daemon.headers = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n".to_owned();
        daemon.get("/metrics")
    })?;
    assert!(
        open.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{}",
        open.head
    );
    assert!(open.body.ends_with("\n# EOF\n"));
    assert_eq!(names(&open.body), plain);
    assert!(open.body.contains("# TYPE zcrxd_receiver_received_bytes counter\n"), "{}", open.body);
    assert!(!open.body.contains("# TYPE zcrxd_receiver_received_bytes_total"));

    let url = format!("http://{}/metrics", daemon.web);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-D-", "-o/dev/null", "-H", "Accept-Encoding: gzip", &url]);
    let Ok(zipped) = output(curl) else {
        println!("skipped in part: curl is not installed");
        return Ok(());
    };
    assert!(String::from_utf8(zipped.stdout)?.to_ascii_lowercase().contains("content-encoding: gzip"));
    let (unzipped, plain) = amid_equal_pages(&mut daemon, |_| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--compressed", &url]);
        Ok(String::from_utf8(output(curl)?.stdout)?)
    })?;
    assert_eq!(names(&unzipped), plain);
    Ok(())
}
