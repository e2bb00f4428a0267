//! Which causes zcrxd can name on this host, and what the others lack.

use std::collections::BTreeMap;

use super::{Finding, Group, Verdict};
use crate::diagnose::causes::RULES;
use crate::model::{ProbeStatus, common_refusal};

/// What to change, by what is missing.
const REMEDY: &str = "use a kernel with CONFIG_DEBUG_INFO_BTF and BPF trampolines or kprobes, and give zcrxd the privileges to \
                      attach probes (see Probes above); zcrxd's local queues need neither";

pub(super) fn judge(probes: &[ProbeStatus]) -> Vec<Finding> {
    if common_refusal(probes).is_some() {
        let none = "none but those of zcrxd's local queues: no probe is attached (see Probes above)";
        return vec![Finding::new(Group::Causes, "can_be_named", Verdict::Warn, none)];
    }
    let attached = |name: &str| probes.iter().any(|probe| probe.name == name && probe.attached.is_some());
    let mut named = Vec::new();
    let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for rule in RULES {
        let letter = rule.letter.map_or_else(String::new, |letter| format!("{letter} "));
        let cause = format!("{letter}{}", rule.cause.name());
        match rule.needs.iter().find(|need| !attached(need)) {
            None => named.push(cause),
            Some(need) => lacking.entry(need).or_default().push(cause),
        }
    }
    let verdict = if named.is_empty() { Verdict::Warn } else { Verdict::Pass };
    let can = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    let mut findings = vec![Finding::new(Group::Causes, "can_be_named", verdict, can)];
    for (need, causes) in lacking {
        let status = probes.iter().find(|probe| probe.name == need);
        let why =
            status.and_then(|status| status.refused.first()).map_or("not attached", |one| one.error.as_str());
        let found = format!("{}: the probe `{need}` is missing ({why})", causes.join(", "));
        findings
            .push(Finding::new(Group::Causes, &format!("lack_{need}"), Verdict::Warn, found).remedy(REMEDY));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attempt, Mechanism, Obstacle};

    fn probe(name: &str, attached: bool) -> ProbeStatus {
        let refusal = Attempt {
            mechanism: Mechanism::Fexit,
            target: "there".to_owned(),
            error: "this kernel has no trampolines".to_owned(),
            obstacle: Obstacle::Refused,
        };
        ProbeStatus {
            name: name.to_owned(),
            tells: String::new(),
            lost_without: String::new(),
            asked: true,
            attached: attached.then(|| (Mechanism::TpBtf, "here".to_owned())),
            refused: if attached { Vec::new() } else { vec![refusal] },
        }
    }

    #[test]
    fn host_without_trampolines_and_kprobes_lists_what_it_cannot_name_and_why() {
        let probes = [
            probe("snapshot", true),
            probe("sockets", true),
            probe("allocation", false),
            probe("delivery", false),
            probe("copy", false),
        ];
        let findings = judge(&probes);
        assert!(findings[0].found.starts_with("A slow_consumer, B unread_socket_data, D "), "{findings:#?}");
        let allocation = findings.iter().find(|finding| finding.name == "lack_allocation");
        let found = allocation.map(|finding| finding.found.as_str()).unwrap_or_default();
        assert_eq!(
            found,
            "C area_too_small, F fragment_pinning, G bad_entries: the probe `allocation` is missing (this kernel has no trampolines)"
        );
        assert!(allocation.is_some_and(|finding| finding.remedy.is_some()));
        assert!(findings.iter().any(|finding| finding.found.contains("K missteered_flow")), "{findings:#?}");
    }

    #[test]
    fn host_that_refuses_every_probe_gets_one_finding() {
        let findings = judge(&[probe("snapshot", false), probe("allocation", false)]);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].verdict, Verdict::Warn);
    }

    #[test]
    fn each_probe_that_a_cause_needs_exists() {
        let known = crate::probe::names();
        for rule in RULES {
            assert!(rule.needs.iter().all(|need| known.contains(need)), "{}", rule.title);
        }
    }

    #[test]
    fn host_with_all_probes_can_name_every_cause() {
        let probes: Vec<ProbeStatus> =
            crate::probe::names().into_iter().map(|name| probe(name, true)).collect();
        let findings = judge(&probes);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].found.matches(", ").count() + 1, RULES.len());
    }
}
