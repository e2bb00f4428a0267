//! io_uring and zcrx: asked by `IORING_REGISTER_QUERY`, and where a kernel does not know it, by trying.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::{Finding, Group, Verdict};
use crate::kernel::Kernel;
use zcrx_uapi::zcrx::{
    ZCRX_CTRL_ADD_AREA, ZCRX_CTRL_EXPORT, ZCRX_CTRL_FLUSH_RQ, ZCRX_FEATURE_RX_PAGE_SIZE, ZCRX_REG_IMPORT,
    ZCRX_REG_NODEV,
};
use zcrx_uapi::{QueryZcrx, QueryZcrxEvent, errno, query};

/// What io_uring offers this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether the kernel has RECV_ZC, or the errno with which it refused a ring to ask.
    pub receive: Result<bool, i32>,
    /// What zcrx offers, or why it does not say: an errno. Linux 6.19.
    pub zcrx: Result<QueryZcrx, i32>,
    /// What its events offer, likewise. Linux 7.2.
    pub events: Result<QueryZcrxEvent, i32>,
}

impl Offer {
    /// Asks. Makes a ring of two entries and closes it.
    pub fn ask() -> Self {
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        Self {
            receive: has_receive().map_err(number),
            zcrx: query::zcrx().map_err(number),
            events: query::zcrx_event().map_err(number),
        }
    }

    /// Whether the kernel has zcrx at all; `None` if it could not be asked.
    pub fn has_zcrx(&self) -> Option<bool> {
        self.receive.ok()
    }
}

fn has_receive() -> io::Result<bool> {
    let ring = IoUring::new(2)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    Ok(probe.is_supported(opcode::RecvZc::CODE))
}

/// Something that zcrx learnt after its first version.
struct Feature {
    name: &'static str,
    gives: &'static str,
    /// The first kernel that has it.
    since: &'static str,
    has: fn(&Offer) -> bool,
}

const fn feature(
    name: &'static str,
    gives: &'static str,
    since: &'static str,
    has: fn(&Offer) -> bool,
) -> Feature {
    Feature { name, gives, since, has }
}

const FEATURES: [Feature; 7] = [
    feature(
        "refill_flush",
        "the refill ring can be emptied on demand, out of a full ring or a livelock",
        "6.19",
        |offer| offer.control(ZCRX_CTRL_FLUSH_RQ),
    ),
    feature("sharing", "several rings can share a queue (export, import)", "6.19", |offer| {
        offer.control(ZCRX_CTRL_EXPORT) && offer.registers(ZCRX_REG_IMPORT)
    }),
    feature("buffer_size", "buffers larger than a page (rx_buf_len)", "7.0", |offer| {
        offer.zcrx.is_ok_and(|zcrx| zcrx.features & ZCRX_FEATURE_RX_PAGE_SIZE != 0)
    }),
    feature("no_device", "zcrx without a device, where no NIC can do it", "7.1", |offer| {
        offer.registers(ZCRX_REG_NODEV)
    }),
    feature("events", "the kernel notifies of failed allocations and copies", "7.2", |offer| {
        offer.events.is_ok_and(|events| events.event_flags != 0)
    }),
    feature("statistics", "the kernel counts copies for the owner of a queue", "7.2", |offer| {
        offer.events.is_ok_and(|events| events.stats_size > 0)
    }),
    feature("more_areas", "a queue can be given more memory while it runs", "7.3", |offer| {
        offer.control(ZCRX_CTRL_ADD_AREA)
    }),
];

impl Offer {
    fn control(&self, operation: u32) -> bool {
        self.zcrx.is_ok_and(|zcrx| zcrx.nr_ctrl_opcodes > operation)
    }

    fn registers(&self, flag: u32) -> bool {
        self.zcrx.is_ok_and(|zcrx| zcrx.register_flags & u64::from(flag) != 0)
    }
}

pub(super) fn judge(offer: &Offer, kernel: &Kernel) -> Vec<Finding> {
    let mut findings = vec![ring(offer, kernel)];
    let zcrx = |verdict, found: &str| Finding::new(Group::IoUring, "zcrx", verdict, found);
    match offer.receive {
        Err(_) => {
            findings.push(zcrx(Verdict::Skip, "without a ring the kernel cannot be asked"));
            return findings;
        }
        Ok(false) => {
            let remedy =
                "Linux 6.15 or later with CONFIG_IO_URING_ZCRX; until then zcrxd receives by ordinary copies";
            findings.push(zcrx(Verdict::Fail, "this kernel has no zero-copy receive").remedy(remedy));
            return findings;
        }
        Ok(true) => findings.push(zcrx(Verdict::Pass, "this kernel has zero-copy receive (RECV_ZC)")),
    }
    findings.extend(many_queues(offer, kernel));
    findings.extend(FEATURES.iter().map(|feature| {
        let Feature { name, gives, since, has } = feature;
        if has(offer) {
            return Finding::new(Group::IoUring, name, Verdict::Pass, *gives);
        }
        Finding::new(Group::IoUring, name, Verdict::Warn, format!("not on this kernel: {gives}"))
            .remedy(format!("Linux {since} or later"))
    }));
    findings
}

fn ring(offer: &Offer, kernel: &Kernel) -> Finding {
    let disabled = &kernel.sysctls.io_uring_disabled;
    let finding = |verdict, found: String| Finding::new(Group::IoUring, "io_uring", verdict, found);
    let open = "`sysctl kernel.io_uring_disabled=0`, or 1 with this user in kernel.io_uring_group";
    match (offer.receive, disabled) {
        (Ok(_), Ok(0) | Err(_)) => finding(Verdict::Pass, "rings can be made".to_owned()),
        (Ok(_), Ok(value)) => finding(
            Verdict::Warn,
            format!(
                "rings can be made by this process, but kernel.io_uring_disabled is {value}: not by every one"
            ),
        )
        .remedy(open),
        (Err(libc::EPERM), Ok(value)) if *value != 0 => finding(
            Verdict::Fail,
            format!("kernel.io_uring_disabled is {value}: this process may make no ring"),
        )
        .remedy(open),
        (Err(libc::EPERM), _) => finding(
            Verdict::Fail,
            "EPERM: something forbids io_uring to this process".to_owned(),
        )
        .remedy(
            "a seccomp filter or security module does: containers get one by default that has to be widened",
        ),
        (Err(libc::ENOSYS), _) => finding(Verdict::Fail, "this kernel has no io_uring".to_owned())
            .remedy("a kernel with CONFIG_IO_URING"),
        (Err(number), _) => {
            let said = io::Error::from_raw_os_error(number);
            let name = errno::name(number).unwrap_or("unknown errno");
            finding(Verdict::Fail, format!("a ring is refused with {name}: {said}"))
        }
    }
}

/// No query tells of it, but who knows the query has it, and the types show it.
fn many_queues(offer: &Offer, kernel: &Kernel) -> Option<Finding> {
    let by_type =
        || kernel.btf.as_ref().ok()?.field("io_ring_ctx", "zcrx_ctxs").ok().map(|field| field.is_some());
    let many = if offer.zcrx.is_ok() { true } else { by_type()? };
    let gives = "a ring can have several queues";
    Some(if many {
        Finding::new(Group::IoUring, "many_queues", Verdict::Pass, gives)
    } else {
        Finding::new(Group::IoUring, "many_queues", Verdict::Warn, format!("not on this kernel: {gives}"))
            .remedy("Linux 6.16 or later")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(offer: &Offer) -> Vec<(String, Verdict)> {
        let mut kernel = Kernel::inspect();
        kernel.sysctls.io_uring_disabled = Ok(0);
        kernel.btf = Err("not asked".to_owned());
        judge(offer, &kernel).into_iter().map(|finding| (finding.name, finding.verdict)).collect()
    }

    #[test]
    fn a_kernel_that_knows_no_query_has_the_first_version() {
        let offer = Offer { receive: Ok(true), zcrx: Err(libc::EINVAL), events: Err(libc::EINVAL) };
        let verdicts = verdicts(&offer);
        assert_eq!(
            verdicts[..2],
            [("io_uring".to_owned(), Verdict::Pass), ("zcrx".to_owned(), Verdict::Pass)]
        );
        assert_eq!(verdicts.len(), 2 + FEATURES.len());
        assert!(verdicts[2..].iter().all(|(_, verdict)| *verdict == Verdict::Warn), "{verdicts:?}");
    }

    #[test]
    fn what_the_query_tells_is_what_there_is() {
        let zcrx = QueryZcrx {
            register_flags: (ZCRX_REG_IMPORT | ZCRX_REG_NODEV).into(),
            nr_ctrl_opcodes: ZCRX_CTRL_ADD_AREA,
            features: ZCRX_FEATURE_RX_PAGE_SIZE,
            ..QueryZcrx::default()
        };
        let events = QueryZcrxEvent { event_flags: 3, stats_size: 16, ..QueryZcrxEvent::default() };
        let verdicts = verdicts(&Offer { receive: Ok(true), zcrx: Ok(zcrx), events: Ok(events) });
        let warned: Vec<_> = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Warn).collect();
        assert_eq!(warned, [&("more_areas".to_owned(), Verdict::Warn)]);
    }

    #[test]
    fn without_a_ring_nothing_is_claimed() {
        let offer = Offer { receive: Err(libc::EPERM), zcrx: Err(libc::EPERM), events: Err(libc::EPERM) };
        assert_eq!(
            verdicts(&offer),
            [("io_uring".to_owned(), Verdict::Fail), ("zcrx".to_owned(), Verdict::Skip)]
        );
    }

    /// The request table and the query are two sources: who answers the second has the first.
    #[test]
    fn this_kernel_does_not_contradict_itself() {
        let offer = Offer::ask();
        if offer.zcrx.is_ok() {
            assert_eq!(offer.receive, Ok(true), "{offer:?}");
        }
        if offer.events.is_ok() {
            assert!(offer.zcrx.is_ok(), "{offer:?}");
        }
    }
}
