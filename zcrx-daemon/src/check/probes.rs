//! The probes, as they attached just now.

use super::{Finding, Group, Offer, Verdict, privileges};
use crate::kernel::Kernel;
use crate::model::ProbeStatus;
use crate::probe;

pub(super) fn judge(probes: &[ProbeStatus], kernel: &Kernel, offer: &Offer) -> Vec<Finding> {
    let unprivileged = privileges::lacks_probes(&kernel.privileges);
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
        return finding(Verdict::Pass, format!("{attached}; better, but refused: {}", better.join("; ")));
    }
    if !probe.asked {
        let why = probe.refused.first().map_or("not asked for", |one| one.error.as_str());
        return finding(Verdict::Skip, why.to_owned());
    }
    if unprivileged {
        return finding(Verdict::Skip, "not tried: this process may not attach probes".to_owned());
    }
    if zcrx == Some(false) {
        return finding(Verdict::Skip, "this kernel has no zcrx to tell of".to_owned());
    }
    let verdict = if probe::is_essential(&probe.name) { Verdict::Fail } else { Verdict::Warn };
    finding(verdict, format!("unknown without it: {}; refused: {}", probe.lost_without, refused().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attempt, Mechanism};

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
            }],
        }
    }

    #[test]
    fn a_fallback_passes_and_says_what_it_falls_back_from() {
        let finding = judge_probe(&probe("registration", true), false, Some(true));
        assert_eq!(finding.verdict, Verdict::Pass);
        assert_eq!(finding.found, "tp_btf here: much; better, but refused: fexit there: no");
    }

    #[test]
    fn how_bad_a_refusal_is_depends_on_what_is_lost_and_why() {
        let verdict = |name, unprivileged, zcrx| judge_probe(&probe(name, false), unprivileged, zcrx).verdict;
        assert_eq!(verdict("page_pool", false, Some(true)), Verdict::Warn);
        assert_eq!(verdict("snapshot", false, Some(true)), Verdict::Fail);
        assert_eq!(verdict("snapshot", false, Some(false)), Verdict::Skip);
        assert_eq!(verdict("snapshot", true, Some(true)), Verdict::Skip);
        assert_eq!(verdict("snapshot", false, None), Verdict::Fail);
        let unasked = ProbeStatus { asked: false, ..probe("page_pool", false) };
        let finding = judge_probe(&unasked, false, Some(true));
        assert_eq!((finding.verdict, finding.found.as_str()), (Verdict::Skip, "no"));
    }
}
