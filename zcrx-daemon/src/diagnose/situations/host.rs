//! More than the queue: its identity, its sink, what the host can see.

use super::*;
use crate::diagnose::tests::paused;

#[test]
fn a_sink_whose_destination_does_not_read_is_blocked() {
    // All connections of zcrxd's queue are paused for more than a minute.
    let history = paused(75);
    let report = Report::of(&history, None).expect("samples");
    assert_eq!(report.diagnosis.cause().map(|found| found.cause), Some(Cause::SinkBlocked), "{report:#?}");
    assert_eq!(report.diagnosis.alarms[0].trouble, Trouble::SinkBlocked);
    let mut text = String::new();
    crate::diagnose::write_report(&mut text, &report, &|_| None).expect("a String takes everything");
    assert!(text.contains("Recv-Q") && text.contains("forward:10.0.0.9:7000"), "{text}");
    assert!(text.contains("run: ss -tmi dst 10.0.0.9:7000"), "{text}");
    assert!(!text.contains("sizes for the load"), "{text}");
}
