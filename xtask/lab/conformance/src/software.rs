//! zcrxd's own interface queue.

use rustix::io::Errno;
use zcrx_daemon::receive::software::RingContext;

use crate::memory::Memory;
use crate::outcome::{Geometry, Outcome};
use crate::request::{Pointer, Request};

/// Registers with it.
pub(crate) fn register(request: &Request, memory: Memory) -> Outcome {
    let mut context = RingContext::new(true, request.setup_flags);
    if request.second {
        // Where the ring is no good the first one fails, here as in the kernel, and the second is judged alone.
        let _refused_alike = attempt(&mut context, &Request::first(request, memory));
    }
    context.privileged = request.privileged;
    attempt(&mut context, request)
}

fn attempt(context: &mut RingContext, request: &Request) -> Outcome {
    let (mut reg, mut region, mut area) = (request.reg, request.region, request.area);
    let given = |pointer| pointer == Pointer::Good;
    // SAFETY: the region, where its description is found good, is the mapping that is never unmapped; no other code
    // looks at it while the queue lives, which is to the end of the caller.
    let result = unsafe {
        context.register_ifq(
            given(request.reg_pointer).then_some(&mut reg),
            given(request.region_pointer).then_some(&mut region),
            given(request.area_pointer).then_some(&mut area),
        )
    };
    result.map_err(Errno::raw_os_error)?;
    let offsets = reg.offsets;
    Ok(Geometry {
        rq_entries: reg.rq_entries,
        area_token: area.rq_area_token,
        offsets: [offsets.head, offsets.tail, offsets.rqes],
    })
}
