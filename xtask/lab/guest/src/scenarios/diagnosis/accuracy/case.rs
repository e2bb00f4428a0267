//! Cases: a queue, its traffic, and what its owner does wrong, drawn from a seed.

use anyhow::Result;

use crate::harness::foreign::Foreign;
use crate::harness::kernel_release;
use crate::harness::nic::{self, Nic};
use crate::harness::random::Random;
use crate::scenarios::diagnosis::owner_state::throttle;

/// A mistake of the program or the NIC, with its strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No mistake.
    None,
    /// Holds each buffer for so many milliseconds.
    Slow(u32),
    /// Reads no completion.
    Unreaped,
    /// Arms no receive.
    NotReading,
    /// Returns no buffer.
    NeverReturned,
    /// Keeps every so-manieth completion's buffer.
    Leak(u32),
    /// Has a refill ring of so many entries, and drops what does not fit.
    RefillRingFull(u32),
    /// Has an area that the NIC's ring takes whole.
    SmallArea,
    /// Every so-manieth refill entry names no area, or lies behind its end.
    BadEntries { every: u32, offset: bool },
    /// Returns every so-manieth buffer twice.
    DoubleEntries(u32),
    /// Has the flow arrive on another queue.
    WrongQueue,
    /// Has a completion queue of so many entries.
    SmallCompletionQueue(u32),
    /// Is stopped by a signal.
    Stopped,
    /// Waits in uninterruptible sleep.
    Blocked,
    /// Gets so many microseconds of CPU time in each tenth of a second (`cpu.max`).
    Throttled(u32),
    /// Has a queue without a device, and does not flush its refill ring.
    NoDevice,
    /// The NIC does not try again after a failed allocation; the program was slow for a moment.
    NoRetry,
    /// The interface is taken down.
    InterfaceDown,
}

impl Fault {
    /// The cause that zcrxd must name.
    pub(super) const fn cause(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::Slow(_) | Self::Unreaped => "slow_consumer",
            Self::NotReading => "unread_socket_data",
            Self::NeverReturned | Self::Leak(_) => "never_returned",
            Self::RefillRingFull(_) => "refill_ring_full",
            Self::SmallArea => "area_too_small",
            Self::BadEntries { .. } | Self::DoubleEntries(_) => "bad_entries",
            Self::WrongQueue => "copy_fallback",
            Self::SmallCompletionQueue(_) => "cq_exhaustion",
            Self::Stopped | Self::Blocked | Self::Throttled(_) => "owner_not_running",
            Self::NoDevice => "no_device",
            Self::NoRetry => "lazy_consumption",
            Self::InterfaceDown => "interface_down",
        })
    }

    /// Whether the program takes no order any more, or only after seconds.
    pub(super) const fn blocks(self) -> bool {
        matches!(self, Self::Stopped | Self::Blocked | Self::Throttled(_))
    }

    /// Whether the queue has the fault from its begin.
    const fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::RefillRingFull(_)
                | Self::SmallArea
                | Self::WrongQueue
                | Self::SmallCompletionQueue(_)
                | Self::NoDevice
                | Self::NoRetry
        )
    }

    /// The program's `--fault`.
    fn argument(self) -> Option<String> {
        Some(match self {
            Self::Slow(milliseconds) => format!("slow={milliseconds}"),
            Self::Unreaped => "cq-stall".to_owned(),
            Self::NotReading => "not-reading".to_owned(),
            Self::NeverReturned => "never-return".to_owned(),
            Self::Leak(every) => format!("fragments={every}"),
            Self::RefillRingFull(_) => "ring-overflow".to_owned(),
            Self::SmallArea => "small-area".to_owned(),
            Self::BadEntries { every, offset: true } => format!("bad-offset={every}"),
            Self::BadEntries { every, offset: false } => format!("bad-token={every}"),
            Self::DoubleEntries(every) => format!("return-twice={every}"),
            Self::WrongQueue => "wrong-queue".to_owned(),
            Self::NoRetry => "slow-at-first=500".to_owned(),
            Self::None
            | Self::SmallCompletionQueue(_)
            | Self::Stopped
            | Self::Blocked
            | Self::Throttled(_)
            | Self::NoDevice
            | Self::InterfaceDown => return None,
        })
    }

    /// Begins the fault, unless the queue has it from the begin.
    pub(super) fn begin(self, program: &mut Foreign, nic: &Nic) -> Result<()> {
        match self {
            Self::Stopped => program.signal(libc::SIGSTOP),
            Self::Blocked => program.order("block-uninterruptibly"),
            Self::Throttled(microseconds) => throttle(program.pid(), microseconds),
            Self::InterfaceDown => nic.rx.run("ip", &["link", "set", nic::RX, "down"]).map(drop),
            _ if self.argument().is_some() && !self.is_permanent() => program.order("hold"),
            _ => Ok(()),
        }
    }
}

/// Where a program without a device listens.
const LOOPBACK: &str = "127.0.0.1:9998";

/// When traffic comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As much as goes through, all the time.
    Steady,
    /// So many KiB on each connection, and a pause of so many milliseconds.
    Bursts { kib: u32, pause: u32 },
}

/// A queue, its traffic, and its fault.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) fault: Fault,
    /// Descriptors of the NIC's ring.
    pub(super) ring: u32,
    pub(super) area: u32,
    pub(super) refill_entries: u32,
    pub(super) cq_entries: u32,
    pub(super) connections: u32,
    /// What each socket takes, bytes.
    pub(super) receive_buffer: u64,
    /// Whether each frame has a buffer of its own.
    pub(super) small_frames: bool,
    pub(super) shape: Shape,
    /// Seconds before the fault.
    pub(super) calm: u32,
    /// Seconds for which a healthy queue is watched.
    pub(super) healthy: u32,
}

fn fault(random: &mut Random) -> Fault {
    // Linux 7.2 ignores the second return of a buffer: nothing is lost.
    let doubles = !kernel_release().starts_with("7.2.");
    match random.below(24) {
        0..=3 => Fault::None,
        4..=5 => Fault::Slow(200 + random.below(1800)),
        6 => Fault::Unreaped,
        7 => Fault::NotReading,
        8 => Fault::NeverReturned,
        9..=10 => Fault::Leak(3 + random.below(14)),
        11 => Fault::RefillRingFull(*random.one_of(&[8, 16, 32])),
        12 => Fault::SmallArea,
        13 => Fault::BadEntries { every: 2 + random.below(7), offset: random.below(2) == 0 },
        14 if doubles => Fault::DoubleEntries(2 + random.below(4)),
        14 => Fault::BadEntries { every: 2 + random.below(4), offset: true },
        15 => Fault::WrongQueue,
        16 => Fault::SmallCompletionQueue(*random.one_of(&[8, 16])),
        17 => Fault::Stopped,
        18 => Fault::Blocked,
        19..=20 => Fault::NoRetry,
        21 => Fault::Throttled(1000 + random.below(3000)),
        22 => Fault::NoDevice,
        _ => Fault::InterfaceDown,
    }
}

impl Case {
    pub(super) fn draw(random: &mut Random) -> Self {
        let fault = fault(random);
        let ring = match fault {
            // All connections send a window at once: a small ring drops packets of a healthy queue.
            Fault::None => *random.one_of(&[512, 1024]),
            _ => *random.one_of(&[32, 64, 128]),
        };
        let connections = *random.one_of(&[1, 2, 4, 8]);
        let receive_buffer = *random.one_of(&[64_u64, 128, 256]) << 10;
        let posted = ring + 128;
        // A small frame takes a whole buffer.
        let in_sockets = connections * (receive_buffer >> 10) as u32;
        let area = match fault {
            Fault::SmallArea => ring + random.below(64),
            // What the program works on is not bounded by its sockets: there is room for as much again.
            Fault::None => (posted + in_sockets) * 2 + 2048 + random.below(4096),
            _ => posted * 3 + random.below(2048),
        };
        let receive_buffer = match fault {
            // What no receive is armed for must find room for more than the area.
            Fault::NotReading | Fault::Stopped | Fault::Blocked | Fault::Throttled(_) => 64 << 20,
            _ => receive_buffer,
        };
        let bursts = matches!(fault, Fault::None | Fault::Leak(_) | Fault::BadEntries { .. });
        let shape = if bursts && random.below(2) == 0 {
            Shape::Bursts { kib: 128 << random.below(4), pause: 50 + random.below(1000) }
        } else {
            Shape::Steady
        };
        Self {
            fault,
            ring,
            area,
            refill_entries: match fault {
                Fault::RefillRingFull(entries) => entries,
                _ => area.next_power_of_two(),
            },
            cq_entries: match fault {
                Fault::SmallCompletionQueue(entries) => entries,
                _ => (area * 2).next_power_of_two(),
            },
            connections,
            receive_buffer,
            small_frames: random.below(3) == 0,
            shape,
            calm: if fault.is_permanent() { 0 } else { *random.one_of(&[3, 5, 8]) },
            healthy: 10 + random.below(20),
        }
    }

    /// Where the program listens. A queue without a device receives what arrives by any way.
    pub(super) fn listen(&self) -> String {
        if self.fault == Fault::NoDevice { LOOPBACK.to_owned() } else { Nic::address() }
    }

    /// Arguments of the faulty application.
    pub(super) fn arguments(&self) -> Vec<String> {
        let device = [("--interface", nic::RX.to_owned()), ("--queue", nic::QUEUE.to_string())];
        let fixed = [
            ("--listen", self.listen()),
            ("--area-buffers", self.area.to_string()),
            ("--refill-entries", self.refill_entries.to_string()),
            ("--cq-entries", self.cq_entries.to_string()),
        ];
        let has_device = self.fault != Fault::NoDevice;
        let device = device.into_iter().filter(|_| has_device);
        let mut arguments: Vec<String> =
            device.chain(fixed).flat_map(|(name, value)| [name.to_owned(), value]).collect();
        if !has_device {
            arguments.push("--no-flush".to_owned());
        }
        if let Some(fault) = self.fault.argument() {
            arguments.extend(["--fault".to_owned(), fault]);
            // Until it is ordered, the program works well.
            let after = if self.fault.is_permanent() { 0 } else { u64::MAX };
            arguments.extend(["--fault-after".to_owned(), after.to_string()]);
        }
        arguments
    }
}
