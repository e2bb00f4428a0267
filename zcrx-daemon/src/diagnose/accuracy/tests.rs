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

#[test]
fn healthy_hours_raise_no_alarm() {
    let mut found = Healthy::default();
    for number in 0..12 {
        found.hour(number, 20_261_128, 600);
    }
    assert!(found.hours > 0.5, "{found:?}");
    assert_eq!(found.false_alarms, [""; 0]);
}

/// For work on the rules, without a release build: `ACCURACY="CASES HOURS SIZES SEED" cargo test --lib accuracy_on_request -- --ignored
/// --nocapture`.
#[test]
#[ignore = "prints figures for a person"]
fn accuracy_on_request() {
    let request = std::env::var("ACCURACY").unwrap_or_else(|_| "500 20 20 1".to_owned());
    let numbers: Vec<u64> = request.split(' ').map(|word| word.parse().expect("a whole number")).collect();
    let [cases, hours, sizes, seed] = numbers[..] else { panic!("CASES HOURS SIZES SEED") };
    let found = accuracy(cases, seed);
    println!("{}\n{:#?}", found.report(), found.wrong);
    let advice = advice(sizes, seed);
    println!("{}{:#?}{:#?}", advice.rows(), advice.harmed, advice.starving);
    let healthy = healthy_hours(hours, seed);
    println!("{} h, {} lossy, {:#?}", healthy.hours, healthy.lossy, healthy.false_alarms);
}
