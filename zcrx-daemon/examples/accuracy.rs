//! Prints how often verdicts on the queue model are right: `accuracy CASES SEED HOURS`. Run by `cargo xtask accuracy`. With the number
//! of a case in `EXPLAIN`, prints that situation sample by sample.

use zcrx_daemon::diagnose::accuracy::{accuracy, explain, healthy_hours};

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a whole number"));
    let mut number = |name: &str| numbers.next().unwrap_or_else(|| panic!("{name} is missing"));
    if let Ok(case) = std::env::var("EXPLAIN") {
        number("CASES");
        println!("{}", explain(case.parse().expect("the number of a case"), number("SEED")));
        return;
    }
    let (cases, seed, hours) = (number("CASES"), number("SEED"), number("HOURS"));
    if cases > 0 {
        let found = accuracy(cases, seed);
        println!("{}", found.report());
        found.wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
    }
    if hours > 0 {
        let found = healthy_hours(hours, seed);
        println!("| Figure | Value |\n|---|---|");
        println!("| healthy hours simulated | {:.0} |", found.hours);
        println!("| hours in which the model lost packets, left out | {} |", found.lossy);
        println!("| false alarms | {} |", found.false_alarms.len());
        found.false_alarms.iter().for_each(|alarm| eprintln!("{alarm}"));
    }
}
