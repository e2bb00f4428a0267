//! Build options of the kernel, where the host shows them.

use super::{Finding, Group, Verdict};
use crate::kernel::{Config, Part};

/// A build option, its purpose, and the verdict if it is off.
struct Wanted {
    option: &'static str,
    gives: &'static str,
    without: Verdict,
}

const fn needed(option: &'static str, gives: &'static str) -> Wanted {
    Wanted { option, gives, without: Verdict::Fail }
}

const fn useful(option: &'static str, gives: &'static str) -> Wanted {
    Wanted { option, gives, without: Verdict::Warn }
}

const WANTED: [Wanted; 13] = [
    needed("CONFIG_IO_URING", "io_uring"),
    needed("CONFIG_IO_URING_ZCRX", "zero-copy receive"),
    needed("CONFIG_PAGE_POOL", "page pools, to which zcrx provides memory"),
    useful("CONFIG_PAGE_POOL_STATS", "counters of page pools"),
    needed("CONFIG_BPF_SYSCALL", "eBPF"),
    needed("CONFIG_BPF_JIT", "compiled eBPF programs and trampolines"),
    needed("CONFIG_BPF_EVENTS", "eBPF programs on tracepoints and functions"),
    needed("CONFIG_DEBUG_INFO_BTF", "type information, by which probes read kernel memory"),
    useful("CONFIG_FUNCTION_TRACER", "probes on kernel functions"),
    useful("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "trampolines on functions (fexit), the cheapest probe"),
    useful("CONFIG_KPROBES", "kprobes, the fallback where trampolines are refused"),
    useful("CONFIG_KPROBE_EVENTS", "kprobes through perf_event_open"),
    useful("CONFIG_FPROBE", "kprobe_multi, which needs no CAP_SYS_ADMIN"),
];

pub(super) fn judge(config: &Part<Config>) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(reason) => {
            return vec![
                Finding::new(Group::Configuration, "configuration", Verdict::Skip, reason)
                    .remedy("no action needed: the checks below try what these options enable"),
            ];
        }
    };
    WANTED.iter().map(|wanted| judge_option(config, wanted)).collect()
}

fn judge_option(config: &Config, wanted: &Wanted) -> Finding {
    let Wanted { option, gives, without } = wanted;
    match config.get(option) {
        Some(value) if config.is_on(option) => {
            Finding::new(Group::Configuration, option, Verdict::Pass, format!("{value}: {gives}"))
        }
        _ => Finding::new(Group::Configuration, option, *without, format!("off; not available: {gives}"))
            .remedy(format!("use a kernel built with {option}=y")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_that_is_off_names_its_purpose_and_a_remedy() {
        let config = Config::parse("CONFIG_IO_URING=y\nCONFIG_FPROBE=m\n".as_bytes()).expect("it is text");
        let findings = judge(&Ok(config));
        let of = |name: &str| findings.iter().find(|finding| finding.name == name).expect(name);
        assert_eq!(of("CONFIG_IO_URING").verdict, Verdict::Pass);
        assert_eq!(of("CONFIG_FPROBE").verdict, Verdict::Pass);
        assert_eq!(of("CONFIG_KPROBES").verdict, Verdict::Warn);
        assert_eq!(of("CONFIG_IO_URING_ZCRX").verdict, Verdict::Fail);
        assert!(of("CONFIG_IO_URING_ZCRX").remedy.is_some());
    }

    #[test]
    fn hidden_configuration_is_skipped() {
        let findings = judge(&Err("not readable at /proc/config.gz".to_owned()));
        assert_eq!(findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>(), [Verdict::Skip]);
    }
}
