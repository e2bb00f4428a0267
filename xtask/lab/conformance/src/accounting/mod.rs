//! Receiving and returning at random, on a kernel's queue without a device and on the software queue: whenever one
//! has a buffer to give, the other must have one too, and in the end both must have all of theirs.
//!
//! A kernel does not show its own count; what counts for user space is whether data gets a buffer. That is
//! asked here, with real TCP over the loopback.

mod kernel;
mod software;

use anyhow::{Context, bail, ensure};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::strategy::{Just, Strategy};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use zcrx_uapi::ZcrxRqe;
use zcrx_uapi::zcrx::IORING_ZCRX_AREA_SHIFT;

use crate::memory::{AREA_PAGES, area_bytes};
use crate::registration::seed_bytes;

use kernel::KernelQueue;
use software::SoftwareQueue;

/// Entries of both refill rings. More than ever wait: how a full ring is treated is the owner's affair.
const ENTRIES: u32 = 64;

/// Most steps of a sequence, so that the entries of all of them fit the ring.
const MOST_STEPS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// One message arrives; it gets a buffer or it does not.
    Receive,
    /// User space returns the n-th of what it holds (modulo its number).
    Return(u8),
    /// It returns the n-th of what it has returned before.
    ReturnAgain(u8),
    /// It publishes an entry that names no buffer.
    Malformed(Malformed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Malformed {
    /// The padding is not zero.
    Padding,
    /// There is no such area.
    Area,
    /// The area has no such buffer.
    Buffer,
}

impl Malformed {
    fn entry(self) -> ZcrxRqe {
        match self {
            Self::Padding => ZcrxRqe { __pad: 1, ..ZcrxRqe::default() },
            Self::Area => ZcrxRqe { off: 7 << IORING_ZCRX_AREA_SHIFT, ..ZcrxRqe::default() },
            Self::Buffer => ZcrxRqe { off: area_bytes(), ..ZcrxRqe::default() },
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Receive),
        4 => (0..=u8::MAX).prop_map(Step::Return),
        1 => (0..=u8::MAX).prop_map(Step::ReturnAgain),
        1 => prop_oneof![Just(Malformed::Padding), Just(Malformed::Area), Just(Malformed::Buffer)]
            .prop_map(Step::Malformed),
    ]
}

/// Compares random sequences; the error names the smallest that differs.
pub(crate) fn check(cases: u32, seed: u64) -> anyhow::Result<()> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes(seed));
    let outcome = TestRunner::new_with_rng(config, rng).run(&vec(step(), 1..MOST_STEPS), |steps| {
        compare(&steps).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    match outcome {
        Ok(()) => {
            println!("{cases} sequences of up to {MOST_STEPS} steps: both delivered the same buffers");
            Ok(())
        }
        Err(TestError::Fail(reason, steps)) => bail!("{steps:?} is the smallest case that differs: {reason}"),
        Err(TestError::Abort(reason)) => bail!("gave up: {reason}"),
    }
}

fn compare(steps: &[Step]) -> anyhow::Result<()> {
    let mut queues = Queues::new()?;
    for (number, step) in steps.iter().enumerate() {
        queues.step(*step).with_context(|| format!("step {number}, {step:?}"))?;
    }
    queues.return_all()?;
    let (kernel, software) = queues.drain()?;
    ensure!(
        kernel == AREA_PAGES && software == AREA_PAGES,
        "with all returned, the kernel gives {kernel} of {AREA_PAGES} buffers, the software queue {software}"
    );
    Ok(())
}

/// Both queues, and what user space knows of each: the offsets differ, since each chooses buffers as it likes.
struct Queues {
    kernel: KernelQueue,
    software: SoftwareQueue,
    held: Vec<[u64; 2]>,
    returned: Vec<[u64; 2]>,
}

impl Queues {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            kernel: KernelQueue::new()?,
            software: SoftwareQueue::new()?,
            held: Vec::new(),
            returned: Vec::new(),
        })
    }

    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Receive => self.receive().map(drop),
            Step::Return(n) if !self.held.is_empty() => {
                let offsets = self.held.swap_remove(usize::from(n) % self.held.len());
                self.returned.push(offsets);
                self.publish(offsets)
            }
            Step::ReturnAgain(n) if !self.returned.is_empty() => {
                self.again(usize::from(n) % self.returned.len())
            }
            Step::Malformed(malformed) => {
                self.kernel.publish(malformed.entry())?;
                self.software.publish(malformed.entry())
            }
            Step::Return(_) | Step::ReturnAgain(_) => Ok(()),
        }
    }

    /// Whether both had a buffer.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let (kernel, software) = (self.kernel.receive()?, self.software.receive());
        match (kernel, software) {
            (Some(kernel), Some(software)) => {
                // A buffer that is delivered again is no longer a returned one.
                self.returned.retain(|[k, s]| !same_buffer(*k, kernel) && !same_buffer(*s, software));
                self.held.push([kernel, software]);
                Ok(true)
            }
            (None, None) => Ok(false),
            (Some(_), None) => bail!("the kernel has a buffer, the software queue has none"),
            (None, Some(_)) => bail!("the software queue has a buffer, the kernel has none"),
        }
    }

    /// A second return of a buffer that is already returned: without effect. It must be consumed before the buffer is delivered again,
    /// else it would take it away from its new holder, and each queue gives another one.
    fn again(&mut self, index: usize) -> anyhow::Result<()> {
        let offsets = self.returned[index];
        self.publish(offsets)?;
        self.flush()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.software.flush();
        self.kernel.flush()
    }

    fn publish(&mut self, offsets: [u64; 2]) -> anyhow::Result<()> {
        let [kernel, software] = offsets.map(|off| ZcrxRqe { off, ..ZcrxRqe::default() });
        self.kernel.publish(kernel)?;
        self.software.publish(software)
    }

    fn return_all(&mut self) -> anyhow::Result<()> {
        // The ring may be as good as full.
        self.flush()?;
        while let Some(offsets) = self.held.pop() {
            self.publish(offsets)?;
        }
        Ok(())
    }

    /// Receives until there is no buffer; how many each had.
    fn drain(&mut self) -> anyhow::Result<(usize, usize)> {
        let (mut kernel, mut software) = (0, 0);
        while self.kernel.receive()?.is_some() {
            kernel += 1;
        }
        while self.software.receive().is_some() {
            software += 1;
        }
        Ok((kernel, software))
    }
}

fn same_buffer(one: u64, other: u64) -> bool {
    let page = rustix::param::page_size() as u64;
    one / page == other / page
}
