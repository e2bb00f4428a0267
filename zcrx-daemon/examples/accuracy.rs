//! Prints how often verdicts on the queue model are right, as Markdown: `accuracy CASES HOURS SIZES SEED...`. Run by
//! `cargo xtask accuracy`. With the number of a case in `EXPLAIN`, prints that situation sample by sample. Exits with 1 if a target
//! is missed, and says which on standard error.

use std::process::ExitCode;

use zcrx_daemon::diagnose::accuracy::{accuracy, advice, explain, healthy_hours, what_if};

fn main() -> ExitCode {
    let mut numbers =
        std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a whole number"));
    let mut number = |name: &str| numbers.next().unwrap_or_else(|| panic!("{name} is missing"));
    let (cases, hours, sizes) = (number("CASES"), number("HOURS"), number("SIZES"));
    let seeds: Vec<u64> = numbers.collect();
    if let Ok(case) = std::env::var("EXPLAIN") {
        println!("{}", explain(case.parse().expect("the number of a case"), seeds[0]));
        return ExitCode::SUCCESS;
    }
    let mut missed: Vec<String> = Vec::new();
    for seed in seeds {
        let mut miss = |what: String| missed.push(format!("seed {seed}: {what}"));
        println!("### Seed {seed}\n");
        if cases > 0 {
            let found = accuracy(cases, seed);
            println!("{}", found.report());
            for case in found.listed() {
                println!("* {case}");
            }
            if found.listed().next().is_some() {
                println!();
            }
            found.missed().into_iter().for_each(&mut miss);
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
            if !found.false_alarms.is_empty() {
                miss(format!("{} false alarms in healthy hours, the target is 0", found.false_alarms.len()));
            }
        }
        if sizes > 0 {
            let found = advice(sizes, seed);
            print!("{}", found.rows());
            found.harmed.iter().chain(&found.starving).for_each(|wrong| eprintln!("{wrong}"));
            let harmful = found.harmed.len() + found.starving.len();
            if harmful > 0 {
                miss(format!("{harmful} queues lose packets with the sizes advised, the target is 0"));
            }
            let tried = what_if(sizes * 10, seed);
            print!("{}", tried.rows());
            tried.wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
            if !tried.wrong.is_empty() {
                miss(format!("{} answers of --what-if are wrong, the target is 0", tried.wrong.len()));
            }
        }
        println!();
    }
    for missed in &missed {
        eprintln!("target missed: {missed}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
