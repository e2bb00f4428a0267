//! What this kernel offers, found out by asking it and never by its version.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use zcrx_lab_guest::protocol::Need;

use super::nic;

const IORING_REGISTER_PROBE: libc::c_ulong = 8;
const IORING_REGISTER_QUERY: libc::c_ulong = 35;
const IORING_OP_RECV_ZC: usize = 58;
const IO_URING_OP_SUPPORTED: u16 = 1;
const IO_URING_QUERY_ZCRX: u32 = 1;
const IO_URING_QUERY_ZCRX_EVENT: u32 = 3;
const ZCRX_REG_NODEV: u64 = 2;

/// Where scenarios run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A virtual machine of their own.
    Guest,
    /// The machine's own kernel, in namespaces of their own.
    Host,
}

/// What stands in the way of each need; `None` where nothing does.
pub(crate) fn needs(place: Place) -> BTreeMap<Need, Option<String>> {
    let answer = |need| match need {
        Need::Guest => match place {
            Place::Guest => None,
            Place::Host => Some("would disturb a machine in use".to_owned()),
        },
        Need::Zcrx => zcrx().err(),
        Need::Nodev => nodev().err(),
        Need::Events => query::<104>(IO_URING_QUERY_ZCRX_EVENT)
            .map(|_| ())
            .map_err(|_| "this kernel has no zcrx events".into())
            .err(),
        Need::Nic => nic::missing(),
        Need::Btf => {
            (!Path::new("/sys/kernel/btf/vmlinux").exists()).then(|| "this kernel has no BTF".to_owned())
        }
    };
    Need::ALL.into_iter().map(|need| (need, answer(need))).collect()
}

/// Whether the kernel knows the receive request.
fn zcrx() -> Result<(), String> {
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Op {
        code: u8,
        resv: u8,
        flags: u16,
        resv2: u32,
    }
    #[repr(C)]
    struct Probe {
        last_op: u8,
        ops_len: u8,
        resv: u16,
        resv2: [u32; 3],
        ops: [Op; 256],
    }
    const { assert!(size_of::<Probe>() == 16 + 8 * 256) };
    /// `struct io_uring_params`.
    #[repr(C)]
    struct Params([u64; 15]);

    let mut params = Params([0; 15]);
    // SAFETY: io_uring_setup reads and writes one io_uring_params, 120 bytes, zeroed as it asks.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, &raw mut params) };
    if ring < 0 {
        return Err(format!("io_uring is not to be had here: {}", io::Error::last_os_error()));
    }
    let mut probe = Probe { last_op: 0, ops_len: 0, resv: 0, resv2: [0; 3], ops: [Op::default(); 256] };
    // SAFETY: the probe has room for the 256 operations announced; the kernel writes no more than that.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_register, ring, IORING_REGISTER_PROBE, &raw mut probe, 256_u32)
    };
    let error = io::Error::last_os_error();
    // SAFETY: the descriptor is ours and not used again.
    unsafe { libc::close(ring as i32) };
    if result < 0 {
        return Err(format!("io_uring does not say what it can: {error}"));
    }
    if probe.ops[IORING_OP_RECV_ZC].flags & IO_URING_OP_SUPPORTED == 0 {
        return Err("this kernel has no zero-copy receive".to_owned());
    }
    Ok(())
}

fn nodev() -> Result<(), String> {
    let answer: [u8; 40] =
        query(IO_URING_QUERY_ZCRX).map_err(|_| "this kernel has no zcrx without a device")?;
    let flags = u64::from_le_bytes(answer[..8].try_into().expect("eight bytes are eight bytes"));
    if flags & ZCRX_REG_NODEV == 0 {
        return Err("this kernel has no zcrx without a device".to_owned());
    }
    Ok(())
}

/// Whether areas can be added to a queue that runs (Linux 7.3).
pub(crate) fn adds_areas() -> bool {
    const ZCRX_CTRL_ADD_AREA: u32 = 3;
    let answer: io::Result<[u8; 40]> = query(IO_URING_QUERY_ZCRX);
    answer.is_ok_and(|answer| {
        u32::from_le_bytes(answer[16..20].try_into().expect("four bytes are four bytes")) > ZCRX_CTRL_ADD_AREA
    })
}

/// Asks io_uring one question; the answer is cut or padded with zeroes to `SIZE`.
fn query<const SIZE: usize>(question: u32) -> io::Result<[u8; SIZE]> {
    #[repr(C)]
    struct Header {
        next_entry: u64,
        query_data: u64,
        query_op: u32,
        size: u32,
        result: i32,
        resv: [u32; 3],
    }
    const { assert!(size_of::<Header>() == 40) };
    let mut answer = [0_u8; SIZE];
    let mut header = Header {
        next_entry: 0,
        query_data: answer.as_mut_ptr() as u64,
        query_op: question,
        size: SIZE as u32,
        result: 0,
        resv: [0; 3],
    };
    // SAFETY: the header is the kernel's io_uring_query_hdr, and points to `size` writable bytes that live long enough.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_register, -1, IORING_REGISTER_QUERY, &raw mut header, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if header.result < 0 {
        return Err(io::Error::from_raw_os_error(-header.result));
    }
    Ok(answer)
}
