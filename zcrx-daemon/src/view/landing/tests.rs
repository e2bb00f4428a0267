use super::page;
use crate::diagnose::{HostDiagnosis, troubled};
use crate::observe::fixture::{bare, full, queue};

#[test]
fn what_comes_from_outside_is_escaped() {
    let html = page(&full(), &troubled(), &["queue <eth0>".to_owned()]);
    assert!(html.contains("&lt;b&gt;&amp;"), "the thread name is shown, escaped");
    assert!(!html.contains("<b>&"));
    assert!(!html.contains("<child>"));
    assert!(html.contains("queue &lt;eth0&gt;"));
}

#[test]
fn nothing_is_taken_from_elsewhere() {
    let html = page(&full(), &troubled(), &[]);
    for outside in ["http:", "https:", "//", "@import", "url("] {
        assert!(!html.contains(outside), "{outside} in the page");
    }
}

#[test]
fn a_person_finds_backend_refusals_and_losses() {
    let html = page(&full(), &troubled(), &[]);
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
    let html = page(&bare(), &HostDiagnosis::default(), &["starting".to_owned()]);
    for words in ["None: zcrxd observes", "Switched off", "not ready", "starting"] {
        assert!(html.contains(words), "{words} is not on the page");
    }
}

#[test]
fn bars_stay_within_their_frame() {
    let mut observation = bare();
    let mut odd = queue();
    // Fragments of one buffer are dispensed one by one: more may be held than there are buffers.
    odd.dispensed = 50_000;
    odd.returned = 0;
    odd.refill_capacity = 0;
    observation.host.receive = vec![odd];
    let html = page(&observation, &HostDiagnosis::default(), &[]);
    assert!(html.contains("i class=\"held\" style=\"width:100.0%\""));
    assert!(html.contains("i class=\"waiting\" style=\"width:0.0%\""));
}
