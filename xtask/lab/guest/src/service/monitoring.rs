//! A real Prometheus and Alertmanager with the package's rules, while a queue starves.

use std::fs;
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::stages::{GOOD, LIMIT, configure, metrics, ready, send, systemctl};
use super::webhook;
use super::wire::UNDELIVERABLE;
use super::{Step, queries, wire};
use crate::harness::metrics::get;
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::{artefacts, eventually, facts, work};

pub(super) const PROMETHEUS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
const ALERTMANAGER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9093);
/// Where the package's Alertmanager configuration sends notifications.
pub(super) const WEBHOOK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9099);
const PACKAGED: &str = "/usr/share/zcrxd/prometheus";

/// The alert that must fire.
const ALERT: &str = "ZcrxQueueStarving";
/// The cause that the alert must name.
const CAUSE: &str = "slow_consumer";

/// Times in the package's files that would take minutes, and their replacements. Nothing else is changed.
pub(super) const SHORTER: [(&str, &str); 8] = [
    ("scrape_interval: 15s", "scrape_interval: 1s"),
    ("interval: 30s", "interval: 1s"),
    ("for: 1m\n", "for: 3s\n"),
    ("group_wait: 10s", "group_wait: 1s"),
    ("group_interval: 5m", "group_interval: 2s"),
    ("for: 2m\n", "for: 3s\n"),
    ("for: 5m\n", "for: 5s\n"),
    ("[5m]) > 60", "[30s]) > 6"),
];

const SCRAPE: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [recording.yml, alerts.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}
scrape_configs:
  - job_name: zcrxd
    static_configs: [{targets: ['127.0.0.1:9965']}]
";

/// A web configuration that restricts nothing.
const WEB_CONFIG: &str = "/etc/zcrxd/web.yml";

/// The two queues of the earlier steps; one of the NIC that verifies; one of the NIC whose sink may hold all of a small area;
/// and one that gets less than it asks for, and whose destination is not there.
fn configuration() -> String {
    let (interface, verifying, queue) = (nic::RX, wire::verifying(), wire::VERIFYING_QUEUE);
    let (starving, starving_queue) = (Nic::address(), nic::QUEUE);
    format!(
        r#"
[web]
config_file = "{WEB_CONFIG}"

[probes]
residence = 1
{GOOD}
[[queue]]
interface = "{interface}"
queue = {queue}
listen = ["{verifying}"]
backend = "device"
area = "16MiB"
workers = 2
napi_busy_poll = "20us"
sink = "verify"

[[queue]]
interface = "{interface}"
queue = {starving_queue}
listen = ["{starving}"]
backend = "device"
area = "4MiB"
hold_limit = "4MiB"
copy_out = 0
sink = "forward:127.0.0.1:7004"

[[queue]]
interface = "lo"
listen = ["{UNDELIVERABLE}"]
buffer = "32KiB"
area = "4MiB"
sink = "forward:127.0.0.1:7099"
"#
    )
}

pub(super) const ALERTED: Step = Step {
    name: "alert-delivered",
    about: "a queue of the NIC starves: its alert reaches a webhook through Prometheus and Alertmanager, and resolves after the remedy",
    limit: 600,
    run: || {
        let reader = TcpListener::bind("127.0.0.1:7004").context("cannot listen for the forward sink")?;
        let nic = wire::nic()?;
        fs::write(WEB_CONFIG, "http_server_config:\n  http2: true\n")
            .with_context(|| format!("cannot write {WEB_CONFIG}"))?;
        configure(&configuration())?;
        systemctl(&["restart", "zcrxd.service"])?;
        ready()?;
        start_servers()?;
        let notifications = webhook::listen(WEBHOOK)?;
        eventually("Prometheus scrapes zcrxd", LIMIT, || {
            Ok(queries::series("up{job=\"zcrxd\"} == 1").ok().filter(|found| *found > 0))
        })?;

        // Other panels need traffic, failures and registrations.
        send()?;
        wire::send()?;
        wire::fail()?;
        wire::register()?;

        let connect =
            || TcpStream::connect(Nic::address()).context("cannot connect to the queue that will starve");
        let sender = nic.tx.enter(connect)?;
        sender.set_nonblocking(true).context("cannot set a socket up")?;
        reader.set_nonblocking(true).context("cannot set a listener up")?;
        let mut slow = eventually("zcrxd connects to its destination", LIMIT, || match reader.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("no connection from the forward sink"),
        })?;
        slow.set_nonblocking(false).context("cannot set a socket up")?;
        // Nothing reads from this connection until the alert has fired.
        let mut notices = Vec::new();
        let mut sent = 0_u64;
        let deadline = Instant::now() + LIMIT;
        let firing = loop {
            sent += push(&sender)?;
            if let Ok(notice) = notifications.recv_timeout(Duration::from_millis(100)) {
                notices.push(notice);
            }
            keep(&notices)?;
            if let Some(alert) = find(&notices, "firing") {
                break alert;
            }
            if Instant::now() > deadline {
                let names: Vec<_> = notices.iter().map(|(path, notice)| format!("{path} {notice}")).collect();
                metrics()?;
                bail!("{ALERT} never came; {sent} bytes were sent, and there came: {}", names.join("; "));
            }
        };
        let (path, alert) = &firing;
        ensure!(path == "/page", "it goes to {path}, not to the pager");
        let text = |name: &str| alert["annotations"][name].as_str().unwrap_or_default().to_owned();
        ensure!(text("description").contains(CAUSE), "its cause is not {CAUSE}: {alert}");
        ensure!(
            text("runbook_url").ends_with(&format!("/runbook/{ALERT}")),
            "its runbook is not named: {alert}"
        );
        facts::add("alert", &text("description"))?;
        // The series of a starving queue exist only now.
        queries::ask_while_starving()?;

        // The remedy: the reader reads, until the sender has ended and all has come through.
        // The sender stays until then: the NIC's hosts do not wait long for what a closed socket has to say.
        sender.shutdown(Shutdown::Write).context("cannot end the stream")?;
        let drained = std::thread::spawn(move || std::io::copy(&mut slow.by_ref(), &mut std::io::sink()));
        let deadline = Instant::now() + LIMIT;
        while find(&notices, "resolved").is_none() {
            if let Ok(notice) = notifications.recv_timeout(Duration::from_millis(500)) {
                notices.push(notice);
            }
            keep(&notices)?;
            ensure!(Instant::now() < deadline, "{ALERT} was not resolved");
        }
        let came = drained.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        let came = came.context("cannot read what is forwarded")?;
        ensure!(came == sent, "{sent} bytes were sent, {came} were forwarded");
        Ok(())
    },
};

pub(super) const QUERIED: Step = Step {
    name: "queries-answered",
    about: "every query of every panel and rule is answered by Prometheus, with data while a queue starves or when all is \
            well again, unless a reason says why not",
    limit: 300,
    run: || {
        systemctl(&["reload", "zcrxd.service"])?;
        send()?;
        wire::send()?;
        // Once more: a counter that appears with its first event shows no increase.
        wire::fail()?;
        wire::register()?;
        queries::judge()
    },
};

/// Starts both servers with the package's files, whose times are shortened.
fn start_servers() -> Result<()> {
    let place = work().join("monitoring");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let at = |name: &str| place.join(name).display().to_string();
    for name in ["recording.yml", "alerts.yml", "alertmanager.yml"] {
        let text = fs::read_to_string(format!("{PACKAGED}/{name}")).with_context(|| format!("no {name}"))?;
        let text = SHORTER.iter().fold(text, |text, (long, short)| text.replace(long, short));
        fs::write(at(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    fs::write(at("prometheus.yml"), SCRAPE).context("cannot write prometheus.yml")?;
    // Left running when the handles go: they serve the next step too, and the end of the machine ends them.
    Process::start(
        "alertmanager",
        Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", at("alertmanager.yml")))
            .arg(format!("--storage.path={}", at("alertmanager")))
            .arg(format!("--web.listen-address={ALERTMANAGER}"))
            .arg("--cluster.listen-address="),
    )?;
    let mut prometheus = Process::start(
        "prometheus",
        Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", at("prometheus")))
            .arg(format!("--web.listen-address={PROMETHEUS}")),
    )?;
    eventually("Prometheus and Alertmanager are ready", LIMIT, || {
        prometheus.alive()?;
        let ready = |at| get(at, "/-/ready").is_ok_and(|(status, _)| status == 200);
        Ok((ready(PROMETHEUS) && ready(ALERTMANAGER)).then_some(()))
    })
}

/// Sends until the socket is full; returns the number of bytes.
fn push(mut stream: &TcpStream) -> Result<u64> {
    use std::io::Write;
    let mut sent = 0;
    loop {
        match stream.write(&[b'z'; 16384]) {
            Ok(count) => sent += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(sent),
            Err(error) => return Err(error).context("cannot send to the starving queue"),
        }
    }
}

/// Returns the path and the alert of the first notification with the alert in `state`.
pub(super) fn find(notices: &[(String, Value)], state: &str) -> Option<(String, Value)> {
    notices.iter().find_map(|(path, notice)| {
        let alert = notice["alerts"]
            .as_array()?
            .iter()
            .find(|alert| alert["labels"]["alertname"] == ALERT && alert["status"] == state)?;
        Some((path.clone(), alert.clone()))
    })
}

fn keep(notices: &[(String, Value)]) -> Result<()> {
    let text = serde_json::to_string_pretty(notices).context("cannot write the notifications")?;
    fs::write(artefacts().join("notifications.json"), text).context("cannot keep the notifications")
}
