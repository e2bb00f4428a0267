use super::page;
use crate::diagnose::{HostDiagnosis, troubled};
use crate::observe::fixture::{bare, full};

#[test]
fn what_comes_from_outside_is_escaped() {
    let html = page(&full(), &troubled(), &["queue <eth0>".to_owned()], "/metrics");
    assert!(html.contains("&lt;b&gt;&amp;"), "the thread name is shown, escaped");
    assert!(!html.contains("<b>&"));
    assert!(!html.contains("<child>"));
    assert!(html.contains("queue &lt;eth0&gt;"));
}

#[test]
fn nothing_is_taken_from_elsewhere() {
    let html = page(&full(), &troubled(), &[], "/metrics");
    for outside in ["http:", "https:", "//", "@import", "url("] {
        assert!(!html.contains(outside), "{outside} in the page");
    }
}

#[test]
fn a_person_finds_backend_refusals_and_losses() {
    let html = page(&full(), &troubled(), &[], "/metrics");
    for words in [
        "EOPNOTSUPP",
        "the driver has no queue management",
        "use a NIC whose driver supports it",
        "tp_btf",
        "Unknown without it: pools that leak",
        "5 events were lost",
        "starving",
        "5.0 s ago",
        "memory provider",
        "no buffers for 2.5 s",
        "receiver",
        "pid 4242",
        "Slow consumer",
        "1 900 buffers are &lt;held&gt;",
        "copy out sooner",
        "starves in 30 s",
        "an area of 4\u{202f}096 buffers",
        "105 of 1\u{202f}024 entries",
        "Can mean: this kernel has no zcrx; or header split is off",
        "ethtool -G eth0 tcp-data-split on",
        "Something may be missing: a record found the buffer full",
    ] {
        assert!(html.contains(words), "{words} is not on the page");
    }
}

#[test]
fn a_host_that_tells_nothing_gets_a_page_that_says_so() {
    let html = page(&bare(), &HostDiagnosis::default(), &["starting".to_owned()], "/metrics");
    for words in ["None: zcrxd observes", "Switched off", "not ready", "starting"] {
        assert!(html.contains(words), "{words} is not on the page");
    }
}

#[test]
fn bars_stay_within_their_frame() {
    let mut odd = troubled();
    let placement = &mut odd.queues[0].vitals.placement;
    // The kernel delivers fragments of one buffer one by one: more fragments may be held than there are buffers.
    placement.held = placement.total.map(|total| total * 3);
    placement.refill_entries = Some(0);
    let html = page(&bare(), &odd, &[], "/metrics");
    assert!(html.contains("i class=\"held\" style=\"width:100.0%\""), "{html}");
    assert!(!html.contains("i class=\"nic\" style="), "{html}");
    assert!(html.contains("i class=\"waiting\" style=\"width:0.0%\""), "{html}");
}

#[test]
fn the_verdict_comes_first_and_reaches_a_tab_in_the_background() {
    let html = page(&full(), &troubled(), &[], "/metrics");
    assert!(html.contains("<title>the only queue has a problem · zcrxd</title>"), "{html}");
    let verdict = html.find("STARVED 2 s: 512 of 2048 buffers free").expect("the verdict");
    assert!(verdict < html.find("What zcrxd itself receives").expect("the rest"));
    assert!(html.contains("/system.slice/&lt;receiver&gt;.service"));
}
