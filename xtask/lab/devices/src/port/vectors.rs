//! MSI-X vectors: event descriptors that QEMU turns into interrupts.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The vectors of one function.
#[derive(Debug)]
pub(crate) struct Vectors {
    files: Vec<Option<File>>,
    late: Option<Sender<(Instant, File)>>,
}

impl Vectors {
    /// Makes vectors that are connected to nothing.
    pub(crate) fn new(count: u16) -> Self {
        Self { files: (0..count).map(|_| None).collect(), late: None }
    }

    /// Connects vectors from `start` on, one to each file; those without a file are disconnected.
    pub(crate) fn connect(&mut self, start: u32, count: u32, files: Vec<File>) {
        let mut files = files.into_iter();
        for vector in self.files.iter_mut().skip(start as usize).take(count as usize) {
            *vector = files.next();
        }
    }

    /// Disconnects all vectors.
    pub(crate) fn disconnect(&mut self) {
        self.files.fill_with(|| None);
    }

    /// Raises an interrupt after a delay. A vector that does not exist or is not connected is silent.
    pub(crate) fn raise(&mut self, vector: usize, delay: Duration) {
        let Some(Some(file)) = self.files.get_mut(vector) else { return };
        if delay.is_zero() {
            signal(file);
        } else if let Ok(file) = file.try_clone() {
            let late = self.late.get_or_insert_with(start_late_thread);
            // The thread ends with this sender, so there is one to receive.
            late.send((Instant::now() + delay, file)).ok();
        }
    }
}

fn signal(file: &mut File) {
    // An event counter takes eight bytes, and refuses them only when it is full: then the interrupt is pending already.
    file.write_all(&1_u64.to_ne_bytes()).ok();
}

fn start_late_thread() -> Sender<(Instant, File)> {
    let (sender, receiver) = channel::<(Instant, File)>();
    thread::spawn(move || {
        for (due, mut file) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            signal(&mut file);
        }
    });
    sender
}
