//! The running kernel: release and type information.

use super::{Finding, Group, Verdict};
use crate::kernel::Kernel;

pub(super) fn judge(kernel: &Kernel) -> Vec<Finding> {
    let machine = kernel.machine.as_deref().unwrap_or("unknown machine");
    let release = match &kernel.release {
        // The number says nothing about zcrx, since distributions backport; io_uring.rs queries it.
        Ok(release) => {
            Finding::new(Group::Kernel, "release", Verdict::Pass, format!("{release} on {machine}"))
        }
        Err(reason) => Finding::new(Group::Kernel, "release", Verdict::Warn, reason),
    };
    let btf = match &kernel.btf {
        Ok(_) => Finding::new(Group::Kernel, "btf", Verdict::Pass, "type information is available"),
        Err(reason) => Finding::new(Group::Kernel, "btf", Verdict::Fail, reason)
            .remedy("use a kernel with CONFIG_DEBUG_INFO_BTF; in a container, mount /sys"),
    };
    vec![release, btf]
}
