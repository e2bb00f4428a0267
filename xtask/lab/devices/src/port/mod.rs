//! What every emulated PCI function has: configuration space, guest memory, interrupts, and the lab's own controls.

mod config;
mod lab;
mod memory;
mod vectors;

use std::cell::Cell;

pub(crate) use self::config::{Config, Identity};
pub(crate) use self::lab::{Counter, Lab};
pub(crate) use self::memory::Memory;
pub(crate) use self::vectors::Vectors;

/// Lines that one function may log: a guest decides how often something noteworthy happens.
const LOG_LINES: u32 = 5000;

/// The part of a function that is the same for every kind of NIC.
#[derive(Debug)]
pub(crate) struct Port {
    /// Name in the log.
    pub name: &'static str,
    /// PCI configuration space.
    pub config: Config,
    /// The guest's memory.
    pub memory: Memory,
    /// Interrupts.
    pub vectors: Vectors,
    /// Faults and counters.
    pub lab: Lab,
    log_lines: Cell<u32>,
}

impl Port {
    /// Makes a port around a configuration space, to which the lab's capability is added.
    pub(crate) fn new(name: &'static str, mut config: Config, vectors: u16) -> Self {
        let lab = Lab::new(&mut config);
        Self {
            name,
            config,
            memory: Memory::default(),
            vectors: Vectors::new(vectors),
            lab,
            log_lines: Cell::new(0),
        }
    }

    /// Logs an event of the control path.
    pub(crate) fn log(&self, event: std::fmt::Arguments<'_>) {
        let lines = self.log_lines.get();
        if lines < LOG_LINES {
            self.log_lines.set(lines + 1);
            eprintln!("{}: {event}", self.name);
        }
    }

    /// Raises an interrupt, late if a scenario asked for that.
    pub(crate) fn raise(&mut self, vector: usize) {
        let delay = self.lab.delay(&self.config);
        self.vectors.raise(vector, delay);
    }

    /// Whether the next incoming frame is to be dropped, as a scenario asked.
    pub(crate) fn drops_frame(&mut self) -> bool {
        self.lab.drops(&self.config)
    }

    /// Whether the next TCP frame is to lose its header split, as a scenario asked.
    pub(crate) fn loses_split(&mut self) -> bool {
        self.lab.loses_split(&self.config)
    }
}
