//! io_uring and zcrx: read by `IORING_REGISTER_QUERY`, and on kernels without it from the request table and BTF.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::{Finding, Group, Verdict};
use crate::kernel::Kernel;
use zcrx_uapi::zcrx::{
    ZCRX_CTRL_ADD_AREA, ZCRX_CTRL_EXPORT, ZCRX_CTRL_FLUSH_RQ, ZCRX_FEATURE_RX_PAGE_SIZE, ZCRX_REG_IMPORT,
    ZCRX_REG_NODEV,
};
use zcrx_uapi::{QueryZcrx, QueryZcrxEvent, errno, query};

/// Features of io_uring that this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether the kernel has RECV_ZC, or the errno of the refused ring.
    pub receive: Result<bool, i32>,
    /// Whether a wait can have a shortest time (Linux 6.12); `None` if no ring could be created.
    pub min_wait: Option<bool>,
    /// Features of zcrx, or the errno of the query (Linux 6.19).
    pub zcrx: Result<QueryZcrx, i32>,
    /// Features of zcrx's events, or the errno of the query (Linux 7.2).
    pub events: Result<QueryZcrxEvent, i32>,
}

impl Offer {
    /// Queries the kernel. Creates a ring of two entries and closes it.
    pub fn ask() -> Self {
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let ring = IoUring::new(2);
        Self {
            min_wait: ring.as_ref().ok().map(|ring| ring.params().is_feature_min_timeout()),
            receive: ring.and_then(|ring| has_receive(&ring)).map_err(number),
            zcrx: query::zcrx().map_err(number),
            events: query::zcrx_event().map_err(number),
        }
    }

    /// Whether the kernel has zcrx; `None` if no ring could be created.
    pub fn has_zcrx(&self) -> Option<bool> {
        self.receive.ok()
    }
}

fn has_receive(ring: &IoUring) -> io::Result<bool> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    Ok(probe.is_supported(opcode::RecvZc::CODE))
}

/// A feature that zcrx gained after its first version.
struct Feature {
    name: &'static str,
    gives: &'static str,
    /// First kernel with the feature.
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
        "flushing the refill ring on demand, which ends a full ring or a copy livelock",
        "6.19",
        |offer| offer.control(ZCRX_CTRL_FLUSH_RQ),
    ),
    feature("sharing", "several rings on one queue (export, import)", "6.19", |offer| {
        offer.control(ZCRX_CTRL_EXPORT) && offer.registers(ZCRX_REG_IMPORT)
    }),
    feature("buffer_size", "buffers larger than a page (rx_buf_len)", "7.0", |offer| {
        offer.zcrx.is_ok_and(|zcrx| zcrx.features & ZCRX_FEATURE_RX_PAGE_SIZE != 0)
    }),
    feature("no_device", "zcrx without a device, for hosts without a suitable NIC", "7.1", |offer| {
        offer.registers(ZCRX_REG_NODEV)
    }),
    feature("events", "notifications of failed allocations and copies", "7.2", |offer| {
        offer.events.is_ok_and(|events| events.event_flags != 0)
    }),
    feature("statistics", "copy counters for the owner of a queue", "7.2", |offer| {
        offer.events.is_ok_and(|events| events.stats_size > 0)
    }),
    feature("more_areas", "adding memory to a running queue", "7.3", |offer| {
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
    findings.extend(offer.min_wait.map(min_wait));
    let zcrx = |verdict, found: &str| Finding::new(Group::IoUring, "zcrx", verdict, found);
    match offer.receive {
        Err(_) => {
            findings.push(zcrx(Verdict::Skip, "not checked: this process cannot create a ring"));
            return findings;
        }
        Ok(false) => {
            let remedy =
                "use Linux 6.15 or later with CONFIG_IO_URING_ZCRX; on this kernel zcrxd receives by copying";
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
        Finding::new(Group::IoUring, name, Verdict::Warn, format!("not supported by this kernel: {gives}"))
            .remedy(format!("use Linux {since} or later"))
    }));
    findings
}

/// The remedy where io_uring is there, and kept from this process.
const ALLOW: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile or security module of \
                     this container or unit";

fn ring(offer: &Offer, kernel: &Kernel) -> Finding {
    let disabled = &kernel.sysctls.io_uring_disabled;
    let finding = |verdict, found: String| Finding::new(Group::IoUring, "io_uring", verdict, found);
    let open = "`sysctl kernel.io_uring_disabled=0`, or 1 with this user in kernel.io_uring_group";
    match (offer.receive, disabled) {
        (Ok(_), Ok(0) | Err(_)) => finding(Verdict::Pass, "this process may create rings".to_owned()),
        (Ok(_), Ok(value)) => finding(
            Verdict::Warn,
            format!(
                "this process may create rings, but kernel.io_uring_disabled is {value}: other processes may not"
            ),
        )
        .remedy(open),
        (Err(libc::EPERM), Ok(value)) if *value != 0 => finding(
            Verdict::Fail,
            format!("kernel.io_uring_disabled is {value}: this process may not create rings"),
        )
        .remedy(open),
        (Err(libc::EPERM), _) => {
            finding(Verdict::Fail, "io_uring is refused with EPERM".to_owned()).remedy(ALLOW)
        }
        // The sysctl exists only where io_uring does. Linux 6.6.
        (Err(libc::ENOSYS), Ok(_)) => finding(
            Verdict::Fail,
            "io_uring is hidden from this process (ENOSYS), although this kernel has it".to_owned(),
        )
        .remedy(ALLOW),
        (Err(libc::ENOSYS), Err(_)) => finding(
            Verdict::Fail,
            "this kernel has no io_uring, or a seccomp filter hides it".to_owned(),
        )
        .remedy("use a kernel with CONFIG_IO_URING, and allow the system calls of io_uring"),
        (Err(number), _) => {
            let message = io::Error::from_raw_os_error(number);
            let name = errno::name(number).unwrap_or("unknown errno");
            finding(Verdict::Fail, format!("io_uring is refused with {name}: {message}"))
        }
    }
}

fn min_wait(supported: bool) -> Finding {
    let gives = "waits that gather completions (min_wait)";
    if supported {
        return Finding::new(Group::IoUring, "min_wait", Verdict::Pass, gives);
    }
    Finding::new(Group::IoUring, "min_wait", Verdict::Warn, format!("not supported by this kernel: {gives}"))
        .remedy("use Linux 6.12 or later, or leave min_wait out")
}

/// No query reports this feature. Kernels with the query have it; on others the field `zcrx_ctxs` shows it.
fn many_queues(offer: &Offer, kernel: &Kernel) -> Option<Finding> {
    let by_type =
        || kernel.btf.as_ref().ok()?.field("io_ring_ctx", "zcrx_ctxs").ok().map(|field| field.is_some());
    let many = if offer.zcrx.is_ok() { true } else { by_type()? };
    let gives = "several queues on one ring";
    Some(if many {
        Finding::new(Group::IoUring, "many_queues", Verdict::Pass, gives)
    } else {
        Finding::new(
            Group::IoUring,
            "many_queues",
            Verdict::Warn,
            format!("not supported by this kernel: {gives}"),
        )
        .remedy("use Linux 6.16 or later")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(offer: &Offer) -> Vec<(String, Verdict)> {
        let mut kernel = Kernel::inspect();
        kernel.sysctls.io_uring_disabled = Ok(0);
        kernel.btf = Err("not read".to_owned());
        judge(offer, &kernel).into_iter().map(|finding| (finding.name, finding.verdict)).collect()
    }

    #[test]
    fn kernel_without_the_query_has_only_the_first_version() {
        let offer = Offer {
            receive: Ok(true),
            min_wait: Some(false),
            zcrx: Err(libc::EINVAL),
            events: Err(libc::EINVAL),
        };
        let verdicts = verdicts(&offer);
        assert_eq!(
            verdicts[..3],
            [
                ("io_uring".to_owned(), Verdict::Pass),
                ("min_wait".to_owned(), Verdict::Warn),
                ("zcrx".to_owned(), Verdict::Pass)
            ]
        );
        assert_eq!(verdicts.len(), 3 + FEATURES.len());
        assert!(verdicts[3..].iter().all(|(_, verdict)| *verdict == Verdict::Warn), "{verdicts:?}");
    }

    #[test]
    fn features_come_from_the_query() {
        let zcrx = QueryZcrx {
            register_flags: (ZCRX_REG_IMPORT | ZCRX_REG_NODEV).into(),
            nr_ctrl_opcodes: ZCRX_CTRL_ADD_AREA,
            features: ZCRX_FEATURE_RX_PAGE_SIZE,
            ..QueryZcrx::default()
        };
        let events = QueryZcrxEvent { event_flags: 3, stats_size: 16, ..QueryZcrxEvent::default() };
        let verdicts =
            verdicts(&Offer { receive: Ok(true), min_wait: Some(true), zcrx: Ok(zcrx), events: Ok(events) });
        let warned: Vec<_> = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Warn).collect();
        assert_eq!(warned, [&("more_areas".to_owned(), Verdict::Warn)]);
    }

    #[test]
    fn without_a_ring_zcrx_is_not_judged() {
        let offer = Offer {
            receive: Err(libc::EPERM),
            min_wait: None,
            zcrx: Err(libc::EPERM),
            events: Err(libc::EPERM),
        };
        assert_eq!(
            verdicts(&offer),
            [("io_uring".to_owned(), Verdict::Fail), ("zcrx".to_owned(), Verdict::Skip)]
        );
    }

    /// The request table and the query are independent sources: a kernel with the query has RECV_ZC.
    #[test]
    fn query_and_request_table_agree_on_this_kernel() {
        let offer = Offer::ask();
        if offer.zcrx.is_ok() {
            assert_eq!(offer.receive, Ok(true), "{offer:?}");
        }
        if offer.events.is_ok() {
            assert!(offer.zcrx.is_ok(), "{offer:?}");
        }
    }
}
