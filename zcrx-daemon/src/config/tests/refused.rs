//! Configurations that are refused, and the words for it.

use super::*;

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
            "zcrxd.toml:3:18: napi_busy_poll \"1s\" is out of range; write a time from 1us to 10ms, such as 50us"
                .to_owned(),
        ),
        (
            "min_wait = \"1s\"",
            "zcrxd.toml:3:12: min_wait \"1s\" is out of range; write a time from 1us to 10ms, such as 50us".to_owned(),
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
    let said = crate::config::load(Some("/no/such/zcrxd.toml".as_ref()), &Flags::default())
        .map_or_else(|error| error.to_string(), |config| config.to_string());
    assert_eq!(
        said,
        "/no/such/zcrxd.toml: cannot read the configuration: No such file or directory (os error 2)"
    );
}
