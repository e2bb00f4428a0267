//! Interfaces: whether a queue of them could be handed to zcrx, and who has them now.
//!
//! Whoever names an interface wants to use it: what it lacks is a failure then, and a warning else.

use super::{Facts, Finding, Group, Verdict};
use crate::model::{Interface, KernelQueue, Owner};
use crate::net::needs::{self, Condition};

/// Drivers that can hand a queue to a memory provider, in the kernels that have zcrx.
const ABLE: [&str; 4] = ["bnxt_en", "fbnic", "gve", "mlx5_core"];

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let interfaces = match &facts.interfaces {
        Ok(interfaces) => interfaces,
        Err(reason) => return vec![Finding::new(Group::Interfaces, "interfaces", Verdict::Warn, reason)],
    };
    let queues = facts.probe.snapshot.as_ref().map(|snapshot| snapshot.queues.as_slice());
    let findings = interfaces.iter().flat_map(|interface| judge_interface(interface, queues, facts.named));
    findings.collect()
}

fn judge_interface(interface: &Interface, queues: Option<&[KernelQueue]>, named: bool) -> Vec<Finding> {
    let amiss = if named { Verdict::Fail } else { Verdict::Warn };
    let mut findings = if let Some(why) = without_hardware(interface) {
        let verdict = if named { Verdict::Fail } else { Verdict::Skip };
        vec![Finding::new(
            Group::Interfaces,
            "driver",
            verdict,
            format!("{why}: it has no queue to hand over"),
        )]
    } else {
        let mut findings = vec![driver(interface)];
        findings.extend([
            need("up", needs::up(interface), amiss),
            need("queues", needs::enough_queues(interface), amiss),
            need("header_split", needs::header_split(interface), amiss),
            need("hds_thresh", needs::threshold(interface), amiss),
            need("steering", needs::steering(interface), Verdict::Warn),
            need("xdp", needs::xdp(interface), amiss),
        ]);
        findings.extend(owners(interface, queues.unwrap_or_default()));
        findings
    };
    for finding in &mut findings {
        finding.interface = Some(interface.name.clone());
    }
    findings
}

/// Why an interface is none of hardware; `None` if it may be.
fn without_hardware(interface: &Interface) -> Option<String> {
    if let Some(kind) = &interface.kind {
        return Some(format!("a virtual interface ({kind})"));
    }
    // The loopback has neither driver nor rings; a driver may hide its name, but then has rings.
    let bare = interface.driver.known().is_none() && interface.setup.rings.known().is_none();
    bare.then(|| "no driver and no rings".to_owned())
}

fn driver(interface: &Interface) -> Finding {
    let name = interface.driver.known().map_or("an unknown driver", String::as_str);
    let found = |verdict, found| Finding::new(Group::Interfaces, "driver", verdict, found);
    let provided =
        interface.queues.known().is_some_and(|queues| queues.iter().any(|queue| queue.provider.is_some()));
    if provided {
        return found(Verdict::Pass, format!("{name}: hands a queue over at this moment"));
    }
    if ABLE.contains(&name) {
        return found(
            Verdict::Pass,
            format!("{name}: can hand queues over, on NICs and firmware that can split headers"),
        );
    }
    found(
        Verdict::Warn,
        format!("{name}: whether it can hand a queue over shows only when one is registered"),
    )
    .remedy(format!("NICs of {} can", ABLE.join(", ")))
}

fn need(name: &str, condition: Condition, amiss: Verdict) -> Finding {
    match condition {
        Condition::Well(found) => Finding::new(Group::Interfaces, name, Verdict::Pass, found),
        Condition::Amiss { found, remedy } => {
            Finding::new(Group::Interfaces, name, amiss, found).remedy(remedy)
        }
        Condition::Unseen(found) => Finding::new(Group::Interfaces, name, Verdict::Skip, found),
    }
}

/// Queues that somebody has, one finding for all: to be in use is no fault.
fn owners(interface: &Interface, kernel: &[KernelQueue]) -> Option<Finding> {
    let finding = |verdict, found| Some(Finding::new(Group::Interfaces, "owners", verdict, found));
    let Some(queues) = interface.queues.known() else {
        let why = interface.queues.unknown().unwrap_or("not told");
        return finding(Verdict::Skip, format!("who has its queues cannot be seen ({why})"));
    };
    let taken: Vec<String> = queues
        .iter()
        .filter_map(|queue| {
            let by = needs::taken_by(queue)?;
            let owner = kernel.iter().find(|known| is_on(known, interface) && known.queue == Some(queue.id));
            let owner = owner.and_then(|known| known.owners.iter().min_by_key(|owner| owner.pid)).map(words);
            Some(format!("queue {}: {by}{}", queue.id, owner.unwrap_or_default()))
        })
        .collect();
    if taken.is_empty() {
        return finding(Verdict::Pass, "nobody has a queue of it but the driver".to_owned());
    }
    finding(Verdict::Pass, taken.join("; "))
}

fn is_on(queue: &KernelQueue, interface: &Interface) -> bool {
    let netns = interface.netns.known().map(|netns| netns.inode);
    queue.ifindex == Some(interface.index) && (queue.netns.is_none() || queue.netns == netns)
}

fn words(owner: &Owner) -> String {
    format!(" of {} (pid {})", owner.comm, owner.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HeaderSplit, MemoryProvider, Reading};
    use crate::net::needs::fixture::ready;
    use crate::observe::fixture::kernel_queue;

    fn verdicts(interface: &Interface, named: bool) -> Vec<(String, Verdict)> {
        let findings = judge_interface(interface, None, named);
        assert!(findings.iter().all(|finding| finding.interface.as_ref() == Some(&interface.name)));
        findings.into_iter().map(|finding| (finding.name, finding.verdict)).collect()
    }

    #[test]
    fn what_is_amiss_weighs_more_where_the_interface_was_named() {
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
        // Steering is not told by the fixture: what is not seen is no failure.
        assert!(
            others.clone().all(|(_, verdict)| verdict != Verdict::Fail),
            "{:?}",
            others.collect::<Vec<_>>()
        );
    }

    #[test]
    fn software_is_skipped_unless_somebody_wants_it() {
        let mut veth = ready();
        veth.kind = Some("veth".to_owned());
        assert_eq!(verdicts(&veth, false), [("driver".to_owned(), Verdict::Skip)]);
        assert_eq!(verdicts(&veth, true), [("driver".to_owned(), Verdict::Fail)]);
    }

    #[test]
    fn who_has_a_queue_is_named() {
        let mut interface = ready();
        interface.driver = Reading::Known("unheard_of".to_owned());
        if let Reading::Known(queues) = &mut interface.queues {
            queues[1].provider = Some(MemoryProvider::IoUring { rx_buf_len: None });
            queues[2].af_xdp = true;
        }
        let queue = KernelQueue { ifindex: Some(2), netns: None, queue: Some(1), ..kernel_queue() };
        let findings = judge_interface(&interface, Some(&[queue]), false);
        let found =
            |name: &str| findings.iter().find(|finding| finding.name == name).map(|one| one.found.as_str());
        assert_eq!(
            found("owners"),
            Some("queue 1: a zcrx queue of receiver (pid 4242); queue 2: an AF_XDP socket")
        );
        // A driver that does it can do it, known or not.
        assert_eq!(found("driver"), Some("unheard_of: hands a queue over at this moment"));
    }
}
