//! A process that dies at a chosen operation, and the disk that outlives it.

use std::cell::Cell;
use std::rc::Rc;

use zcrx_daemon::net::{Identity, Journal, JournalError, Keep};

/// Counts operations down to the one at which the process dies, before or after its effect.
#[derive(Clone, Debug)]
pub(crate) struct Fuse {
    pub(crate) left: Rc<Cell<Option<u32>>>,
    pub(crate) after: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    Lives,
    DiesFirst,
    DiesThen,
    Dead,
}

impl Fuse {
    pub(crate) fn new(left: Option<u32>, after: bool) -> Self {
        Self { left: Rc::new(Cell::new(left)), after }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.left.get() == Some(0)
    }

    pub(crate) fn burn(&self) -> Fate {
        match self.left.get() {
            None => Fate::Lives,
            Some(0) => Fate::Dead,
            Some(left) => {
                self.left.set(Some(left - 1));
                match left {
                    1 if self.after => Fate::DiesThen,
                    1 => Fate::DiesFirst,
                    _ => Fate::Lives,
                }
            }
        }
    }
}

/// A disk: what is on it outlives the process, which may die while writing.
pub(crate) struct Disk {
    pub(crate) journal: Option<Journal>,
    pub(crate) fuse: Fuse,
}

impl Disk {
    pub(crate) fn write(&mut self, journal: Option<Journal>) -> Result<(), JournalError> {
        let fate = self.fuse.burn();
        if matches!(fate, Fate::Lives | Fate::DiesThen) {
            // Through text and back, as on a real disk.
            self.journal = journal.map(|journal| {
                let text = serde_json::to_string(&journal).expect("a journal is plain data");
                serde_json::from_str(&text).expect("what was written can be read")
            });
        }
        if fate == Fate::Lives { Ok(()) } else { Err(JournalError::NoDirectory("dead".to_owned())) }
    }
}

impl Keep for Disk {
    fn save(&mut self, journal: &Journal) -> Result<(), JournalError> {
        self.write(Some(journal.clone()))
    }

    fn forget(&mut self, _: &Identity) -> Result<(), JournalError> {
        self.write(None)
    }
}
