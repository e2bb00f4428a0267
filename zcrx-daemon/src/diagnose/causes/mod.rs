//! The causes, one file each.

mod area_too_small;
mod bad_entries;
mod copy_fallback;
mod cq_exhaustion;
mod fragment_pinning;
mod interface_down;
mod lazy_consumption;
mod missteered_flow;
mod never_returned;
mod no_device;
mod no_zero_copy;
mod owner_not_running;
mod pinned_after_teardown;
mod refill_ring_full;
mod sink_blocked;
mod slow_consumer;
mod unread_socket_data;

use super::rule::Rule;

/// Every rule, in the order of the causes.
pub const RULES: &[Rule] = &[
    slow_consumer::RULE,
    unread_socket_data::RULE,
    area_too_small::RULE,
    refill_ring_full::RULE,
    never_returned::RULE,
    fragment_pinning::RULE,
    bad_entries::RULE,
    lazy_consumption::RULE,
    copy_fallback::RULE,
    cq_exhaustion::RULE,
    missteered_flow::RULE,
    no_device::RULE,
    pinned_after_teardown::RULE,
    owner_not_running::RULE,
    sink_blocked::RULE,
    no_zero_copy::RULE,
    interface_down::RULE,
];

/// The unknown figures that rules report most often, with how the user can provide them.
mod missing {
    pub(super) const HELD: &str = "what user space holds: the kernel snapshot with user references, or the owner's own \
                                   figures";
    pub(super) const AREA: &str = "the size of the area: the kernel snapshot";
    pub(super) const SOCKETS: &str = "unread bytes of the receiving sockets, or the size of the receive ring";
    pub(super) const ALLOCATIONS: &str = "provider calls: the allocation probe";
    pub(super) const ERRORS: &str = "errors of receives: the receive probe, or the owner's own figures";
    pub(super) const REFERENCES: &str = "references per buffer: the kernel snapshot with user references";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cause;

    #[test]
    fn each_cause_has_one_rule_in_the_order_of_the_letters() {
        let causes: Vec<_> = RULES.iter().map(|rule| rule.cause).collect();
        assert_eq!(causes, Cause::ALL);
    }
}
