//! How each probe attached during this check.

use super::{Finding, Group, Offer, Verdict, privileges};
use crate::kernel::Kernel;
use crate::model::{ProbeStatus, SelfCheck, common_refusal};
use crate::probe;

pub(super) fn judge(probes: &[ProbeStatus], kernel: &Kernel, offer: &Offer) -> Vec<Finding> {
    let unprivileged = privileges::lacks_probes(&kernel.privileges);
    if !unprivileged
        && offer.has_zcrx() != Some(false)
        && let Some(reason) = common_refusal(probes)
    {
        let lost = "no probe is attached, so zcrxd knows nothing of other programs' queues, and of its own only what user \
                    space sees";
        return vec![Finding::new(Group::Probes, "bpf", Verdict::Fail, format!("{lost}: {reason}"))];
    }
    probes.iter().map(|probe| judge_probe(probe, unprivileged, offer.has_zcrx())).collect()
}

fn judge_probe(probe: &ProbeStatus, unprivileged: bool, zcrx: Option<bool>) -> Finding {
    let finding = |verdict, found| Finding::new(Group::Probes, &probe.name, verdict, found);
    let refused = || {
        let tried = probe.refused.iter();
        tried.map(|one| format!("{} {}: {}", one.mechanism.name(), one.target, one.error)).collect::<Vec<_>>()
    };
    if let Some((mechanism, target)) = &probe.attached {
        let attached = format!("{} {target}: {}", mechanism.name(), probe.tells);
        let better = refused();
        if better.is_empty() {
            return finding(Verdict::Pass, attached);
        }
        return finding(Verdict::Pass, format!("{attached}; refused before: {}", better.join("; ")));
    }
    if !probe.asked {
        let why = probe.refused.first().map_or("not requested", |one| one.error.as_str());
        return finding(Verdict::Skip, why.to_owned());
    }
    if unprivileged {
        return finding(
            Verdict::Skip,
            "not tried: this process may not attach probes (see attach_probes above)".to_owned(),
        );
    }
    if zcrx == Some(false) {
        return finding(Verdict::Skip, "not tried: this kernel has no zcrx".to_owned());
    }
    let verdict = if probe::is_essential(&probe.name) { Verdict::Fail } else { Verdict::Warn };
    finding(
        verdict,
        format!(
            "not attached, so zcrxd does not know {}; refused: {}",
            probe.lost_without,
            refused().join("; ")
        ),
    )
}

/// Judges what the snapshot showed of the queue that zcrxd registered for the check; nothing where no snapshot could be taken.
pub(super) fn judge_self_check(check: Option<&SelfCheck>) -> Vec<Finding> {
    let Some(check) = check else { return Vec::new() };
    let finding = |verdict, found| Finding::new(Group::Probes, "self_check", verdict, found);
    let wrong: Vec<_> = check.wrong().map(ToString::to_string).collect();
    if !wrong.is_empty() {
        let found = format!("{}; these figures are switched off", wrong.join(", "));
        let remedy = "report the output of `zcrxd check --format json`; a newer zcrxd may know this kernel";
        return vec![finding(Verdict::Fail, found).remedy(remedy)];
    }
    if let Some(reason) = &check.unchecked {
        let found = format!("snapshots are not compared with a queue of zcrxd: {reason}");
        return vec![finding(Verdict::Skip, found)];
    }
    let right = check.figures.iter().filter(|figure| figure.is_right() == Some(true)).count();
    let found = format!("{right} figures of a queue that zcrxd registered for this check were read right");
    vec![finding(Verdict::Pass, found)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attempt, CheckedFigure, Mechanism, Obstacle};

    #[test]
    fn wrong_figure_fails_the_self_check_and_is_named() {
        let figure = |name: &str, shown: &str| CheckedFigure {
            name: name.to_owned(),
            expected: "3".to_owned(),
            shown: Some(shown.to_owned()),
        };
        let check = SelfCheck {
            figures: vec![figure("cq.unread", "3"), figure("refill.tail", "9")],
            unchecked: None,
        };
        let findings = judge_self_check(Some(&check));
        assert_eq!(findings[0].verdict, Verdict::Fail);
        assert!(findings[0].found.starts_with("refill.tail is 3 and was read as 9"), "{}", findings[0].found);
        let unchecked = SelfCheck { unchecked: Some("too old".to_owned()), ..SelfCheck::default() };
        assert_eq!(judge_self_check(Some(&unchecked))[0].verdict, Verdict::Skip);
        assert!(judge_self_check(None).is_empty());
    }

    fn probe(name: &str, attached: bool) -> ProbeStatus {
        ProbeStatus {
            name: name.to_owned(),
            tells: "much".to_owned(),
            lost_without: "all".to_owned(),
            asked: true,
            attached: attached.then(|| (Mechanism::TpBtf, "here".to_owned())),
            refused: vec![Attempt {
                mechanism: Mechanism::Fexit,
                target: "there".to_owned(),
                error: "no".to_owned(),
                obstacle: Obstacle::Refused,
            }],
        }
    }

    #[test]
    fn fallback_passes_and_names_refused_mechanisms() {
        let finding = judge_probe(&probe("registration", true), false, Some(true));
        assert_eq!(finding.verdict, Verdict::Pass);
        assert_eq!(finding.found, "tp_btf here: much; refused before: fexit there: no");
    }

    #[test]
    fn one_reason_for_all_probes_is_one_finding() {
        let mut kernel = Kernel::inspect();
        kernel.privileges.capabilities = Err("not read".to_owned());
        let offer = Offer {
            receive: Ok(true),
            min_wait: Some(false),
            zcrx: Err(libc::EINVAL),
            events: Err(libc::EINVAL),
        };
        let judge = |probes: &[ProbeStatus]| judge(probes, &kernel, &offer);
        let mut probes = vec![probe("registration", false), probe("snapshot", false)];
        let findings = judge(&probes);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!((findings[0].name.as_str(), findings[0].verdict), ("bpf", Verdict::Fail));
        assert!(findings[0].found.ends_with(": no"));
        probes[0].refused[0].error = "another".to_owned();
        assert_eq!(judge(&probes).len(), 2);
        assert_eq!(judge(&[probe("registration", true), probe("snapshot", false)]).len(), 2);
    }

    #[test]
    fn verdict_of_a_refusal_depends_on_probe_and_reason() {
        let verdict = |name, unprivileged, zcrx| judge_probe(&probe(name, false), unprivileged, zcrx).verdict;
        assert_eq!(verdict("page_pool", false, Some(true)), Verdict::Warn);
        assert_eq!(verdict("snapshot", false, Some(true)), Verdict::Fail);
        assert_eq!(verdict("snapshot", false, Some(false)), Verdict::Skip);
        assert_eq!(verdict("snapshot", true, Some(true)), Verdict::Skip);
        assert_eq!(verdict("snapshot", false, None), Verdict::Fail);
        let not_requested = ProbeStatus { asked: false, ..probe("page_pool", false) };
        let finding = judge_probe(&not_requested, false, Some(true));
        assert_eq!((finding.verdict, finding.found.as_str()), (Verdict::Skip, "no"));
    }
}
