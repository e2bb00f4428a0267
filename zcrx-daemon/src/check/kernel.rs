//! The running kernel: its release and its types.

use super::{Finding, Group, Verdict};
use crate::kernel::Kernel;

pub(super) fn judge(kernel: &Kernel) -> Vec<Finding> {
    let machine = kernel.machine.as_deref().unwrap_or("unknown machine");
    let release = match &kernel.release {
        // Whether it has zcrx is asked below: distributions backport, so the number decides nothing.
        Ok(release) => {
            Finding::new(Group::Kernel, "release", Verdict::Pass, format!("{release} on {machine}"))
        }
        Err(reason) => Finding::new(Group::Kernel, "release", Verdict::Warn, reason),
    };
    let btf = match &kernel.btf {
        Ok(_) => Finding::new(Group::Kernel, "btf", Verdict::Pass, "the kernel shows its types"),
        Err(reason) => Finding::new(Group::Kernel, "btf", Verdict::Fail, reason)
            .remedy("a kernel with CONFIG_DEBUG_INFO_BTF, and /sys where zcrxd can see it"),
    };
    vec![release, btf]
}
