//! The traffic of a case: steady, or in bursts.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::case::{Case, Fault, Shape};
use crate::harness::nic::Nic;
use crate::harness::traffic::Traffic;

/// More than any case gets through.
const ENDLESS: u64 = 16 << 30;

/// Traffic that goes on until it is stopped.
pub(super) struct Load<'a> {
    nic: &'a Nic,
    case: &'a Case,
    running: Option<Traffic>,
    paused: Option<Instant>,
}

impl<'a> Load<'a> {
    pub(super) const fn new(nic: &'a Nic, case: &'a Case) -> Self {
        Self { nic, case, running: None, paused: None }
    }

    /// Begins the next burst when its time has come.
    pub(super) fn go_on(&mut self) -> Result<()> {
        if let Some(traffic) = &mut self.running {
            if traffic.running()? {
                return Ok(());
            }
            self.running = None;
            self.paused = Some(Instant::now());
        }
        let (bytes, pause) = match self.case.shape {
            Shape::Steady => (ENDLESS, Duration::ZERO),
            Shape::Bursts { kib, pause } => (u64::from(kib) << 10, Duration::from_millis(u64::from(pause))),
        };
        if self.paused.is_some_and(|since| since.elapsed() < pause) {
            return Ok(());
        }
        let connections = self.case.connections.to_string();
        let arguments = ["--connections", connections.as_str()];
        let from = if self.case.fault == Fault::NoDevice { &self.nic.rx } else { &self.nic.tx };
        self.running = Some(Traffic::start(from, &self.case.listen(), bytes, &arguments)?);
        Ok(())
    }

    pub(super) fn stop(self) -> Result<()> {
        self.running.map_or(Ok(()), Traffic::abandon)
    }
}
