//! The short form: the same figures from fewer situations, with seeds of its own.

use super::*;

#[test]
fn verdicts_on_random_situations_are_right() {
    let found = accuracy(300, 20_261_128);
    assert!(found.cases >= 200, "{} did no harm", found.harmless);
    assert!(found.top_1() >= 0.95, "{}\n{:#?}", found.report(), found.wrong);
    assert!(found.high_right() >= 0.97, "{}\n{:#?}", found.report(), found.wrong);
}

#[test]
fn recommended_sizes_lose_nothing_that_the_old_ones_did_not() {
    let found = advice(20, 20_261_128);
    assert!(found.advised >= 10, "{found:#?}");
    assert!(found.harmed.is_empty() && found.starving.is_empty(), "{found:#?}");
}

/// Buffers come back with their packets there, the ring has other completions, and in one sample the owner happens to hold more by as
/// many buffers as entries had no effect.
#[test]
fn healthy_hours_with_entries_without_effect_raise_no_alarm() {
    let mut found = Healthy::default();
    for (number, seed) in [(74, 11), (91, 11), (37, 12)] {
        found.hour(number, seed, 3600);
    }
    assert_eq!(found.false_alarms, [""; 0]);
}

#[test]
fn healthy_hour_whose_floor_rose_at_random_raises_no_alarm() {
    let mut found = Healthy::default();
    found.hour(300, 11, 3600);
    assert_eq!(found.false_alarms, [""; 0]);
}

#[test]
fn healthy_hours_raise_no_alarm() {
    let mut found = Healthy::default();
    for number in 0..12 {
        found.hour(number, 20_261_128, 600);
    }
    assert!(found.hours > 0.5, "{found:?}");
    assert_eq!(found.false_alarms, [""; 0]);
}
