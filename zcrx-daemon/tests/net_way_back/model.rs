//! A model of an interface that answers as drivers do.

use zcrx_daemon::model::{Channels, FlowRule, HeaderSplit, Interface, Reading, Setup};
use zcrx_daemon::net::{
    ApplyError, Device, Driver, Identity, NTUPLE, NetError, RingRequests, Spread, Step, Taken, Wanted, apply,
    configure, restore,
};

use crate::disk::{Disk, Fate, Fuse};

/// Habits in which drivers differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Places rules itself.
    pub(crate) places_rules: bool,
    /// The RSS table has 8 entries for each queue, instead of 16 in all.
    pub(crate) table_follows_queues: bool,
    /// Header split and hardware GRO switch each other on.
    pub(crate) split_needs_gro: bool,
    /// Switching ntuple off drops all rules.
    pub(crate) ntuple_flushes: bool,
    /// Takes no rule whose place is named (bnxt, fbnic).
    pub(crate) any_place_only: bool,
    /// A new RSS table drops all rules (bnxt up to Linux 6.10).
    pub(crate) table_flushes: bool,
    /// Refuses to mix combined channels with separate ones (bnxt).
    pub(crate) refuses_mixture: bool,
    /// How header split is reported and taken.
    pub(crate) split: SplitHabit,
}

/// How a driver reports header split, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SplitHabit {
    /// As it is in force; "auto" is off.
    InForce,
    /// Always on; "off" is refused (fbnic).
    AlwaysOn,
    /// As it is configured; "off" is refused while hardware GRO is on, "on" while it is off (mlx5).
    Configured,
    /// On also because of hardware GRO; "off" is refused (bnxt).
    Aggregation,
    /// As it is in force; "auto" keeps what is in force (gve).
    AutoKeeps,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelNic {
    pub(crate) setup: Setup,
    pub(crate) habits: Habits,
    /// Set by hand, so new channels do not change it.
    pub(crate) table_configured: bool,
    /// How many more steps are taken before one is refused.
    pub(crate) refuse_in: Option<u32>,
    pub(crate) fuse: Fuse,
    /// The process dies with this step, of which everything happens and nothing is kept.
    pub(crate) unwitnessed: bool,
    /// Header split as the kernel keeps it; no program can read it.
    pub(crate) configured: HeaderSplit,
    /// Header split as the hardware does it.
    pub(crate) splits: bool,
    /// What this process asked for.
    pub(crate) told: Option<HeaderSplit>,
}

pub(crate) fn refusal(errno: i32) -> NetError {
    NetError::Refused { what: "model".to_owned(), errno: Some(errno), reason: "refused".to_owned() }
}

pub(crate) fn known<T>(reading: &mut Reading<T>) -> &mut T {
    match reading {
        Reading::Known(value) => value,
        Reading::Unknown(why) => unreachable!("the model knows everything, not {why}"),
    }
}

impl ModelNic {
    pub(crate) fn queues(&self) -> u32 {
        self.setup.channels.known().map_or(0, Channels::rx_queues)
    }

    pub(crate) fn table_len(&self, queues: u32) -> usize {
        if self.habits.table_follows_queues { 8 * queues as usize } else { 16 }
    }

    pub(crate) fn set_channels(&mut self, to: Channels) -> Result<(), NetError> {
        let queues = to.rx_queues();
        let len = self.table_len(queues);
        let table = &mut known(&mut self.setup.rss).table;
        let lost = table.iter().any(|queue| *queue >= queues) || table.len() != len;
        let mixture = to.combined > 0 && (to.rx > 0 || to.tx > 0 && to.tx_max > 0 && to.rx_max > 0);
        if self.habits.refuses_mixture && mixture {
            return Err(refusal(libc::EINVAL));
        }
        if self.table_configured && lost || queues == 0 || to.combined > to.combined_max || to.rx > to.rx_max
        {
            return Err(refusal(libc::EINVAL));
        }
        if !self.table_configured {
            *table = Spread::Default.table(len, queues);
        }
        let rules = known(&mut self.setup.rules);
        if rules.rules.iter().any(|rule| queue_said(rule) >= queues) {
            return Err(refusal(libc::EINVAL));
        }
        *known(&mut self.setup.channels) = to;
        Ok(())
    }

    fn feature(&self, name: &str) -> bool {
        self.setup.features.known().is_some_and(|features| features[name].active)
    }

    /// What the driver says of header split.
    pub(crate) fn report_split(&mut self) {
        let on = match self.habits.split {
            SplitHabit::InForce | SplitHabit::AutoKeeps => self.splits,
            SplitHabit::AlwaysOn => true,
            SplitHabit::Aggregation => self.splits || self.feature("rx-gro-hw"),
            SplitHabit::Configured => {
                known(&mut self.setup.rings).tcp_data_split = self.configured;
                return;
            }
        };
        known(&mut self.setup.rings).tcp_data_split = if on { HeaderSplit::On } else { HeaderSplit::Off };
    }

    fn configure_split(&mut self, split: HeaderSplit) -> Result<(), NetError> {
        if split == self.configured {
            return Ok(());
        }
        let refused = match self.habits.split {
            SplitHabit::AlwaysOn | SplitHabit::Aggregation => split == HeaderSplit::Off,
            SplitHabit::Configured => split == HeaderSplit::On && !self.feature("rx-gro-hw"),
            SplitHabit::InForce | SplitHabit::AutoKeeps => false,
        };
        if refused {
            return Err(refusal(libc::EINVAL));
        }
        self.configured = split;
        if self.habits.split != SplitHabit::AutoKeeps || split != HeaderSplit::Auto {
            self.splits = split == HeaderSplit::On;
        }
        self.report_split();
        Ok(())
    }

    pub(crate) fn set_feature(&mut self, name: &str, on: bool) -> Result<(), NetError> {
        // mlx5 keeps hardware GRO on as long as header split depends on it.
        let kept = self.habits.split == SplitHabit::Configured && self.configured == HeaderSplit::On;
        let features = known(&mut self.setup.features);
        let feature =
            features.get_mut(name).filter(|feature| !feature.fixed).ok_or_else(|| refusal(libc::EINVAL))?;
        (feature.wanted, feature.active) = (on, on || kept && name == "rx-gro-hw");
        self.report_split();
        if name == NTUPLE && !on && self.habits.ntuple_flushes {
            known(&mut self.setup.rules).rules.clear();
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, rule: &FlowRule) -> Result<u32, NetError> {
        if !self.setup.features.known().is_some_and(|features| features[NTUPLE].active) {
            return Err(refusal(libc::EOPNOTSUPP));
        }
        if queue_said(rule) >= self.queues() {
            return Err(refusal(libc::EINVAL));
        }
        let rules = &mut known(&mut self.setup.rules).rules;
        let mut free = (0..8).filter(|place| rules.iter().all(|other| other.location != Some(*place)));
        let free = if self.habits.any_place_only { free.next() } else { free.next_back() };
        let place = match rule.location {
            Some(_) if self.habits.any_place_only => free.ok_or_else(|| refusal(libc::ENOSPC))?,
            Some(place) => place,
            None if self.habits.places_rules => free.ok_or_else(|| refusal(libc::ENOSPC))?,
            None => return Err(refusal(libc::EINVAL)),
        };
        rules.retain(|other| other.location != Some(place));
        rules.push(FlowRule { location: Some(place), ..rule.clone() });
        rules.sort_by_key(|rule| rule.location);
        Ok(place)
    }

    pub(crate) fn act(
        &mut self,
        step: &Step,
        learned: &mut dyn FnMut(HeaderSplit),
    ) -> Result<Taken, NetError> {
        match step {
            Step::Feature { name, on } => self.set_feature(name, *on)?,
            Step::Channels { to, .. } => self.set_channels(*to)?,
            Step::HeaderSplit { split, threshold } => return configure(self, *split, *threshold, learned),
            Step::RssHash { key, function, input_xfrm } => {
                let rss = known(&mut self.setup.rss);
                rss.key.clone_from(key);
                (rss.hash_function, rss.input_xfrm) = (*function, *input_xfrm);
            }
            Step::Rss(spread) => {
                let queues = self.queues();
                let table = &mut known(&mut self.setup.rss).table;
                let new = spread.table(table.len(), queues);
                if new.len() != table.len() || new.iter().any(|queue| *queue >= queues) {
                    return Err(refusal(libc::EINVAL));
                }
                *table = new;
                self.table_configured = *spread != Spread::Default;
                if self.habits.table_flushes {
                    known(&mut self.setup.rules).rules.clear();
                }
            }
            Step::InsertRule(rule) => {
                let place = Some(self.insert(rule)?);
                return Ok(Taken { place, ..Taken::default() });
            }
            Step::DeleteRule(rule) => {
                let rules = &mut known(&mut self.setup.rules).rules;
                let before = rules.len();
                rules.retain(|other| other.location != rule.location);
                if rules.len() == before {
                    return Err(refusal(libc::ENOENT));
                }
            }
        }
        Ok(Taken::default())
    }
}

impl RingRequests for ModelNic {
    fn reported(&mut self) -> Result<(HeaderSplit, Option<u32>), NetError> {
        let rings = known(&mut self.setup.rings);
        Ok((rings.tcp_data_split, rings.hds_thresh))
    }

    fn request(
        &mut self,
        split: Option<HeaderSplit>,
        threshold: Option<u32>,
    ) -> Result<Option<bool>, NetError> {
        // What was learned may have been the last that the process wrote.
        if self.fuse.is_dead() && !self.unwitnessed {
            return Err(refusal(libc::ESHUTDOWN));
        }
        let before = (self.configured, known(&mut self.setup.rings).hds_thresh);
        if let Some(split) = split {
            self.configure_split(split)?;
            self.told = Some(split);
        }
        let rings = known(&mut self.setup.rings);
        rings.hds_thresh = threshold.or(rings.hds_thresh);
        if self.habits.split_needs_gro && split == Some(HeaderSplit::On) {
            self.set_feature("rx-gro-hw", true)?;
        }
        Ok(Some(before != (self.configured, known(&mut self.setup.rings).hds_thresh)))
    }
}

/// The queue that a rule's text ends with.
pub(crate) fn queue_said(rule: &FlowRule) -> u32 {
    rule.text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

impl Device for ModelNic {
    fn read(&mut self) -> Result<Setup, NetError> {
        if self.fuse.is_dead() {
            return Err(refusal(libc::ESHUTDOWN));
        }
        let mut setup = self.setup.clone();
        known(&mut setup.rings).split_configured = self.told;
        Ok(setup)
    }

    fn driver(&self) -> Driver {
        Driver {
            split_needs: (self.habits.split == SplitHabit::Configured).then_some("rx-gro-hw"),
            ..Driver::GENERIC
        }
    }

    fn take(&mut self, step: &Step, learned: &mut dyn FnMut(HeaderSplit)) -> Result<Taken, NetError> {
        match self.fuse.burn() {
            Fate::DiesFirst | Fate::Dead => return Err(refusal(libc::ESHUTDOWN)),
            Fate::DiesThen => {
                self.unwitnessed = true;
                let _effect = self.act(step, &mut |_| {});
                self.unwitnessed = false;
                return Err(refusal(libc::ESHUTDOWN));
            }
            Fate::Lives => {}
        }
        match &mut self.refuse_in {
            Some(0) => {
                self.refuse_in = None;
                return Err(refusal(libc::EIO));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.act(step, learned)
    }
}

pub(crate) fn identity() -> Identity {
    let (boot_id, name) = ("boot".to_owned(), "eth0".to_owned());
    Identity { boot_id, netns_cookie: 1, index: 2, name, bus: None, mac: None }
}

pub(crate) fn interface(setup: &Setup) -> Interface {
    Interface {
        index: 2,
        name: "eth0".to_owned(),
        netns: Reading::Unknown("model".to_owned()),
        kind: None,
        driver: Reading::Known("model".to_owned()),
        bus: None,
        mac: None,
        mtu: None,
        up: true,
        xdp: Vec::new(),
        pause: None,
        queues: Reading::Known(Vec::new()),
        setup: setup.clone(),
    }
}

impl ModelNic {
    pub(crate) fn disk(&self) -> Disk {
        Disk { journal: None, fuse: self.fuse.clone() }
    }

    /// A new process on the same machine.
    pub(crate) fn revive(&mut self, disk: &mut Disk, fuse: Fuse) {
        self.fuse = fuse.clone();
        self.refuse_in = None;
        self.told = None;
        disk.fuse = fuse;
    }

    pub(crate) fn prepare(&mut self, disk: &mut Disk, wanted: &Wanted) -> Result<Vec<Step>, ApplyError> {
        let earlier = disk.journal.clone();
        apply(self, disk, &identity(), earlier.as_ref(), wanted)
    }

    /// What `zcrxd nic restore` does with what is on the disk.
    pub(crate) fn put_back(&mut self, disk: &mut Disk) -> Vec<String> {
        match disk.journal.clone() {
            Some(journal) => {
                restore(self, disk, journal).map_or_else(|_| Vec::new(), |restored| restored.foreign)
            }
            None => Vec::new(),
        }
    }
}
