//! Interfaces: whether zcrx can use their queues, and which queues have an owner now.
//!
//! A user who names an interface wants to use it: everything that it lacks is a failure then, otherwise a warning.

use std::sync::Arc;

use super::{Facts, Finding, Group, Verdict};
use crate::model::{Interface, KernelQueue, Owner, Rings};
use crate::net::Driver;
use crate::net::driver::Restart;
use crate::net::needs::{self, Condition};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let interfaces = match &facts.interfaces {
        Ok(interfaces) => interfaces,
        Err(reason) => return vec![Finding::new(Group::Interfaces, "interfaces", Verdict::Warn, reason)],
    };
    let queues = facts.probe.snapshot.as_ref().map(|snapshot| snapshot.queues.as_slice());
    let release = facts.kernel.release.as_deref().unwrap_or_default();
    let findings =
        interfaces.iter().flat_map(|interface| judge_interface(interface, queues, facts.named, release));
    findings.collect()
}

fn judge_interface(
    interface: &Interface,
    queues: Option<&[Arc<KernelQueue>]>,
    named: bool,
    release: &str,
) -> Vec<Finding> {
    let lacking = if named { Verdict::Fail } else { Verdict::Warn };
    let mut findings = if let Some(why) = without_hardware(interface) {
        let verdict = if named { Verdict::Fail } else { Verdict::Skip };
        vec![Finding::new(
            Group::Interfaces,
            "driver",
            verdict,
            format!("{why}: it has no hardware queue for zcrx"),
        )]
    } else {
        let mut findings = vec![driver(interface)];
        findings.extend([
            need("up", needs::up(interface), lacking),
            need("queues", needs::enough_queues(interface), lacking),
            need("header_split", needs::header_split(interface), lacking),
            need("split_feature", needs::split_feature(interface), lacking),
            need("hds_thresh", needs::threshold(interface), lacking),
            need("steering", needs::steering(interface), Verdict::Warn),
            need("xdp", needs::xdp(interface), lacking),
        ]);
        findings.extend(restart(interface, release));
        findings.extend(pause(interface));
        findings.extend(owners(interface, queues.unwrap_or_default()));
        findings
    };
    for finding in &mut findings {
        finding.interface = Some(interface.name.clone());
    }
    findings
}

/// Returns why an interface has no hardware; `None` if it may have some.
fn without_hardware(interface: &Interface) -> Option<String> {
    if let Some(kind) = &interface.kind {
        return Some(format!("a virtual interface ({kind})"));
    }
    // The loopback interface has neither driver nor rings. A driver without a name still has rings.
    let bare = interface.driver.known().is_none() && interface.setup.rings.known().is_none();
    bare.then(|| "no driver and no rings".to_owned())
}

fn driver(interface: &Interface) -> Finding {
    let name = interface.driver.known().map_or("an unknown driver", String::as_str);
    let found = |verdict, found| Finding::new(Group::Interfaces, "driver", verdict, found);
    let provided =
        interface.queues.known().is_some_and(|queues| queues.iter().any(|queue| queue.provider.is_some()));
    if provided {
        return found(
            Verdict::Pass,
            format!("{name}: supports zcrx; one of its queues has a memory provider now"),
        );
    }
    match Driver::named(name).gives_queues {
        Some(true) => found(
            Verdict::Pass,
            format!("{name}: supports zcrx, with a NIC and firmware that support header split"),
        ),
        Some(false) => found(
            Verdict::Warn,
            format!(
                "{name}: has no queue management operations up to Linux 7.3, so zcrx cannot have its queues"
            ),
        )
        .remedy("use the copying backend, or a NIC of bnxt_en, fbnic, gve or mlx5_core"),
        None => {
            found(Verdict::Warn, format!("{name}: not known to support zcrx; only a registration shows it"))
                .remedy("drivers known to support zcrx: bnxt_en, fbnic, gve, mlx5_core")
        }
    }
}

/// What the driver does to a queue that starved; nothing of drivers that give no queue to zcrx.
fn restart(interface: &Interface, release: &str) -> Option<Finding> {
    let driver = interface.driver.known().map_or(Driver::GENERIC, |name| Driver::of_kernel(name, release));
    let verdict = match driver.restart {
        _ if driver.gives_queues == Some(false) => return None,
        Restart::Unknown => Verdict::Skip,
        Restart::Never => Verdict::Warn,
        Restart::NeverEmpty | Restart::Timer(_) => Verdict::Pass,
    };
    let mut found = vec![driver.after_starvation(&interface.name)];
    if driver.area_above_ring {
        let ring = interface.setup.rings.known().and_then(Rings::payload);
        let ring = ring.map(|ring| format!(" ({ring} buffers)")).unwrap_or_default();
        found.push(format!(
            "it receives nothing unless the area has more buffers than the receive ring{ring}"
        ));
    }
    if driver.least_buffers > 0 {
        found.push(format!("give it at least {} buffers", driver.least_buffers));
    }
    let finding = Finding::new(Group::Interfaces, "starvation", verdict, found.join("; "));
    if driver.restart == Restart::Unknown {
        let remedy = format!("`zcrxd qualify {}:QUEUE --peer HOST` finds out", interface.name);
        return Some(finding.remedy(remedy));
    }
    Some(finding)
}

/// Pause frames make a starving queue harm the others of the port.
fn pause(interface: &Interface) -> Option<Finding> {
    interface.pause.filter(|pause| pause.tx)?;
    let found = "tx pause is on: while a zcrx queue starves, the NIC may hold up packets for every other queue instead of \
                 dropping, with no drop counted";
    let remedy =
        format!("where other traffic shares the port: `ethtool -A {} autoneg off tx off`", interface.name);
    Some(Finding::new(Group::Interfaces, "pause", Verdict::Warn, found).remedy(remedy))
}

fn need(name: &str, condition: Condition, lacking: Verdict) -> Finding {
    match condition {
        Condition::Well(found) => Finding::new(Group::Interfaces, name, Verdict::Pass, found),
        Condition::Amiss { found, remedy } => {
            Finding::new(Group::Interfaces, name, lacking, found).remedy(remedy)
        }
        Condition::Unseen(found) => Finding::new(Group::Interfaces, name, Verdict::Skip, found),
    }
}

/// Queues with an owner, as one finding: use is no fault.
fn owners(interface: &Interface, kernel: &[Arc<KernelQueue>]) -> Option<Finding> {
    let finding = |verdict, found| Some(Finding::new(Group::Interfaces, "owners", verdict, found));
    let Some(queues) = interface.queues.known() else {
        let why = interface.queues.unknown().unwrap_or("no reason given");
        return finding(Verdict::Skip, format!("the owners of its queues are unknown ({why})"));
    };
    let taken: Vec<String> = queues
        .iter()
        .filter_map(|queue| {
            let by = needs::taken_by(queue)?;
            let owner = kernel.iter().find(|known| is_on(known, interface) && known.queue == Some(queue.id));
            let owner =
                owner.and_then(|known| known.owners.iter().min_by_key(|owner| owner.pid)).map(name_owner);
            Some(format!("queue {}: {by}{}", queue.id, owner.unwrap_or_default()))
        })
        .collect();
    if taken.is_empty() {
        return finding(Verdict::Pass, "all queues belong to the driver".to_owned());
    }
    finding(Verdict::Pass, taken.join("; "))
}

fn is_on(queue: &KernelQueue, interface: &Interface) -> bool {
    let netns = interface.netns.known().map(|netns| netns.inode);
    queue.ifindex == Some(interface.index) && (queue.netns.is_none() || queue.netns == netns)
}

fn name_owner(owner: &Owner) -> String {
    format!(" of {} (pid {})", owner.comm, owner.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HeaderSplit, MemoryProvider, Pause, Reading};
    use crate::net::needs::fixture::ready;
    use crate::observe::fixture::kernel_queue;

    fn verdicts(interface: &Interface, named: bool) -> Vec<(String, Verdict)> {
        let findings = judge_interface(interface, None, named, "7.3.4");
        assert!(findings.iter().all(|finding| finding.interface.as_ref() == Some(&interface.name)));
        findings.into_iter().map(|finding| (finding.name, finding.verdict)).collect()
    }

    #[test]
    fn missing_need_fails_only_on_a_named_interface() {
        let mut interface = ready();
        if let Reading::Known(rings) = &mut interface.setup.rings {
            rings.tcp_data_split = HeaderSplit::Off;
        }
        let split = |named| {
            verdicts(&interface, named)
                .into_iter()
                .find(|(name, _)| name == "header_split")
                .map(|(_, found)| found)
        };
        assert_eq!((split(false), split(true)), (Some(Verdict::Warn), Some(Verdict::Fail)));
        let others = verdicts(&interface, true).into_iter().filter(|(name, _)| name != "header_split");
        // The fixture does not know about steering: an unknown fact is no failure.
        assert!(
            others.clone().all(|(_, verdict)| verdict != Verdict::Fail),
            "{:?}",
            others.collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_the_driver_does_when_a_queue_starves_is_said() {
        let said = |driver: &str| {
            let interface = Interface { driver: Reading::Known(driver.to_owned()), ..ready() };
            let findings = judge_interface(&interface, None, false, "7.3.4");
            let found = findings.into_iter().find(|finding| finding.name == "starvation");
            found.map(|finding| (finding.verdict, finding.found))
        };
        let (verdict, found) = said("mlx5_core").expect("mlx5 is known");
        assert_eq!(verdict, Verdict::Warn);
        assert!(found.contains("`ethtool -G eth0 rx N`"), "{found}");
        let (verdict, found) = said("bnxt_en").expect("bnxt is known");
        assert_eq!(verdict, Verdict::Pass);
        assert!(found.contains("more buffers than the receive ring (256 buffers)"), "{found}");
        let (verdict, found) = said("gve").expect("gve is known");
        assert_eq!(verdict, Verdict::Pass);
        assert!(found.contains("at least 40 buffers"), "{found}");
        assert_eq!(said("ice"), None, "it has no queue that could starve");
    }

    #[test]
    fn an_unknown_restart_is_said_to_be_unknown() {
        for driver in [Reading::Known("unheard_of".to_owned()), Reading::Unknown("not asked".to_owned())] {
            let findings = judge_interface(&Interface { driver, ..ready() }, None, true, "7.3.4");
            let finding = findings.iter().find(|finding| finding.name == "starvation");
            let finding = finding.expect("what is unknown is said");
            assert_eq!(finding.verdict, Verdict::Skip);
            assert!(finding.found.contains("is not known"), "{}", finding.found);
            let remedy = finding.remedy.as_deref();
            assert!(remedy.is_some_and(|remedy| remedy.contains("zcrxd qualify eth0:QUEUE")), "{remedy:?}");
        }
    }

    #[test]
    fn pause_frames_are_a_warning() {
        let with = |pause| verdicts(&Interface { pause, ..ready() }, true);
        let paused = Some(("pause".to_owned(), Verdict::Warn));
        assert_eq!(
            with(Some(Pause { rx: true, tx: true })).into_iter().find(|(name, _)| name == "pause"),
            paused
        );
        assert!(with(Some(Pause { rx: true, tx: false })).iter().all(|(name, _)| name != "pause"));
    }

    #[test]
    fn virtual_interface_is_skipped_unless_named() {
        let mut veth = ready();
        veth.kind = Some("veth".to_owned());
        assert_eq!(verdicts(&veth, false), [("driver".to_owned(), Verdict::Skip)]);
        assert_eq!(verdicts(&veth, true), [("driver".to_owned(), Verdict::Fail)]);
    }

    #[test]
    fn owner_of_each_queue_is_named() {
        let mut interface = ready();
        interface.driver = Reading::Known("unheard_of".to_owned());
        if let Reading::Known(queues) = &mut interface.queues {
            queues[1].provider = Some(MemoryProvider::IoUring { rx_buf_len: None });
            queues[2].af_xdp = true;
        }
        let queue = KernelQueue { ifindex: Some(2), netns: None, queue: Some(1), ..kernel_queue() };
        let findings = judge_interface(&interface, Some(&[queue.into()]), false, "7.3.4");
        let found =
            |name: &str| findings.iter().find(|finding| finding.name == name).map(|one| one.found.as_str());
        assert_eq!(
            found("owners"),
            Some("queue 1: a zcrx queue of receiver (pid 4242); queue 2: an AF_XDP socket")
        );
        // An unlisted driver with a memory provider supports zcrx.
        assert_eq!(
            found("driver"),
            Some("unheard_of: supports zcrx; one of its queues has a memory provider now")
        );
    }
}
