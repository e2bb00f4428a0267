//! What is known of NIC drivers, read from their sources (Linux 7.3.4); docs/nics.md says where each fact is from.
//!
//! An unknown driver gets [`Driver::GENERIC`]: what the kernel demands of every driver, and no more.

use super::{interface_name, ioctl};

/// What a driver does to a queue whose buffers ran out, once buffers are free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It keeps its buffers posted and drops packets meanwhile; the next packet is received.
    NeverEmpty,
    /// It polls again after this many milliseconds.
    Timer(u32),
    /// It does not poll again by itself: the queue stays dead until it is restarted.
    Never,
    /// Nothing is known.
    Unknown,
}

/// What zcrxd has to know of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its name, as `ethtool -i` shows it; empty for an unknown one.
    pub name: &'static str,
    /// The feature without which it refuses header split.
    pub split_needs: Option<&'static str>,
    /// The first queue that can be given to zcrx.
    pub first_queue: u32,
    /// Why lower ones cannot.
    pub first_queue_reason: &'static str,
    /// Whether it stops all its queues, with the carrier, for a moment at each registration of one of them.
    pub stops_all: bool,
    /// Whether it has queue management operations at all; `None` if unknown.
    pub gives_queues: Option<bool>,
    /// How a starved queue starts again, from [`Self::restart_since`] on.
    pub restart: Restart,
    /// The first kernel, major and minor number, whose driver does so; with older ones a starved queue stays dead.
    pub restart_since: (u32, u32),
    /// Fewest buffers with which a queue receives; 0 if unknown.
    pub least_buffers: u32,
    /// How many buffers it collects before it announces them to the NIC: up to one fewer are posted, and the NIC does not know.
    pub posting_step: u32,
    /// Whether the area has to be larger than the receive ring, or nothing is received.
    pub area_above_ring: bool,
    /// Its counter of failed allocations in `ethtool -S`.
    pub counter: Option<&'static str>,
}

/// What is known of the driver of an interface of this network namespace; the generic driver where it cannot be asked.
pub fn driver_of(index: u32) -> Driver {
    let name = interface_name(index).and_then(|name| ioctl::Ethtool::open(&name).ok()?.driver().ok());
    name.map_or(Driver::GENERIC, |(name, _)| Driver::named(&name))
}

impl Driver {
    /// A driver of which nothing is known.
    pub const GENERIC: Self = Self {
        name: "",
        split_needs: None,
        first_queue: 0,
        first_queue_reason: "",
        stops_all: false,
        gives_queues: None,
        restart: Restart::Unknown,
        restart_since: (0, 0),
        least_buffers: 0,
        posting_step: 1,
        area_above_ring: false,
        counter: None,
    };

    /// Whether a starved queue keeps its buffers posted and drops packets.
    pub fn keeps_posted(&self) -> bool {
        self.restart == Restart::NeverEmpty
    }

    /// Why the driver does not give a queue to zcrx, and what to do instead; `None` if nothing is known against it.
    pub fn refuses(&self, interface: &str, queue: u32) -> Option<(String, String)> {
        let reason = self.first_queue_reason;
        (queue < self.first_queue).then(|| {
            (
                format!("{reason}: queue {queue} of {interface} cannot be given to zcrx"),
                format!("choose queue {} or a higher one", self.first_queue),
            )
        })
    }

    /// What is known of the driver of that name.
    pub fn named(name: &str) -> Self {
        ALL.iter().find(|driver| driver.name == name).copied().unwrap_or(Self::GENERIC)
    }

    /// The driver of that name as this kernel release has it. If the release is unknown, so is a restart that depends on it.
    pub fn of_kernel(name: &str, release: &str) -> Self {
        let driver = Self::named(name);
        let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
        let restart = match numbers.next().zip(numbers.next()) {
            _ if driver.restart_since == (0, 0) => driver.restart,
            Some((Ok(major), Ok(minor))) if (major, minor) >= driver.restart_since => driver.restart,
            Some((Ok(_), Ok(_))) => Restart::Never,
            _ => Restart::Unknown,
        };
        Self { restart, ..driver }
    }

    /// What a starved queue does when buffers are free again, and what revives it where it does not.
    pub fn after_starvation(&self, interface: &str) -> String {
        match self.restart {
            Restart::NeverEmpty => format!(
                "{} keeps its buffers posted and drops packets while none can be replaced; it receives again with the \
                 first packet after buffers are returned",
                self.name
            ),
            Restart::Timer(ms) => {
                format!("{} looks for buffers again within {ms} ms and goes on by itself", self.name)
            }
            Restart::Never => format!(
                "{} does not look for buffers again by itself: once the ring is empty the queue stays dead until it is \
                 restarted, for example by `ethtool -G {interface} rx N` with another N, or by setting the interface \
                 down and up",
                self.name
            ),
            Restart::Unknown => {
                "whether this driver looks for buffers again by itself is not known: if no packets arrive although \
                 buffers are free, restart the queue"
                    .to_owned()
            }
        }
    }
}

/// The drivers of docs/nics.md.
pub const ALL: &[Driver] = &[
    Driver {
        name: "bnxt_en",
        gives_queues: Some(true),
        restart: Restart::NeverEmpty,
        area_above_ring: true,
        counter: Some("rx_total_oom_discards"),
        ..Driver::GENERIC
    },
    Driver {
        name: "mlx5_core",
        split_needs: Some("rx-gro-hw"),
        gives_queues: Some(true),
        restart: Restart::Never,
        counter: Some("rx_buff_alloc_err"),
        ..Driver::GENERIC
    },
    Driver {
        name: "gve",
        first_queue: 1,
        first_queue_reason: "gve cannot stop queue 0 while others run (DQO format)",
        stops_all: true,
        gives_queues: Some(true),
        restart: Restart::Timer(20),
        restart_since: (7, 2),
        least_buffers: 40,
        posting_step: 32,
        counter: Some("rx_buf_alloc_fail"),
        ..Driver::GENERIC
    },
    Driver {
        name: "fbnic",
        gives_queues: Some(true),
        restart: Restart::Timer(1000),
        counter: None,
        ..Driver::GENERIC
    },
    Driver { name: "ice", gives_queues: Some(false), counter: Some("rx_pg_alloc_fail"), ..Driver::GENERIC },
    Driver { name: "zcnic", gives_queues: Some(true), restart: Restart::Timer(20), ..Driver::GENERIC },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_driver_gets_the_generic_way() {
        assert_eq!(Driver::named("e1000e"), Driver::GENERIC);
        assert_eq!(Driver::named("mlx5_core").split_needs, Some("rx-gro-hw"));
        assert_eq!(Driver::named("gve").first_queue, 1);
        assert_eq!(Driver::named("gve").refuses("eth0", 1), None);
        let (reason, remedy) = Driver::named("gve").refuses("eth0", 0).expect("gve keeps queue 0");
        assert!(reason.contains("queue 0 of eth0") && remedy.contains("queue 1"), "{reason}: {remedy}");
    }

    #[test]
    fn an_older_kernels_driver_may_leave_a_starved_queue_dead() {
        for (release, restart) in [
            ("6.18.15+deb13-cloud-amd64", Restart::Never),
            ("7.1.13", Restart::Never),
            ("7.2.0-rc1", Restart::Timer(20)),
            ("next", Restart::Unknown),
            ("", Restart::Unknown),
        ] {
            assert_eq!(Driver::of_kernel("gve", release).restart, restart, "{release}");
        }
        assert_eq!(Driver::of_kernel("fbnic", "6.18.15"), Driver::named("fbnic"));
    }

    #[test]
    fn a_driver_that_never_restarts_names_the_command_that_does() {
        let words = Driver::named("mlx5_core").after_starvation("eth0");
        assert!(words.contains("`ethtool -G eth0 rx N`"), "{words}");
    }
}
