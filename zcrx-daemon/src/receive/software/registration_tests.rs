//! Every rejection of the seed's registration, and the order of its checks.

use std::sync::Arc;

use rustix::io::Errno;

use super::RingContext;
use crate::receive::mapping::{Mapping, page_bytes};
use crate::receive::refill::RingMemory;
use zcrx_uapi::zcrx::{
    IO_RQ_MAX_ENTRIES, IORING_MEM_REGION_TYPE_USER, IORING_SETUP_CLAMP, IORING_SETUP_CQE32,
    IORING_SETUP_DEFER_TASKRUN,
};
use zcrx_uapi::{RegionDesc, ZcrxAreaReg, ZcrxIfqReg};

const GOOD_FLAGS: u32 = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQE32;

/// A registration that succeeds, to be spoilt in one place or several.
struct Attempt {
    context: RingContext,
    reg: Option<ZcrxIfqReg>,
    region: Option<RegionDesc>,
    area: Option<ZcrxAreaReg>,
    _memory: Arc<Mapping>,
}

impl Attempt {
    fn new() -> Self {
        let page = page_bytes() as u64;
        // Room for the biggest ring there is.
        let memory = Arc::new(Mapping::new(IO_RQ_MAX_ENTRIES as usize * 16 + 8).expect("ring memory"));
        Self {
            context: RingContext::new(true, GOOD_FLAGS),
            reg: Some(ZcrxIfqReg { rq_entries: 64, ..ZcrxIfqReg::default() }),
            region: Some(RegionDesc {
                user_addr: memory.address(),
                size: memory.bytes() as u64,
                flags: IORING_MEM_REGION_TYPE_USER,
                ..RegionDesc::default()
            }),
            // Never touched: any page-aligned address will do.
            area: Some(ZcrxAreaReg { addr: page, len: 16 * page, ..ZcrxAreaReg::default() }),
            _memory: memory,
        }
    }

    fn register(&mut self) -> Result<(), Errno> {
        // SAFETY: the memory lives as long as the attempt, and so does the queue.
        unsafe { self.context.register_ifq(self.reg.as_mut(), self.region.as_mut(), self.area.as_mut()) }
    }

    fn reg(&mut self) -> &mut ZcrxIfqReg {
        self.reg.as_mut().expect("not spoilt")
    }

    fn region(&mut self) -> &mut RegionDesc {
        self.region.as_mut().expect("not spoilt")
    }

    fn area(&mut self) -> &mut ZcrxAreaReg {
        self.area.as_mut().expect("not spoilt")
    }
}

type Spoil = fn(&mut Attempt);

/// The seed's checks in the seed's order: what spoils the registration, and the errno it then gives.
const CHECKS: &[(&str, Errno, &[Spoil])] = &[
    ("no CAP_NET_ADMIN", Errno::PERM, &[|a| a.context.privileged = false]),
    (
        "ring flags",
        Errno::INVAL,
        &[
            |a| a.context.setup_flags &= !IORING_SETUP_DEFER_TASKRUN,
            |a| a.context.setup_flags &= !IORING_SETUP_CQE32,
        ],
    ),
    ("a queue exists", Errno::BUSY, &[|a| Attempt::register(a).expect("the first one succeeds")]),
    ("bad pointer to the registration", Errno::FAULT, &[|a| a.reg = None]),
    ("bad pointer to the region", Errno::FAULT, &[|a| a.region = None]),
    (
        "reserved fields",
        Errno::INVAL,
        &[
            |a| a.reg().zcrx_id = 1,
            |a| a.reg().rx_buf_len = 4096,
            |a| a.reg().event_desc = 1,
            |a| a.reg().__resv[0] = 1,
            |a| a.reg().__resv[1] = 1,
        ],
    ),
    (
        "queue index, entries or flags",
        Errno::INVAL,
        &[|a| a.reg().if_rxq = u32::MAX, |a| a.reg().rq_entries = 0, |a| a.reg().flags = 1],
    ),
    ("too many entries without CLAMP", Errno::INVAL, &[|a| a.reg().rq_entries = IO_RQ_MAX_ENTRIES + 1]),
    ("no area", Errno::FAULT, &[|a| a.area = None]),
    ("region smaller than the ring", Errno::INVAL, &[|a| a.region().size = 8 + 64 * 16 - 1]),
    ("region reserved fields", Errno::INVAL, &[|a| a.region().__resv[2] = 1]),
    ("region flags", Errno::INVAL, &[|a| a.region().flags |= 2]),
    (
        "region type and address disagree",
        Errno::FAULT,
        &[|a| a.region().flags = 0, |a| a.region().user_addr = 0],
    ),
    ("region output fields", Errno::INVAL, &[|a| a.region().mmap_offset = 1, |a| a.region().id = 1]),
    ("region too big", Errno::TOOBIG, &[|a| a.region().size = 1 << 62]),
    ("region not in whole pages", Errno::INVAL, &[|a| a.region().user_addr += 8, |a| a.region().size -= 8]),
    (
        "region overflows",
        Errno::OVERFLOW,
        &[|a| a.region().user_addr = 0_u64.wrapping_sub(page_bytes() as u64)],
    ),
    (
        "area fields",
        Errno::INVAL,
        &[|a| a.area().flags = 2, |a| a.area().rq_area_token = 1, |a| a.area().__resv2[1] = 1],
    ),
    ("area empty", Errno::FAULT, &[|a| a.area().len = 0]),
    ("area overflows", Errno::OVERFLOW, &[|a| a.area().addr = 0_u64.wrapping_sub(page_bytes() as u64)]),
    (
        "area not in whole pages, or with a dmabuf but no flag",
        Errno::INVAL,
        &[|a| a.area().addr += 8, |a| a.area().len += 8, |a| a.area().dmabuf_fd = 1],
    ),
    ("area nowhere", Errno::FAULT, &[|a| a.area().addr = 0]),
];

#[test]
fn a_good_registration_succeeds_and_says_the_geometry() {
    let mut attempt = Attempt::new();
    attempt.reg().rq_entries = 65;
    attempt.reg().if_rxq = 3;
    assert_eq!(attempt.register(), Ok(()));
    let reg = *attempt.reg();
    assert_eq!(reg.rq_entries, 128, "rounded up to a power of two");
    assert_eq!((reg.offsets.head, reg.offsets.tail, reg.offsets.rqes), (0, 4, 8));
    assert_eq!(attempt.area().rq_area_token, 0, "area id 0");
    let ifq = attempt.context.ifq().expect("registered");
    assert_eq!((ifq.if_rxq, ifq.rq_entries, ifq.allocator.niovs()), (3, 128, 16));
}

#[test]
fn each_check_gives_its_errno() {
    for (name, errno, spoils) in CHECKS {
        for (i, spoil) in spoils.iter().enumerate() {
            let mut attempt = Attempt::new();
            spoil(&mut attempt);
            assert_eq!(attempt.register(), Err(*errno), "{name}, way {i}");
        }
    }
}

/// With two things wrong the earlier check answers: so a caller who remedies one error meets the next one.
#[test]
fn the_checks_come_in_the_seeds_order() {
    for (earlier, (name, errno, spoils)) in CHECKS.iter().enumerate() {
        for (later_name, _, later_spoils) in &CHECKS[earlier + 1..] {
            for spoil in *spoils {
                for later_spoil in *later_spoils {
                    let mut attempt = Attempt::new();
                    // The later spoil first, since a pointer that is gone cannot be spoilt any more; but "a queue
                    // exists" registers one, which must succeed.
                    if *name == "a queue exists" {
                        spoil(&mut attempt);
                        later_spoil(&mut attempt);
                    } else {
                        later_spoil(&mut attempt);
                        spoil(&mut attempt);
                    }
                    assert_eq!(attempt.register(), Err(*errno), "{name} before {later_name}");
                }
            }
        }
    }
}

#[test]
fn a_refused_registration_leaves_nothing_behind() {
    let mut attempt = Attempt::new();
    attempt.area().flags = 2;
    assert_eq!(attempt.register(), Err(Errno::INVAL));
    assert!(attempt.context.ifq().is_none());
    assert_eq!(attempt.reg().offsets.rqes, 0, "nothing is written back");
    attempt.area().flags = 0;
    assert_eq!(attempt.register(), Ok(()));
}

#[test]
fn clamp_cuts_what_is_too_big() {
    for entries in [IO_RQ_MAX_ENTRIES + 1, u32::MAX] {
        let mut attempt = Attempt::new();
        attempt.context.setup_flags |= IORING_SETUP_CLAMP;
        attempt.reg().rq_entries = entries;
        assert_eq!(attempt.register(), Ok(()));
        assert_eq!(attempt.reg().rq_entries, IO_RQ_MAX_ENTRIES);
    }
}

#[test]
fn the_biggest_ring_needs_no_clamp() {
    let mut attempt = Attempt::new();
    attempt.reg().rq_entries = IO_RQ_MAX_ENTRIES;
    assert_eq!(attempt.register(), Ok(()));
}

#[test]
fn without_user_memory_the_queue_brings_its_own() {
    let mut attempt = Attempt::new();
    (attempt.region().flags, attempt.region().user_addr) = (0, 0);
    assert_eq!(attempt.register(), Ok(()));
    let ifq = attempt.context.ifq().expect("registered");
    ifq.memory().tail_release(1);
    assert_eq!(ifq.memory().depth(), 1);
}

#[test]
fn after_unregistering_another_queue_can_be_registered() {
    let mut attempt = Attempt::new();
    assert_eq!(attempt.register(), Ok(()));
    assert!(attempt.context.unregister_ifq().is_some());
    attempt.area().rq_area_token = 0;
    assert_eq!(attempt.register(), Ok(()));
}
