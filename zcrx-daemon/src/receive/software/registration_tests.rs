//! Every rejection of the seed's registration, and the order of its checks.

use std::sync::Arc;

use rustix::io::Errno;

use super::{Allocation, RingContext, UserPointer};
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
    ("zcrx is not configured", Errno::OPNOTSUPP, &[|a| a.context.configured = false]),
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
    ("no memory for the queue", Errno::NOMEM, &[|a| a.context.failing = Some(Allocation::Queue)]),
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

/// `!arg || nr_args != 1` comes before every other check, the privilege's and the configuration's among them.
#[test]
fn missing_argument_is_refused_before_anything_else() {
    let mut attempt = Attempt::new();
    attempt.context.privileged = false;
    attempt.context.configured = false;
    let (context, region, area) = (&mut attempt.context, attempt.region.as_mut(), attempt.area.as_mut());
    // SAFETY: the memory lives as long as the attempt, and so does the queue.
    let without = unsafe { context.register(UserPointer::Null, 1, region.into(), area.into()) };
    assert_eq!(without, Err(Errno::INVAL));
    for nr_args in [0, 2] {
        let (context, reg) = (&mut attempt.context, attempt.reg.as_mut());
        let (region, area) = (attempt.region.as_mut(), attempt.area.as_mut());
        // SAFETY: as above.
        let counted = unsafe { context.register(reg.into(), nr_args, region.into(), area.into()) };
        assert_eq!(counted, Err(Errno::INVAL), "{nr_args} arguments");
    }
}

/// The kernel copies its results back last. A pointer that it cannot write to undoes the registration.
#[test]
fn read_only_pointers_fail_after_all_checks_and_leave_nothing() {
    for read_only in 0..3 {
        for spoilt in [false, true] {
            let mut attempt = Attempt::new();
            if spoilt {
                // The last check of all.
                attempt.area().addr = 0;
            }
            let (reg, region, area) = (*attempt.reg(), *attempt.region(), *attempt.area());
            let (mut reg_place, mut region_place, mut area_place) = (reg, region, area);
            let arg = if read_only == 0 {
                UserPointer::ReadOnly(&reg)
            } else {
                UserPointer::Writable(&mut reg_place)
            };
            let region_pointer = if read_only == 1 {
                UserPointer::ReadOnly(&region)
            } else {
                UserPointer::Writable(&mut region_place)
            };
            let area_pointer = if read_only == 2 {
                UserPointer::ReadOnly(&area)
            } else {
                UserPointer::Writable(&mut area_place)
            };
            // SAFETY: the memory lives as long as the attempt, and so does the queue.
            let result = unsafe { attempt.context.register(arg, 1, region_pointer, area_pointer) };
            assert_eq!(result, Err(Errno::FAULT), "pointer {read_only}");
            assert!(attempt.context.ifq().is_none(), "pointer {read_only}");
            // The same ring takes a good registration afterwards.
            if !spoilt {
                attempt.area().rq_area_token = 0;
                assert_eq!(attempt.register(), Ok(()));
            }
        }
    }
}

#[test]
fn failed_allocations_give_enomem_and_leave_nothing() {
    for allocation in [Allocation::Queue, Allocation::Region, Allocation::Area] {
        let mut attempt = Attempt::new();
        attempt.context.failing = Some(allocation);
        assert_eq!(attempt.register(), Err(Errno::NOMEM), "{allocation:?}");
        assert!(attempt.context.ifq().is_none(), "{allocation:?}");
        assert_eq!(attempt.reg().offsets.rqes, 0, "nothing is written back");
        attempt.context.failing = None;
        assert_eq!(attempt.register(), Ok(()), "{allocation:?}");
    }
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
