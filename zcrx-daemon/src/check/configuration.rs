//! What the kernel was built with, as far as it shows.

use super::{Finding, Group, Verdict};
use crate::kernel::{Config, Part};

/// One option: what it is for, and how bad its lack is.
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
    needed("CONFIG_PAGE_POOL", "the buffer pools that zero-copy receive feeds"),
    useful("CONFIG_PAGE_POOL_STATS", "the counters of page pools"),
    needed("CONFIG_BPF_SYSCALL", "eBPF"),
    needed("CONFIG_BPF_JIT", "eBPF programs fast enough to leave in, and trampolines"),
    needed("CONFIG_BPF_EVENTS", "eBPF programs at tracepoints and functions"),
    needed("CONFIG_DEBUG_INFO_BTF", "the types by which probes read kernel memory"),
    useful("CONFIG_FUNCTION_TRACER", "places in functions where a probe can go"),
    useful("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "trampolines on functions (fexit), the cheapest probe"),
    useful("CONFIG_KPROBES", "kprobes, where there are no trampolines"),
    useful("CONFIG_KPROBE_EVENTS", "kprobes through perf_event_open"),
    useful("CONFIG_FPROBE", "kprobes on many functions at once (kprobe_multi)"),
];

pub(super) fn judge(config: &Part<Config>) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(reason) => {
            return vec![
                Finding::new(Group::Configuration, "configuration", Verdict::Skip, reason)
                    .remedy("nothing is lost: what the options decide is tried below"),
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
        _ => Finding::new(Group::Configuration, option, *without, format!("off: without {gives}"))
            .remedy(format!("a kernel built with {option}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_off_says_what_is_lost() {
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
    fn a_hidden_configuration_is_no_failure() {
        let findings = judge(&Err("not readable at /proc/config.gz".to_owned()));
        assert_eq!(findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>(), [Verdict::Skip]);
    }
}
