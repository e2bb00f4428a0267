//! What `zcrxd nic plan` says of interfaces in every state that matters.

use std::collections::BTreeMap;

use zcrx_daemon::model::{
    Channels, Feature, FlowRules, HeaderSplit, Interface, MemoryProvider, Pause, Reading, Rings, Rss,
    RxQueue, Setup, XdpMode, XdpProgram,
};
use zcrx_daemon::net::{Flow, NTUPLE, Plan, Spread, Verdict, Wanted, plan};

/// Four queues of eight, nothing prepared.
fn interface() -> Interface {
    let queue = |id| RxQueue { ifindex: 2, id, napi_id: Some(8193 + id), provider: None, af_xdp: false };
    Interface {
        index: 2,
        name: "eth0".to_owned(),
        netns: Reading::Unknown("not asked".to_owned()),
        kind: None,
        driver: Reading::Known("bnxt_en".to_owned()),
        bus: None,
        mac: None,
        mtu: Some(1500),
        up: true,
        xdp: Vec::new(),
        pause: None,
        queues: Reading::Known((0..4).map(queue).collect()),
        setup: Setup {
            channels: Reading::Known(Channels { combined: 4, combined_max: 8, ..Channels::default() }),
            rings: Reading::Known(Rings {
                rx: Some(512),
                rx_max: Some(8192),
                tx: None,
                tx_max: None,
                rx_buf_len: None,
                rx_jumbo: None,
                rx_jumbo_max: None,
                split_configured: None,
                tcp_data_split: HeaderSplit::Off,
                hds_thresh: Some(256),
                hds_thresh_max: Some(1023),
            }),
            features: Reading::Known(BTreeMap::from([(
                NTUPLE.to_owned(),
                Feature { active: false, wanted: false, fixed: false },
            )])),
            rss: Reading::Known(Rss {
                table: Spread::Default.table(16, 4),
                key: String::new(),
                hash_function: 1,
                ..Rss::default()
            }),
            rules: Reading::Known(FlowRules {
                capacity: Some(1024),
                driver_places: false,
                rules: Vec::new(),
            }),
        },
    }
}

fn with(change: impl FnOnce(&mut Interface)) -> Interface {
    let mut interface = interface();
    change(&mut interface);
    interface
}

fn known<T>(reading: &mut Reading<T>) -> &mut T {
    match reading {
        Reading::Known(value) => value,
        Reading::Unknown(why) => unreachable!("the fixture knows everything, not {why}"),
    }
}

fn wanted(queues: &[u32], flows: &[&str]) -> Wanted {
    let flows: Vec<Flow> =
        flows.iter().map(|flow| flow.parse().expect("flows here are well-formed")).collect();
    Wanted::new(queues.to_vec(), &flows).expect("wishes here can be had")
}

fn verdict(plan: &Plan, need: &str) -> Option<Verdict> {
    plan.checks.iter().find(|check| check.need.starts_with(need)).map(|check| check.verdict)
}

#[test]
fn unprepared_interface_needs_one_command_per_need() {
    let plan = plan(&interface(), &wanted(&[2, 3], &["tcp4:9999", "tcp6:9999"]));
    assert_eq!(
        plan.commands,
        [
            "ethtool -K eth0 ntuple on",
            "ethtool -X eth0 equal 2",
            "ethtool -G eth0 tcp-data-split on hds-thresh 0",
            "ethtool -N eth0 flow-type tcp4 dst-port 9999 action 2 loc 1023",
            "ethtool -N eth0 flow-type tcp6 dst-port 9999 action 3 loc 1022",
        ]
    );
    assert!(!plan.is_blocked());
}

#[test]
fn queue_count_changes_before_the_rss_table() {
    let plan = plan(&interface(), &wanted(&[5], &[]));
    assert_eq!(
        plan.commands,
        [
            "ethtool -L eth0 combined 6",
            "ethtool -X eth0 equal 5",
            "ethtool -G eth0 tcp-data-split on hds-thresh 0",
        ]
    );
}

#[test]
fn one_queue_remains_for_ordinary_traffic() {
    let plan = plan(&interface(), &wanted(&[0, 1, 2, 3], &[]));
    assert_eq!(plan.commands[0], "ethtool -L eth0 combined 5");
    assert_eq!(plan.commands[1], "ethtool -X eth0 start 4 equal 1");
    let full = wanted(&[0, 1, 2, 3, 4, 5, 6, 7], &[]);
    assert_eq!(
        verdict(&self::plan(&interface(), &full), "at least 9 receive queues"),
        Some(Verdict::Blocked)
    );
}

#[test]
fn driver_that_places_rules_gets_no_location() {
    let interface = with(|interface| known(&mut interface.setup.rules).driver_places = true);
    let plan = plan(&interface, &wanted(&[1], &["tcp4:80"]));
    assert_eq!(
        plan.commands.last().map(String::as_str),
        Some("ethtool -N eth0 flow-type tcp4 dst-port 80 action 1")
    );
}

#[test]
fn met_need_changes_nothing() {
    let wish = wanted(&[3], &["tcp4:80"]);
    let prepared = with(|interface| {
        let rings = known(&mut interface.setup.rings);
        (rings.tcp_data_split, rings.hds_thresh) = (HeaderSplit::On, Some(0));
        rings.split_configured = Some(HeaderSplit::On);
        // Somebody's own weights, which avoid the queue already.
        known(&mut interface.setup.rss).table = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2];
        let ntuple = known(&mut interface.setup.features).get_mut(NTUPLE).expect("the fixture has it");
        (ntuple.wanted, ntuple.active) = (true, true);
        known(&mut interface.setup.rules).rules.push(wish.flows[0].rule(3, Some(7)));
    });
    let plan = plan(&prepared, &wish);
    assert!(plan.commands.is_empty(), "{:?}", plan.commands);
    assert!(plan.checks.iter().all(|check| check.verdict == Verdict::Met), "{:?}", plan.checks);
}

#[test]
fn need_without_a_step_blocks() {
    let wish = wanted(&[3], &["tcp4:80"]);
    let blocked = |need: &str, interface: &Interface| {
        let plan = plan(interface, &wish);
        assert_eq!(verdict(&plan, need), Some(Verdict::Blocked), "{need}: {:?}", plan.checks);
        assert!(plan.is_blocked());
    };
    blocked(
        "no XDP program",
        &with(|interface| interface.xdp.push(XdpProgram { mode: XdpMode::Native, id: 7 })),
    );
    let unsaid = || "the driver does not offer it".to_owned();
    blocked("tcp-data-split on", &with(|interface| interface.setup.rings = Reading::Unknown(unsaid())));
    blocked("flow rules", &with(|interface| interface.setup.rules = Reading::Unknown(unsaid())));
    blocked(
        "ntuple on",
        &with(|interface| {
            known(&mut interface.setup.features).get_mut(NTUPLE).expect("the fixture has it").fixed = true;
        }),
    );
    blocked(
        "a rule for tcp4:80",
        &with(|interface| {
            let elsewhere = Flow { ipv6: false, port: 80, queue: None }.rule(2, Some(9));
            known(&mut interface.setup.rules).rules.push(elsewhere);
        }),
    );
}

#[test]
fn advice_does_not_block() {
    let wish = wanted(&[3], &[]);
    let advised = |need: &str, interface: &Interface| {
        let plan = plan(interface, &wish);
        assert_eq!(verdict(&plan, need), Some(Verdict::Advice), "{need}: {:?}", plan.checks);
        assert!(!plan.is_blocked());
    };
    advised("interface up", &with(|interface| interface.up = false));
    advised(
        "queue 3 free",
        &with(|interface| {
            known(&mut interface.queues)[3].provider = Some(MemoryProvider::IoUring { rx_buf_len: None });
        }),
    );
    advised(
        "RSS away",
        &with(|interface| interface.setup.rss = Reading::Unknown("no such thing".to_owned())),
    );
    advised(
        "nothing else to queue 3",
        &with(|interface| {
            let stray = Flow { ipv6: false, port: 22, queue: None }.rule(3, Some(9));
            known(&mut interface.setup.rules).rules.push(stray);
        }),
    );
}

#[test]
fn impossible_request_is_refused_with_a_reason() {
    let refusal = |queues: &[u32], flows: &[&str]| {
        let flows: Vec<Flow> =
            flows.iter().map(|flow| flow.parse().expect("flows here are well-formed")).collect();
        Wanted::new(queues.to_vec(), &flows).map_err(|error| error.to_string()).err().unwrap_or_default()
    };
    assert!(refusal(&[], &[]).contains("--queues"));
    assert!(refusal(&[1], &["tcp4:80@2"]).contains("none of the zcrx queues [1]"));
    assert!(refusal(&[1, 2], &["tcp4:80@1", "tcp4:80@2"]).contains("asked for twice"));
    assert_eq!(wanted(&[2, 1, 2], &[]).queues, [1, 2]);
}

/// A rule that spreads over an RSS context.
fn spreading(context: u32) -> zcrx_daemon::model::FlowRule {
    const FLOW_RSS: u32 = 0x2000_0000;
    let rule = Flow { ipv6: false, port: 22, queue: None }.rule(0, Some(7));
    let kind =
        u32::from_str_radix(&rule.spec[..8], 16).expect("a spec is hexadecimal").swap_bytes() | FLOW_RSS;
    let bytes = format!("{:08x}", u32::from_be_bytes(kind.to_ne_bytes()));
    zcrx_daemon::model::FlowRule { spec: bytes + &rule.spec[8..], rss_context: context, ..rule }
}

#[test]
fn a_reported_header_split_is_made_sure_of() {
    let reported = with(|interface| {
        let rings = known(&mut interface.setup.rings);
        (rings.tcp_data_split, rings.hds_thresh) = (HeaderSplit::On, Some(0));
    });
    let made = plan(&reported, &wanted(&[2], &[]));
    assert_eq!(verdict(&made, "tcp-data-split on"), Some(Verdict::Ensure));
    assert!(made.commands.contains(&"ethtool -G eth0 tcp-data-split on".to_owned()), "{:?}", made.commands);
    let bound = Interface {
        queues: Reading::Known(vec![RxQueue {
            ifindex: 2,
            id: 2,
            napi_id: None,
            provider: Some(MemoryProvider::IoUring { rx_buf_len: None }),
            af_xdp: false,
        }]),
        ..reported
    };
    assert_eq!(
        verdict(&plan(&bound, &wanted(&[2], &[])), "tcp-data-split on"),
        Some(Verdict::Met),
        "a queue that zcrx holds proves it"
    );
}

#[test]
fn mlx5_needs_hardware_gro_for_header_split() {
    let mlx5 = with(|interface| {
        interface.driver = Reading::Known("mlx5_core".to_owned());
        let off = Feature { active: false, wanted: false, fixed: false };
        known(&mut interface.setup.features).insert("rx-gro-hw".to_owned(), off);
    });
    let plan = plan(&mlx5, &wanted(&[3], &[]));
    let place = |command: &str| plan.commands.iter().position(|other| other.starts_with(command));
    assert!(place("ethtool -K eth0 rx-gro-hw on") < place("ethtool -G eth0 tcp-data-split on"));
    assert!(place("ethtool -K eth0 rx-gro-hw on").is_some(), "{:?}", plan.commands);
}

#[test]
fn gve_keeps_queue_0() {
    let gve = with(|interface| interface.driver = Reading::Known("gve".to_owned()));
    let refused = plan(&gve, &wanted(&[0, 1], &[]));
    assert!(refused.is_blocked());
    let check = refused.checks.iter().find(|check| check.verdict == Verdict::Blocked);
    assert!(check.is_some_and(|check| check.remedy.as_deref() == Some("choose queue 1 or a higher one")));
    assert!(!plan(&gve, &wanted(&[1], &[])).is_blocked());
}

#[test]
fn what_gve_does_at_a_registration_and_with_small_areas_is_said() {
    let said = |driver: &str| {
        let driven = with(|interface| interface.driver = Reading::Known(driver.to_owned()));
        let plan = plan(&driven, &wanted(&[1], &[]));
        let advice = plan.checks.into_iter().filter(|check| check.verdict == Verdict::Advice);
        advice.map(|check| format!("{}: {}", check.need, check.found)).collect::<Vec<_>>().join("\n")
    };
    let gve = said("gve");
    assert!(gve.contains("gve stops all queues and the carrier"), "{gve}");
    assert!(gve.contains("an area of at least 40 buffers: gve announces 32 buffers at a time"), "{gve}");
    let bnxt = said("bnxt_en");
    assert!(!bnxt.contains("stops all queues") && !bnxt.contains("an area of"), "{bnxt}");
}

#[test]
fn an_unknown_restart_after_starvation_is_said() {
    const NEED: &str = "a starved queue receives again by itself";
    for (driver, said) in [
        (Reading::Known("unheard_of".to_owned()), Some(Verdict::Advice)),
        (Reading::Unknown("not asked".to_owned()), Some(Verdict::Advice)),
        (Reading::Known("mlx5_core".to_owned()), None),
        (Reading::Known("ice".to_owned()), None),
    ] {
        let driven = with(|interface| interface.driver = driver.clone());
        assert_eq!(verdict(&plan(&driven, &wanted(&[2], &[])), NEED), said, "{driver:?}");
    }
}

#[test]
fn separate_channels_grow_as_separate_channels() {
    let separate = with(|interface| {
        *known(&mut interface.setup.channels) =
            Channels { rx: 4, tx: 4, rx_max: 8, tx_max: 8, combined_max: 8, ..Channels::default() };
    });
    let plan = plan(&separate, &wanted(&[5], &[]));
    assert_eq!(plan.commands[0], "ethtool -L eth0 rx 6");
}

#[test]
fn a_rule_over_an_rss_context_that_leads_to_a_zcrx_queue_is_said() {
    let with_table = |table: Vec<u32>| {
        with(|interface| {
            known(&mut interface.setup.rss).contexts.insert(3, table);
            known(&mut interface.setup.rules).rules.push(spreading(3));
        })
    };
    let leads = plan(&with_table(vec![0, 2, 0, 2]), &wanted(&[2], &[]));
    assert_eq!(verdict(&leads, "nothing else to queue 2"), Some(Verdict::Advice));
    let elsewhere = plan(&with_table(vec![0, 1, 0, 1]), &wanted(&[2], &[]));
    assert_eq!(verdict(&elsewhere, "nothing else to queue 2"), None);
}

#[test]
fn pause_frames_are_said_to_block_other_queues() {
    let pausing = with(|interface| interface.pause = Some(Pause { rx: true, tx: true }));
    let found = plan(&pausing, &wanted(&[2], &[]));
    let check = found.checks.iter().find(|check| check.found.contains("pause")).expect("pause is said");
    assert_eq!(check.verdict, Verdict::Advice);
    assert!(check.remedy.as_deref().is_some_and(|remedy| remedy.contains("ethtool -A eth0")));
}
