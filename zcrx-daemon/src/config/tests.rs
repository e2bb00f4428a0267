use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Parser;

use super::{Config, DEFAULT_WEB_ADDRESS, Flags, LogFormat, WebAddress, check, file, said};
use crate::model::BackendKind;
use crate::receive::{BackendChoice, QueueConfig, SinkConfig};

mod refused;

type Outcome = Result<(), Box<dyn Error>>;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    flags: Flags,
}

/// What `load` does, without the file system.
fn load(text: &str, flags: &[&str]) -> Result<Config, String> {
    let flags =
        Command::try_parse_from([&["zcrxd"], flags].concat()).map_err(|error| error.to_string())?.flags;
    let document = said::Document { name: "zcrxd.toml", text };
    let mut problems = Vec::new();
    let config = file::parse(&document)
        .and_then(|draft| flags.lay_over(draft))
        .map(|draft| check::check(draft, &document, &mut problems))
        .map_err(|problem| problem.to_string())?;
    if problems.is_empty() { Ok(config) } else { Err(super::ConfigError::Wrong(problems).to_string()) }
}

fn said(text: &str, flags: &[&str]) -> String {
    load(text, flags).map_or_else(|said| said, |config| format!("nothing, and made\n{config}"))
}

#[test]
fn nothing_said_observes_on_loopback() -> Outcome {
    let config = load("", &[])?;
    assert!(config.queues.is_empty());
    assert!(config.probes);
    assert_eq!(config.probe_options.residence, 0);
    assert_eq!(config.web.listen, [WebAddress::Ip(DEFAULT_WEB_ADDRESS)]);
    assert_eq!(config.log.format, None);
    Ok(())
}

#[test]
fn everything_said_in_the_file_arrives() -> Outcome {
    let config = load(
        r#"
        runtime_dir = "/run/elsewhere"
        [web]
        listen_addresses = ["127.0.0.1:1", "[::1]:2"]
        [probes]
        enabled = false
        residence = 64
        disabled = ["copy"]
        [log]
        level = "debug"
        format = "json"
        [[queue]]
        interface = "eth0"
        queue = 3
        backend = "device"
        listen = ["10.0.0.1:7000", ":7001"]
        area = "1GiB"
        area_max = "4GiB"
        buffer = "32KiB"
        refill_entries = 32768
        cq_entries = 65536
        sink = "forward:127.0.0.1:9000"
        [[queue]]
        backend = "copy"
        listen = ["127.0.0.1:0"]
        area = 8192
        "#,
        &[],
    )?;
    assert_eq!(config.runtime_dir, Some(PathBuf::from("/run/elsewhere")));
    assert_eq!(config.web.listen.len(), 2);
    assert!(!config.probes);
    assert_eq!(config.probe_options.residence, 64);
    assert_eq!(config.probe_options.disabled, ["copy".to_owned()].into());
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", Some(LogFormat::Json)));
    let [first, second] = config.queues.as_slice() else { return Err("not two queues".into()) };
    assert_eq!(first.interface.as_deref(), Some("eth0"));
    assert_eq!(first.queue, 3);
    assert_eq!(first.backend, BackendChoice::Only(BackendKind::Device));
    assert_eq!((first.area_bytes, first.area_max_bytes, first.buffer_bytes), (1 << 30, 4 << 30, 32 << 10));
    assert_eq!((first.refill_entries, first.cq_entries), (32768, 65536));
    assert_eq!((second.queue, second.area_bytes), (1, 8192));
    assert_eq!(second.sink, SinkConfig::Discard);
    assert_eq!(second.refill_entries, QueueConfig::new(Vec::new()).refill_entries);
    Ok(())
}

#[test]
fn flags_alter_the_only_queue_of_the_file() -> Outcome {
    let file = "[probes]\nresidence = 8\n[[queue]]\nlisten = [\"127.0.0.1:7000\"]\narea = \"1MiB\"\nsink = \"verify\"\n";
    let config =
        load(file, &["--area", "2MiB", "--no-probes", "--probe-residence=0", "--web.listen-address=:9000"])?;
    assert_eq!(config.probe_options.residence, 0);
    let [queue] = config.queues.as_slice() else { return Err("not one queue".into()) };
    assert_eq!(queue.area_bytes, 2 << 20);
    assert_eq!(queue.sink, SinkConfig::Verify);
    assert_eq!(queue.listen, ["127.0.0.1:7000".parse()?]);
    assert!(!config.probes);
    assert_eq!(config.web.listen, [WebAddress::Ip("[::]:9000".parse()?)]);
    Ok(())
}

#[test]
fn flags_alone_make_a_queue() -> Outcome {
    let config =
        load("", &["--listen", "127.0.0.1:7000", "--listen", "127.0.0.1:7001", "--backend", "copy"])?;
    let [queue] = config.queues.as_slice() else { return Err("not one queue".into()) };
    assert_eq!(queue.listen.len(), 2);
    assert_eq!(queue.backend, BackendChoice::Only(BackendKind::Copy));
    Ok(())
}

#[test]
fn what_check_config_prints_is_a_file_that_says_the_same() -> Outcome {
    let mut file = String::from("[log]\nlevel = \"warn\"\n");
    for (port, sink) in [(7000, "verify"), (7001, "forward:unix:/run/sink"), (7002, "forward:127.0.0.1:9")] {
        write!(
            file,
            "[[queue]]\nlisten = [\"127.0.0.1:{port}\"]\nsink = \"{sink}\"\narea = 4096000\narea_max = 8192000\nbuffer = 65536\n"
        )?;
    }
    file.push_str(
        "[[queue]]\ninterface = \"eth0\"\nqueue = 2\nlisten = [\"[::1]:7000\"]\nbackend = \"device\"\nmin_wait = \"50us\"\n",
    );
    let first = load(&file, &[])?.to_string();
    let second = load(&first, &[])?.to_string();
    assert_eq!(first, second);
    assert!(first.contains("backend = \"auto\""), "defaults are spelled out:\n{first}");
    Ok(())
}

#[test]
fn metrics_have_a_path_and_a_limit() -> Outcome {
    let config = load("[web]\ntelemetry_path = \"/probe/metrics\"\nmax_requests = 8\n", &[])?;
    assert_eq!((config.web.telemetry_path.as_str(), config.web.max_requests), ("/probe/metrics", 8));
    let config = load("[web]\nmax_requests = 8\n", &["--web.telemetry-path=/m", "--web.max-requests=0"])?;
    assert_eq!((config.web.telemetry_path.as_str(), config.web.max_requests), ("/m", 0));
    for path in ["", "metrics", "/", "/healthz", "/runbook/x", "/a b", "/a/", "/{x}", "//a", "/../a", "/a?b"]
    {
        let said = said("", &["--web.telemetry-path", path]);
        assert!(said.starts_with("--web.telemetry-path: ") && said.contains("/metrics"), "{path}: {said}");
    }
    assert_eq!(
        said("[web]\nmax_requests = -1\n", &[]),
        "zcrxd.toml:2:16: -1 scrapes at once are out of range; write a number from 0 (no limit) to 1000"
    );
    Ok(())
}

/// Each kind of bad input, with the whole line it gets.
/// The documented file is a good one, and says every key there is.
#[test]
fn the_documented_file_is_good_and_complete() -> Outcome {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"))?;
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).ok_or("no block")?;
    let config = load(block, &[])?;
    let keys = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.to_owned()).collect()
    };
    assert_eq!(keys(block), keys(&config.to_string()));
    Ok(())
}
