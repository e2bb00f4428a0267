//! A walk through random settings of an interface, with an apply and a restore of zcrxd at each stop.

use anyhow::{Context, Result, ensure};

use super::settings::{same, set_symmetric_hashing, shown, without_configured_split};
use crate::harness::nic::{self, Nic};
use crate::harness::program;
use crate::harness::random::Random;
use crate::scenarios::nic::preparation::{done, killed, restore, run, split_is_lost, text, zcrxd};

/// Commands between two stops, at most.
const MOST_COMMANDS: u32 = 8;
/// Writes of the journal after which a killed zcrxd dies, at most.
const MOST_WRITES: u32 = 12;
const FEATURES: [&str; 5] = ["gro", "rxhash", "ntuple", "rx-gro-hw", "tso"];
const PROTOCOLS: [&str; 4] = ["tcp4", "udp4", "tcp6", "udp6"];

/// An interface on its way through random settings.
pub(super) struct Walk<'a> {
    nic: &'a Nic,
    random: Random,
    /// Whether the driver gives queues to zcrx at all.
    has_zcrx: bool,
    commands: u32,
    refused_commands: u32,
    /// States that zcrxd prepared.
    pub(super) applied: u32,
    refused: u32,
    killed: u32,
    halfway: u32,
    /// Kills that lost which header split had been configured.
    lost: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(nic: &'a Nic, random: Random, has_zcrx: bool) -> Self {
        Self {
            nic,
            random,
            has_zcrx,
            commands: 0,
            refused_commands: 0,
            applied: 0,
            refused: 0,
            killed: 0,
            halfway: 0,
            lost: 0,
        }
    }

    pub(super) fn summary(&self) -> String {
        format!(
            "{} of {} random settings taken; {} states prepared and {} refused; of {} kills {} struck halfway, {} before it was written which header split had been configured; all else restored",
            self.commands - self.refused_commands,
            self.commands,
            self.applied,
            self.refused,
            self.killed,
            self.halfway,
            self.lost
        )
    }

    /// Changes settings at random, then prepares the interface and puts it back.
    pub(super) fn step(&mut self) -> Result<()> {
        let mut taken = Vec::new();
        for _ in 0..=self.random.below(MOST_COMMANDS) {
            let (words, is_taken) = self.change();
            self.commands += 1;
            self.refused_commands += u32::from(!is_taken);
            if is_taken {
                taken.push(words);
            }
        }
        self.settle_features()?;
        let wanted = self.wanted();
        let kill = self.random.once_in(2);
        self.there_and_back(&wanted, kill).with_context(|| {
            format!("after {taken:?}, prepared with {wanted:?}{}", if kill { ", killed" } else { "" })
        })
    }

    /// Lets the kernel judge all features again, as it does whenever one is changed. Until then mlx5's hardware GRO stays on, though
    /// requested off, after header split has released it, and nothing brings that back.
    fn settle_features(&self) -> Result<()> {
        for state in ["on", "off"] {
            self.nic.ethtool(&["-K", nic::RX, "tx-nocache-copy", state])?;
        }
        Ok(())
    }

    /// Options of `zcrxd nic apply`.
    fn wanted(&mut self) -> Vec<String> {
        let first = 1 + self.random.below(3);
        let mut queues = first.to_string();
        if self.random.once_in(2) {
            queues = format!("{queues},{}", first + 1 + self.random.below(3));
        }
        let mut wanted = vec!["--queues".to_owned(), queues];
        for _ in 0..=self.random.below(2) {
            let protocol = *self.random.one_of(&["tcp4", "tcp6"]);
            let flow = format!("{protocol}:{}", 7000 + self.random.below(8));
            // zcrxd refuses a flow that is named twice.
            if !wanted.contains(&flow) {
                wanted.extend(["--flow".to_owned(), flow]);
            }
        }
        wanted
    }

    fn apply(&self, wanted: &[String]) -> std::process::Command {
        let mut command = zcrxd(self.nic, "apply");
        command.arg(nic::RX).args(wanted);
        command
    }

    fn there_and_back(&mut self, wanted: &[String], kill: bool) -> Result<()> {
        let original = shown(self.nic)?;
        let output = run(self.apply(wanted))?;
        if !output.status.success() {
            self.refused += 1;
            ensure!(output.status.code() == Some(3), "apply ended with {}: {}", output.status, text(&output));
            return same(
                &format!("a refused apply ({})", text(&output).trim()),
                &original,
                &shown(self.nic)?,
            );
        }
        self.applied += 1;
        let prepared = shown(self.nic)?;
        if self.has_zcrx {
            self.registers(wanted).context("after apply")?;
        }
        let mut lost = false;
        if kill {
            self.struck(&original, &prepared, wanted)?;
            lost = split_is_lost()?;
            self.lost += u32::from(lost);
        }
        done(restore(self.nic))?;
        let restored = shown(self.nic)?;
        if lost {
            let (original, restored) =
                (without_configured_split(&original), without_configured_split(&restored));
            return same("after restore", &original, &restored);
        }
        same("after restore", &original, &restored)
    }

    /// Restores and applies again, each killed at a random moment.
    fn struck(&mut self, original: &[String], prepared: &[String], wanted: &[String]) -> Result<()> {
        let writes = 1 + self.random.below(MOST_WRITES);
        self.strike(&mut restore(self.nic), writes, original, prepared)?;
        done(restore(self.nic))?;
        same("after a killed restore", original, &shown(self.nic)?)?;
        let writes = 1 + self.random.below(MOST_WRITES);
        self.strike(&mut self.apply(wanted), writes, original, prepared)
    }

    fn strike(
        &mut self,
        command: &mut std::process::Command,
        writes: u32,
        original: &[String],
        prepared: &[String],
    ) -> Result<()> {
        if killed(command, writes)? {
            self.killed += 1;
            let now = shown(self.nic)?;
            self.halfway += u32::from(now != original && now != prepared);
        }
        Ok(())
    }

    /// What it is all for: the kernel gives each of the queues to a program.
    fn registers(&self, wanted: &[String]) -> Result<()> {
        for queue in wanted[1].split(',') {
            let app = program("faulty-app");
            let app = app.to_str().context("paths are UTF-8 here")?;
            self.nic.rx.run(app, &["register", "--interface", nic::RX, "--queue", queue])?;
        }
        Ok(())
    }

    /// One random setting; whether the driver took it.
    fn change(&mut self) -> (String, bool) {
        const SYMMETRIC: [u32; 3] = [0, 1, 2];
        const SPLITS: [u8; 3] = [0, 1, 2];
        match self.random.below(14) {
            0 => {
                let input_xfrm = *self.random.one_of(&SYMMETRIC);
                let words = format!("input_xfrm {input_xfrm}");
                (words, set_symmetric_hashing(self.nic, input_xfrm).is_ok())
            }
            1 | 2 => {
                let split = *self.random.one_of(&SPLITS);
                let threshold = self.random.once_in(2).then(|| self.random.below(1024));
                let words = format!("tcp-data-split {split}, hds-thresh {threshold:?}");
                (words, self.nic.receiving().set_header_split(split, threshold).is_ok())
            }
            _ => {
                let arguments = self.command();
                let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
                (format!("ethtool {}", words.join(" ")), self.nic.ethtool(&words).is_ok())
            }
        }
    }

    /// Arguments of a random ethtool command.
    fn command(&mut self) -> Vec<String> {
        let number = |random: &mut Random, limit: u32| random.below(limit).to_string();
        let random = &mut self.random;
        let (option, further): (&str, Vec<String>) = match random.below(11) {
            0 => ("-G", vec!["rx".into(), (32 << random.below(6)).to_string()]),
            1 => ("-L", vec!["combined".into(), number(random, 9)]),
            2 => {
                let (receive, transmit) = (number(random, 9), number(random, 9));
                ("-L", vec!["combined".into(), "0".into(), "rx".into(), receive, "tx".into(), transmit])
            }
            3 => {
                let (combined, receive) = (number(random, 5), number(random, 5));
                ("-L", vec!["combined".into(), combined, "rx".into(), receive])
            }
            4 => ("-X", vec!["equal".into(), (1 + random.below(8)).to_string()]),
            5 => {
                let weights = (0..4).map(|_| number(random, 4));
                ("-X", std::iter::once("weight".to_owned()).chain(weights).collect())
            }
            6 => ("-X", vec!["default".into()]),
            7 => (
                "-X",
                vec!["context".into(), "new".into(), "equal".into(), (1 + random.below(4)).to_string()],
            ),
            8 => {
                let feature = *random.one_of(&FEATURES);
                ("-K", vec![feature.into(), if random.once_in(2) { "off" } else { "on" }.into()])
            }
            9 => ("-N", vec!["delete".into(), number(random, 64)]),
            _ => ("-N", rule(random)),
        };
        [vec![option.to_owned(), nic::RX.to_owned()], further].concat()
    }
}

/// A random flow rule.
fn rule(random: &mut Random) -> Vec<String> {
    let port = ["src-port", "dst-port"][random.below(2) as usize];
    let mut rule = vec!["flow-type".to_owned(), (*random.one_of(&PROTOCOLS)).to_owned(), port.to_owned()];
    rule.push((7000 + random.below(16)).to_string());
    match random.below(4) {
        0 => rule.extend(["action".to_owned(), "-1".to_owned()]),
        1 => rule.extend(["context".to_owned(), random.below(4).to_string()]),
        _ => rule.extend(["action".to_owned(), random.below(8).to_string()]),
    }
    // Some drivers insist on a place, others refuse one.
    if random.once_in(2) {
        rule.extend(["loc".to_owned(), random.below(64).to_string()]);
    }
    rule
}
