//! Registers a queue, well or badly, and says what the kernel answered.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

use anyhow::Context;
use caps::{CapSet, Capability};
use clap::{Args, ValueEnum};
use io_uring::register::Restriction;
use io_uring::{IoUring, squeue};
use rustix::process::{Resource, Rlimit, setrlimit};
use zcrx_uapi::{RegionDesc, ZcrxAreaReg, ZcrxIfqReg, errno, register, zcrx};

use crate::mapping::Mapping;
use crate::queue::{QueueArgs, Ring, new_ring, region_bytes};

const IORING_REGISTER_ENABLE_RINGS: u8 = 12;

/// Faults of the request, beyond its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wrong {
    /// A ring with 16-byte completions.
    Cqe16,
    /// A ring without deferred task work.
    NoDeferTaskrun,
    /// The call comes from a thread that does not own the ring.
    Thread,
    /// The area may only be read.
    ReadOnlyArea,
    /// The area is not mapped.
    UnmappedArea,
    /// The area does not begin on a page.
    UnalignedArea,
    /// No area is given.
    NoArea,
    /// A reserved field is not zero.
    Reserved,
    /// The region is too small for the refill ring.
    SmallRegion,
    /// The region is said to be the kernel's, yet has an address.
    RegionType,
    /// The area ends behind the last address.
    EndlessArea,
    /// The region has more pages than the kernel counts.
    EndlessRegion,
    /// The ring may register nothing but what enables it.
    Restricted,
}

/// How to register.
#[derive(Args, Clone, Debug)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Fault of the request.
    #[arg(long, value_enum)]
    wrong: Option<Wrong>,
    /// Registration flags, instead of those that the interface (or its absence) asks for.
    #[arg(long)]
    flags: Option<u32>,
    /// Interface index, instead of the interface's own.
    #[arg(long)]
    if_index: Option<u32>,
    /// Locked memory that this process may have, bytes; without CAP_IPC_LOCK it counts.
    #[arg(long)]
    memlock: Option<u64>,
    /// Capabilities to do without, such as CAP_NET_ADMIN.
    #[arg(long, value_parser = Capability::from_str)]
    without: Vec<Capability>,
    /// Register that often, each time with a ring of its own; the answer is the last one's.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Ask that many times more with the same ring; every answer but the first is left out.
    #[arg(long, default_value_t = 0)]
    again: u32,
    /// After a success, stay registered until killed.
    #[arg(long)]
    hold: bool,
    /// After a success, export the queue, import it on another thread's ring, close the first ring, and report the state
    /// of each step.
    #[arg(long)]
    share: bool,
}

/// One attempt, and the memory and ring that a success needs to last.
struct Attempt {
    answer: io::Result<ZcrxIfqReg>,
    _ring: Box<dyn AsFd + Send>,
    _area: Mapping,
    _region: Mapping,
}

/// Registers and reports; the error is the kernel's.
pub(crate) fn run(args: &RegisterArgs) -> anyhow::Result<()> {
    for capability in &args.without {
        caps::drop(None, CapSet::Effective, *capability).with_context(|| format!("dropping {capability}"))?;
    }
    if let Some(bytes) = args.memlock {
        setrlimit(Resource::Memlock, Rlimit { current: Some(bytes), maximum: Some(bytes) })
            .context("setrlimit")?;
    }
    // The earlier ones stay registered meanwhile.
    let mut attempts = (0..args.times).map(|_| attempt(args)).collect::<anyhow::Result<Vec<_>>>()?;
    let last = attempts.pop().context("--times 0 registers nothing")?;
    match &last.answer {
        Ok(reg) if args.share => return share(args, reg.zcrx_id, last),
        Ok(reg) => println!(
            "{}",
            serde_json::json!({ "errno": 0, "zcrx_id": reg.zcrx_id, "refill_entries": reg.rq_entries,
                "offsets": { "head": reg.offsets.head, "tail": reg.offsets.tail, "rqes": reg.offsets.rqes } })
        ),
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(0);
            println!("{}", serde_json::json!({ "errno": number, "name": errno::name(number) }));
        }
    }
    if last.answer.is_ok() && args.hold {
        loop {
            std::thread::park();
        }
    }
    last.answer.map(drop).context("the kernel refused the registration")
}

/// Lets a second ring, of another thread, have the queue; says the errno of each step, 0 for a success.
fn share(args: &RegisterArgs, zcrx_id: u32, first: Attempt) -> anyhow::Result<()> {
    let Attempt { _ring: ring, _area: area, _region: region, .. } = first;
    let queue = register::zcrx_export(ring.as_fd(), zcrx_id).context("exporting the queue")?;
    let second = std::thread::scope(|scope| {
        let import = || -> anyhow::Result<serde_json::Value> {
            let own = new_ring(args.queue.cq_entries).context("setting up the second ring")?;
            let imported = register::zcrx_import(own.as_fd(), queue.as_fd());
            let imported_wrongly = register::zcrx_import(own.as_fd(), io::stdout().as_fd());
            drop((ring, queue));
            // Of what the first ring had, only the queue is left, for the second one's sake.
            let taken = attempt(args)?.answer;
            Ok(
                serde_json::json!({ "imported": number(&imported), "imported_wrongly": number(&imported_wrongly),
                "taken": number(&taken) }),
            )
        };
        scope.spawn(import).join().map_err(|_| anyhow::anyhow!("the importing thread panicked"))?
    });
    println!("{}", second?);
    drop((area, region));
    Ok(())
}

/// The errno, 0 for a success.
fn number<T>(result: &io::Result<T>) -> i32 {
    result.as_ref().err().and_then(io::Error::raw_os_error).unwrap_or(0)
}

fn attempt(args: &RegisterArgs) -> anyhow::Result<Attempt> {
    let ring = ring(args).context("setting up the ring")?;
    let area = args.queue.map_area().context("mapping the area")?;
    let region =
        Mapping::new(region_bytes(args.queue.refill_entries())).context("mapping the refill ring")?;
    if args.wrong == Some(Wrong::ReadOnlyArea) {
        area.make_read_only().context("mprotect")?;
    }
    let mut request = Request::new(args, &area, &region)?;
    // SAFETY: both mappings are kept with the ring, and used for nothing else.
    let answer = unsafe {
        if args.wrong == Some(Wrong::Thread) {
            let ring = ring.as_fd();
            std::thread::scope(|scope| scope.spawn(|| request.send(ring)).join())
                .map_err(|_| anyhow::anyhow!("the registering thread panicked"))?
        } else {
            request.send(ring.as_fd())
        }
    };
    for _ in 0..args.again {
        // SAFETY: as above.
        drop(unsafe { request.send(ring.as_fd()) });
    }
    Ok(Attempt { answer, _ring: ring, _area: area, _region: region })
}

fn ring(args: &RegisterArgs) -> io::Result<Box<dyn AsFd + Send>> {
    let cq_entries = args.queue.cq_entries;
    match args.wrong {
        Some(Wrong::Cqe16) => {
            let mut builder = IoUring::<squeue::Entry>::builder();
            builder.setup_clamp().setup_single_issuer().setup_defer_taskrun().setup_cqsize(cq_entries);
            Ok(Box::new(builder.build(8)?))
        }
        Some(Wrong::NoDeferTaskrun) => {
            let mut builder = Ring::builder();
            builder.setup_clamp().setup_cqsize(cq_entries);
            Ok(Box::new(builder.build(8)?))
        }
        Some(Wrong::Restricted) => {
            let mut builder = Ring::builder();
            builder.setup_clamp().setup_single_issuer().setup_defer_taskrun().setup_cqsize(cq_entries);
            let ring = builder.setup_r_disabled().build(8)?;
            // Something must be allowed for restrictions to be there at all.
            let allowed = &mut [Restriction::register_op(IORING_REGISTER_ENABLE_RINGS)];
            ring.submitter().register_restrictions(allowed)?;
            ring.submitter().register_enable_rings()?;
            Ok(Box::new(ring))
        }
        _ => Ok(Box::new(new_ring(cq_entries)?)),
    }
}

/// The structures of one registration.
struct Request {
    reg: ZcrxIfqReg,
    area: Option<ZcrxAreaReg>,
    region: RegionDesc,
}

impl Request {
    fn new(args: &RegisterArgs, area: &Mapping, region: &Mapping) -> anyhow::Result<Self> {
        let queue = &args.queue;
        let (if_idx, flags) = queue.device()?;
        let mut request = Self {
            reg: ZcrxIfqReg {
                if_idx: args.if_index.unwrap_or(if_idx),
                if_rxq: queue.queue,
                rq_entries: queue.refill_entries(),
                flags: args.flags.unwrap_or(flags),
                rx_buf_len: queue.buffer_bytes.unwrap_or(0),
                ..ZcrxIfqReg::default()
            },
            area: Some(ZcrxAreaReg {
                addr: area.address(),
                len: u64::from(queue.area_buffers()) * queue.buffer_bytes() as u64,
                ..ZcrxAreaReg::default()
            }),
            region: RegionDesc {
                user_addr: region.address(),
                size: region_bytes(queue.refill_entries()) as u64,
                flags: zcrx::IORING_MEM_REGION_TYPE_USER,
                ..RegionDesc::default()
            },
        };
        match (args.wrong, &mut request.area) {
            // The page at address 0 is never mapped, and the next one is not without asking for it.
            (Some(Wrong::UnmappedArea), Some(area)) => area.addr = rustix::param::page_size() as u64,
            (Some(Wrong::UnalignedArea), Some(area)) => area.addr += 1,
            (Some(Wrong::NoArea), area) => *area = None,
            (Some(Wrong::Reserved), _) => request.reg.__resv = [1, 0],
            (Some(Wrong::SmallRegion), _) => request.region.size = rustix::param::page_size() as u64,
            (Some(Wrong::RegionType), _) => request.region.flags = 0,
            (Some(Wrong::EndlessArea), Some(area)) => area.addr = 0_u64.wrapping_sub(area.len / 2),
            (Some(Wrong::EndlessRegion), _) => {
                request.region.size = (1 << 31) * rustix::param::page_size() as u64;
            }
            _ => {}
        }
        Ok(request)
    }

    /// # Safety
    /// As for [`register::zcrx_ifq`].
    unsafe fn send(&mut self, ring: BorrowedFd<'_>) -> io::Result<ZcrxIfqReg> {
        if let Some(area) = &mut self.area {
            // SAFETY: the caller vouches for the memory described.
            unsafe { register::zcrx_ifq(ring, &mut self.reg, area, &mut self.region, None) }?;
        } else {
            self.reg.region_ptr = (&raw mut self.region).expose_provenance() as u64;
            let reg = (&raw mut self.reg).cast::<c_void>();
            // SAFETY: the structures live to the end of the call; the caller vouches for the region.
            unsafe { register::register(Some(ring), zcrx::IORING_REGISTER_ZCRX_IFQ, reg, 1) }?;
        }
        Ok(self.reg)
    }
}
