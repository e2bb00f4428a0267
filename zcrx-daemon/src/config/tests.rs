use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Parser;

use super::{Config, DEFAULT_WEB_ADDRESS, Flags, LogFormat, WebAddress, check, file, said};
use crate::model::BackendKind;
use crate::receive::{BackendChoice, QueueConfig, SinkConfig};

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
#[test]
fn bad_values_get_their_place_and_a_remedy() {
    let queue = |line: &str| format!("[[queue]]\nlisten = [\"127.0.0.1:7000\"]\n{line}\n");
    let page = procfs::page_size();
    for (line, expected) in [
        ("area = 0", "zcrxd.toml:3:8: area 0 holds no buffer; 64MiB is a good start".to_owned()),
        ("area = \"2TiB\"", "zcrxd.toml:3:8: area 2199023255552 is more than the kernel takes; 1TiB is the most".to_owned()),
        (
            "area = 5000",
            format!(
                "zcrxd.toml:3:8: area 5000 is not a multiple of the page size, {page}; {} is the next that is",
                5000u64.next_multiple_of(page)
            ),
        ),
        (
            "area = \"many\"",
            "zcrxd.toml:3:8: area \"many\" is not a size: write a number of bytes, or one with a unit such as 64MiB"
                .to_owned(),
        ),
        (
            "area_max = \"1MiB\"",
            "zcrxd.toml:3:12: area_max 1048576 is less than area 16777216; write more than area, or leave area_max out"
                .to_owned(),
        ),
        (
            "buffer = 5000",
            format!(
                "zcrxd.toml:3:10: buffer 5000 is no size that a NIC's buffer can have; write a power of two from {page} \
                 to 2MiB; 32KiB is what some NICs take"
            ),
        ),
        (
            "hold_limit = \"1GiB\"",
            "zcrxd.toml:3:14: hold_limit 1073741824 is more than the area, 16777216; a quarter of the area is the default"
                .to_owned(),
        ),
        (
            "cpus = []",
            "zcrxd.toml:3:8: the thread needs a CPU that there can be; write at least one number from 0 to 1023, or leave \
             cpus out"
                .to_owned(),
        ),
        (
            "napi_busy_poll = \"1s\"",
            "zcrxd.toml:3:18: napi_busy_poll \"1s\" is out of range; write a time from 1us to 10ms; 50us is a good start"
                .to_owned(),
        ),
        (
            "forward_zero_copy = true",
            "zcrxd.toml:3:21: forward_zero_copy has no effect on the sink discard; set sink to forward:HOST:PORT, or leave \
             forward_zero_copy out"
                .to_owned(),
        ),
        (
            "prepare = true",
            "zcrxd.toml:3:11: there is no interface to prepare; name the interface, or leave prepare out".to_owned(),
        ),
        ("area = -1", "zcrxd.toml:3:8: area -1 is less than nothing".to_owned()),
        (
            "refill_entries = 0",
            "zcrxd.toml:3:18: refill_entries 0 is out of range; write a number from 1 to 32768".to_owned(),
        ),
        (
            "refill_entries = 32769",
            "zcrxd.toml:3:18: refill_entries 32769 is out of range; write a number from 1 to 32768".to_owned(),
        ),
        (
            "cq_entries = 65537",
            "zcrxd.toml:3:14: cq_entries 65537 is out of range; write a number from 1 to 65536".to_owned(),
        ),
        (
            "interface = \"eth0\"\nqueue = -1",
            "zcrxd.toml:4:9: queue -1 is out of range; write a number from 0 to 4294967294".to_owned(),
        ),
        (
            "interface = \"an interface\"",
            "zcrxd.toml:3:13: \"an interface\" cannot be the name of an interface; `ip link` lists those of this host"
                .to_owned(),
        ),
        (
            "backend = \"fast\"",
            "zcrxd.toml:3:11: backend \"fast\" is not known; write auto, device, nodev or copy".to_owned(),
        ),
        (
            "sink = \"void\"",
            "zcrxd.toml:3:8: sink \"void\" is not known; write discard, verify, forward:HOST:PORT, \
             forward:unix:PATH or file:DIRECTORY"
                .to_owned(),
        ),
        (
            "queue = 1",
            "zcrxd.toml:3:9: a hardware queue is named without its interface; name the interface too, or leave queue out"
                .to_owned(),
        ),
        (
            "backend = \"device\"",
            "zcrxd.toml:3:11: backend device receives on a queue of an interface, and none is named; name it: \
             interface = \"eth0\" and queue = 0 in the file, or --interface eth0 --queue 0"
                .to_owned(),
        ),
        (
            "interface = \"eth0\"\nbackend = \"copy\"",
            "zcrxd.toml:3:13: backend copy has no device, yet interface eth0 is named; leave interface out, or set \
             backend to device or auto"
                .to_owned(),
        ),
    ] {
        assert_eq!(said(&queue(line), &[]), expected);
    }
}

#[test]
fn bad_addresses() {
    assert_eq!(
        said("[web]\nlisten_addresses = [\"unix:web.sock\"]\n", &[]).split("; ").next(),
        Some("zcrxd.toml:2:21: \"unix:web.sock\" names no absolute path")
    );
    assert_eq!(
        said("[privileges]\nkeep = [\"CAP_SYS_GOD\"]\n", &[]).split("; ").next(),
        Some("zcrxd.toml:2:9: \"CAP_SYS_GOD\" is no capability")
    );
    let forms = "write IP:PORT as in 127.0.0.1:7000 or [::1]:7000, or :7000 for every address";
    assert_eq!(
        said("[[queue]]\nlisten = [\"localhost:7000\"]\n", &[]),
        format!("zcrxd.toml:2:11: \"localhost:7000\" is not an address to listen on; {forms}")
    );
    assert_eq!(
        said("", &["--web.listen-address", "127.0.0.1:99999"]),
        format!(
            "--web.listen-address: \"127.0.0.1:99999\" is not an address to listen on; write IP:PORT as in 127.0.0.1:7000 \
             or [::1]:7000, :7000 for every address, or unix:/PATH"
        )
    );
    assert_eq!(
        said("[[queue]]\narea = \"1MiB\"\n", &[]),
        "zcrxd.toml:1:1: the queue has no address to accept connections on; give it one: listen = \
         [\"127.0.0.1:7000\"] in the file, or --listen 127.0.0.1:7000"
    );
}

#[test]
fn unknown_keys_are_refused_with_what_is_known() {
    assert_eq!(
        said("[web]\nlisten_adress = []\n", &[]),
        "zcrxd.toml:2:1: unknown field `listen_adress`, expected one of `listen_addresses`, `systemd_socket`, `config_file`, `open_health_paths`, `telemetry_path`, `max_requests`"
    );
    let said = said("[[queue]]\nlisten = []\n\n  aera = 1\n", &[]);
    assert!(
        said.starts_with("zcrxd.toml:4:3: unknown field `aera`, expected one of `interface`, `queue`"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn wrong_types_and_broken_toml_have_a_place() {
    assert_eq!(
        said("[[queue]]\nqueue = \"three\"\n", &[]),
        "zcrxd.toml:2:9: invalid type: string \"three\", expected a whole number"
    );
    assert_eq!(
        said("[[queue]]\narea = true\n", &[]),
        "zcrxd.toml:2:8: expected a size: \"64MiB\", or a number of bytes"
    );
    for (broken, place) in [("[web\n", "zcrxd.toml:1:"), ("\n[log]\nlevel = info\n", "zcrxd.toml:3:9: ")] {
        let said = said(broken, &[]);
        assert!(said.starts_with(place), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn the_same_thing_twice_names_both_places() {
    assert_eq!(
        said(
            "[[queue]]\ninterface = \"eth0\"\nqueue = 1\nlisten = [\":1\"]\n\
             [[queue]]\ninterface = \"eth0\"\nqueue = 1\nlisten = [\":1\"]\n",
            &[]
        ),
        "zcrxd.toml:7:9: queue 1 of eth0 is already taken, at zcrxd.toml:3:9; give each queue its own\n\
         zcrxd.toml:8:11: address [::]:1 is already listened on, at zcrxd.toml:4:11; give each queue its own"
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let said = said(
        "[log]\nlevel = \"=loud\"\n[[queue]]\nlisten = [\"x\"]\narea = 1\nrefill_entries = 0\ncq_entries = 0\n",
        &["--web.listen-address", "y"],
    );
    let places: Vec<_> = said.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "--web.listen-address",
            "zcrxd.toml:2:9",
            "zcrxd.toml:4:11",
            "zcrxd.toml:5:8",
            "zcrxd.toml:6:18",
            "zcrxd.toml:7:14"
        ],
        "{said}"
    );
}

#[test]
fn a_flag_is_refused_where_the_file_has_several_queues() {
    let file = "[[queue]]\nlisten = [\":1\"]\n[[queue]]\nlisten = [\":2\"]\n";
    assert_eq!(
        said(file, &["--area", "1MiB"]),
        "--area: the file has 2 queues, and a flag cannot say which one it changes; change the queue in the file"
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        said("log = { level = \"=é\", format = \"text\", x = 1 }\n", &[]).split(": ").next(),
        Some("zcrxd.toml:1:40")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let said = super::load(Some("/no/such/zcrxd.toml".as_ref()), &Flags::default())
        .map_or_else(|error| error.to_string(), |config| config.to_string());
    assert_eq!(
        said,
        "/no/such/zcrxd.toml: cannot read the configuration: No such file or directory (os error 2)"
    );
}

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
