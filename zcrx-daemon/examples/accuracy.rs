//! Prints how often verdicts on the queue model are right, as Markdown: `accuracy CASES HOURS SIZES SEED...`. Run by
//! `cargo xtask accuracy`. With the number of a case in `EXPLAIN`, prints that situation sample by sample.

use zcrx_daemon::diagnose::accuracy::{accuracy, advice, explain, healthy_hours, what_if};

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a whole number"));
    let mut number = |name: &str| numbers.next().unwrap_or_else(|| panic!("{name} is missing"));
    let (cases, hours, sizes) = (number("CASES"), number("HOURS"), number("SIZES"));
    let seeds: Vec<u64> = numbers.collect();
    if let Ok(case) = std::env::var("EXPLAIN") {
        println!("{}", explain(case.parse().expect("the number of a case"), seeds[0]));
        return;
    }
    for seed in seeds {
        println!("### Seed {seed}\n");
        if cases > 0 {
            let found = accuracy(cases, seed);
            println!("{}", found.report());
            found.wrong.iter().chain(&found.late_cases).for_each(|case| eprintln!("{case}"));
        }
        if hours + sizes > 0 {
            println!("| Figure | Value |\n|---|---|");
        }
        if hours > 0 {
            let found = healthy_hours(hours, seed);
            println!("| healthy hours simulated | {:.0} |", found.hours);
            println!("| hours in which the model lost packets, left out | {} |", found.lossy);
            println!("| false alarms | {} |", found.false_alarms.len());
            found.false_alarms.iter().for_each(|alarm| eprintln!("{alarm}"));
        }
        if sizes > 0 {
            let found = advice(sizes, seed);
            print!("{}", found.rows());
            found.harmed.iter().chain(&found.starving).for_each(|wrong| eprintln!("{wrong}"));
            let tried = what_if(sizes * 10, seed);
            print!("{}", tried.rows());
            tried.wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
        }
        println!();
    }
}
