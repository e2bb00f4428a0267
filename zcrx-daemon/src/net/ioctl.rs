//! What netlink does not offer, or only newer kernels' netlink: driver name, receive side scaling, flow rules.
//!
//! Receive side scaling goes this way on every kernel because its netlink answer holds the whole table in one
//! message, which outgrows the socket's buffer. Reading needs no privilege; setting needs CAP_NET_ADMIN.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::NetError;
use crate::model::{NetNamespace, Rss};

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GRXCLSRLCNT: u32 = 0x2e;
const ETHTOOL_GRXCLSRULE: u32 = 0x2f;
const ETHTOOL_GRXCLSRLALL: u32 = 0x30;
const ETHTOOL_SRXCLSRLDEL: u32 = 0x31;
const ETHTOOL_SRXCLSRLINS: u32 = 0x32;
const ETHTOOL_GRSSH: u32 = 0x46;
const ETHTOOL_SRSSH: u32 = 0x47;

/// Set in the table size by drivers that place rules themselves.
const RX_CLS_LOC_SPECIAL: u32 = 0x8000_0000;
/// Asks such a driver for any free place.
const RX_CLS_LOC_ANY: u32 = 0xffff_ffff;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DrvInfo {
    cmd: u32,
    driver: [u8; 32],
    version: [u8; 32],
    fw_version: [u8; 32],
    bus_info: [u8; 32],
    erom_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}
const _: () = assert!(size_of::<DrvInfo>() == 196 && offset_of!(DrvInfo, bus_info) == 100);

/// `struct ethtool_rx_flow_spec`. The unions are bytes here: [`super::flow`] gives them meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowSpec {
    pub(super) flow_type: u32,
    pub(super) value: [u8; 52],
    pub(super) value_ext: [u8; 20],
    pub(super) mask: [u8; 52],
    pub(super) mask_ext: [u8; 20],
    /// Alignment, spelt out so that no byte is left unset.
    pub(super) pad: u32,
    pub(super) ring_cookie: u64,
    pub(super) location: u32,
    /// Likewise.
    pub(super) pad_end: u32,
}
const _: () = assert!(
    size_of::<FlowSpec>() == 168
        && offset_of!(FlowSpec, value) == 4
        && offset_of!(FlowSpec, value_ext) == 56
        && offset_of!(FlowSpec, mask) == 76
        && offset_of!(FlowSpec, mask_ext) == 128
        && offset_of!(FlowSpec, ring_cookie) == 152
        && offset_of!(FlowSpec, location) == 160
);

impl FlowSpec {
    /// All zero: matches nothing in particular, delivers to queue 0.
    pub(super) const fn empty() -> Self {
        Self {
            flow_type: 0,
            value: [0; 52],
            value_ext: [0; 20],
            mask: [0; 52],
            mask_ext: [0; 20],
            pad: 0,
            ring_cookie: 0,
            location: 0,
            pad_end: 0,
        }
    }

    /// Its bytes, field by field.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of::<Self>());
        bytes.extend(self.flow_type.to_ne_bytes());
        bytes.extend(self.value);
        bytes.extend(self.value_ext);
        bytes.extend(self.mask);
        bytes.extend(self.mask_ext);
        bytes.extend(self.pad.to_ne_bytes());
        bytes.extend(self.ring_cookie.to_ne_bytes());
        bytes.extend(self.location.to_ne_bytes());
        bytes.extend(self.pad_end.to_ne_bytes());
        bytes
    }

    /// From [`Self::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..)?.first_chunk().copied()
        }
        (bytes.len() == size_of::<Self>()).then_some(())?;
        Some(Self {
            flow_type: u32::from_ne_bytes(take(bytes, 0)?),
            value: take(bytes, 4)?,
            value_ext: take(bytes, 56)?,
            mask: take(bytes, 76)?,
            mask_ext: take(bytes, 128)?,
            pad: u32::from_ne_bytes(take(bytes, 148)?),
            ring_cookie: u64::from_ne_bytes(take(bytes, 152)?),
            location: u32::from_ne_bytes(take(bytes, 160)?),
            pad_end: u32::from_ne_bytes(take(bytes, 164)?),
        })
    }
}

/// `struct ethtool_rxnfc` without its trailing array.
#[repr(C)]
struct RxNfc {
    cmd: u32,
    flow_type: u32,
    data: u64,
    fs: FlowSpec,
    /// Also the RSS context of a rule.
    rule_cnt: u32,
    /// Padding of the kernel's struct, where its trailing array begins.
    rule_loc: u32,
}
const _: () =
    assert!(size_of::<RxNfc>() == 192 && offset_of!(RxNfc, fs) == 16 && offset_of!(RxNfc, rule_cnt) == 184);

impl RxNfc {
    const fn new(cmd: u32) -> Self {
        Self { cmd, flow_type: 0, data: 0, fs: FlowSpec::empty(), rule_cnt: 0, rule_loc: 0 }
    }
}

/// `ETH_RSS_HASH_NO_CHANGE` and `ETH_RXFH_INDIR_NO_CHANGE`.
const HASH_NO_CHANGE: u8 = 0;
const INDIR_NO_CHANGE: u32 = 0xffff_ffff;

/// Words of `struct ethtool_rxfh` before its table: cmd, rss_context, indir_size, key_size, hfunc and reserved.
const RXFH_WORDS: usize = 6;
const RXFH_CONTEXT: usize = 1;
const RXFH_INDIR_SIZE: usize = 2;
const RXFH_KEY_SIZE: usize = 3;
const RXFH_HFUNC: usize = 4;

/// A rule as the kernel reports it.
pub(super) struct RawRule {
    pub(super) spec: FlowSpec,
    pub(super) rss_context: u32,
}

/// The size of the rule table and the rules in it.
pub(super) struct RawRules {
    pub(super) capacity: Option<u32>,
    pub(super) driver_places: bool,
    pub(super) rules: Vec<RawRule>,
}

/// A socket to send ioctls through, and the interface they are about.
pub(super) struct Ethtool {
    socket: OwnedFd,
    name: [c_char; libc::IFNAMSIZ],
}

impl Ethtool {
    pub(super) fn open(name: &str) -> Result<Self, NetError> {
        let name = request_for(name)?.ifr_name;
        let socket = datagram_socket().map_err(|error| NetError::errno("open a socket", &error))?;
        Ok(Self { socket, name })
    }

    /// One ETHTOOL ioctl.
    ///
    /// # Safety
    /// `data` points to memory that begins with an ethtool command and is as large as the kernel takes that
    /// command's argument to be, its trailing array included, writable and unshared for the call.
    pub(super) unsafe fn call(&self, what: &str, data: *mut c_void) -> Result<(), NetError> {
        let mut request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data.cast() },
        };
        // SAFETY: `request` is a valid ifreq that outlives the call; what it points to is the caller's promise.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(NetError::errno(what, &io::Error::last_os_error())) } else { Ok(()) }
    }

    fn rxnfc(&self, what: &str, request: &mut RxNfc) -> Result<(), NetError> {
        // SAFETY: `RxNfc` is the kernel's struct; the commands sent with it here are all but GRXCLSRLALL, which
        // alone has a trailing array.
        unsafe { self.call(what, (&raw mut *request).cast()) }
    }

    /// Driver and place on its bus.
    pub(super) fn driver(&self) -> Result<(String, Option<String>), NetError> {
        let info = self.information()?;
        let bus = text(&info.bus_info);
        Ok((text(&info.driver), (!bus.is_empty()).then_some(bus)))
    }

    /// Number of counters that the driver keeps.
    pub(super) fn statistics_count(&self) -> Result<u32, NetError> {
        const STATISTICS: usize = 1;
        Ok(self.information()?.counts[STATISTICS])
    }

    fn information(&self) -> Result<DrvInfo, NetError> {
        let mut info = DrvInfo {
            cmd: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            version: [0; 32],
            fw_version: [0; 32],
            bus_info: [0; 32],
            erom_version: [0; 32],
            reserved: [0; 12],
            counts: [0; 5],
        };
        // SAFETY: `DrvInfo` is the kernel's struct, which has no trailing array.
        unsafe { self.call("read the driver's name", (&raw mut info).cast()) }?;
        Ok(info)
    }

    /// Receive side scaling of one context: 0 is the default one.
    pub(super) fn rss(&self, context: u32) -> Result<Rss, NetError> {
        let mut words = vec![0_u32; RXFH_WORDS];
        words[0] = ETHTOOL_GRSSH;
        words[RXFH_CONTEXT] = context;
        // SAFETY: with both sizes 0 the kernel writes the header alone, which `words` holds.
        unsafe { self.call("read the size of the RSS table", words.as_mut_ptr().cast()) }?;
        let entries = words[RXFH_INDIR_SIZE] as usize;
        let key_bytes = words[RXFH_KEY_SIZE] as usize;
        words.resize(RXFH_WORDS + entries + key_bytes.div_ceil(4), 0);
        // SAFETY: `words` now holds the header, `indir_size` words and `key_size` bytes, as the header says.
        unsafe { self.call("read the RSS table", words.as_mut_ptr().cast()) }?;
        let key: Vec<u8> = words[RXFH_WORDS + entries..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let [hash_function, input_xfrm, ..] = words[RXFH_HFUNC].to_ne_bytes();
        Ok(Rss {
            table: words[RXFH_WORDS..RXFH_WORDS + entries].to_vec(),
            key: super::hex(&key[..key_bytes]),
            hash_function,
            input_xfrm,
            contexts: BTreeMap::new(),
        })
    }

    /// Sets the RSS table of the default context and leaves key and hash alone. An empty table asks for the driver's
    /// default, and the kernel forgets that the table was ever set by hand.
    ///
    /// The request names the input transformation that is in force: 0 would end symmetric hashing, and ice takes
    /// `RXH_XFRM_NO_CHANGE` (0xff) for a wish to begin it.
    pub(super) fn set_rss_table(&self, table: &[u32]) -> Result<(), NetError> {
        let present = self.rss(0)?;
        let mut words = vec![0_u32; RXFH_WORDS];
        words[0] = ETHTOOL_SRSSH;
        words[RXFH_INDIR_SIZE] = table.len() as u32;
        words[RXFH_HFUNC] = u32::from_ne_bytes([HASH_NO_CHANGE, present.input_xfrm, 0, 0]);
        words.extend_from_slice(table);
        // SAFETY: `words` holds the header and `indir_size` words; `key_size` is 0.
        unsafe { self.call("set the RSS table", words.as_mut_ptr().cast()) }
    }

    /// Sets key, hash function and input transformation of the default context, and leaves the table alone where the
    /// driver does.
    pub(super) fn set_rss_hash(&self, key: &[u8], hash_function: u8, input_xfrm: u8) -> Result<(), NetError> {
        let mut words = vec![0_u32; RXFH_WORDS];
        words[0] = ETHTOOL_SRSSH;
        words[RXFH_INDIR_SIZE] = INDIR_NO_CHANGE;
        words[RXFH_KEY_SIZE] = key.len() as u32;
        words[RXFH_HFUNC] = u32::from_ne_bytes([hash_function, input_xfrm, 0, 0]);
        words.extend(key.chunks(4).map(|bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            u32::from_ne_bytes(word)
        }));
        // SAFETY: `words` holds the header and `key_size` bytes; `indir_size` says that no table follows.
        unsafe { self.call("set the RSS hash", words.as_mut_ptr().cast()) }
    }

    /// The flow rules.
    pub(super) fn rules(&self) -> Result<RawRules, NetError> {
        let mut count = RxNfc::new(ETHTOOL_GRXCLSRLCNT);
        self.rxnfc("count flow rules", &mut count)?;
        let entries = count.rule_cnt as usize;
        let header = size_of::<RxNfc>() / 4 - 1;
        let mut words = vec![0_u32; header + entries + 1];
        words[0] = ETHTOOL_GRXCLSRLALL;
        words[offset_of!(RxNfc, rule_cnt) / 4] = count.rule_cnt;
        // SAFETY: the kernel's trailing array begins in the last word of the padded struct: `words` holds the
        // struct up to there and `rule_cnt` words, and one more for the struct's own padding.
        unsafe { self.call("list flow rules", words.as_mut_ptr().cast()) }?;
        let [low, high] = [words[offset_of!(RxNfc, data) / 4], words[offset_of!(RxNfc, data) / 4 + 1]];
        // The table's size is a 32-bit value in a 64-bit field, whose order is the machine's.
        let size = if cfg!(target_endian = "big") { high } else { low };
        let found = (words[offset_of!(RxNfc, rule_cnt) / 4] as usize).min(entries);
        let mut rules = Vec::with_capacity(found);
        for location in &words[header..header + found] {
            let mut rule = RxNfc::new(ETHTOOL_GRXCLSRULE);
            rule.fs.location = *location;
            match self.rxnfc("read a flow rule", &mut rule) {
                Ok(()) => rules.push(RawRule { spec: rule.fs, rss_context: rule.rule_cnt }),
                // Deleted since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        let special = (count.data as u32 | size) & RX_CLS_LOC_SPECIAL != 0;
        let capacity = size & !RX_CLS_LOC_SPECIAL;
        Ok(RawRules { capacity: (capacity > 0).then_some(capacity), driver_places: special, rules })
    }

    /// Adds a rule and says where it went.
    pub(super) fn insert_rule(
        &self,
        mut spec: FlowSpec,
        location: Option<u32>,
        rss_context: u32,
    ) -> Result<u32, NetError> {
        spec.location = location.unwrap_or(RX_CLS_LOC_ANY);
        let mut rule = RxNfc { fs: spec, rule_cnt: rss_context, ..RxNfc::new(ETHTOOL_SRXCLSRLINS) };
        self.rxnfc("add a flow rule", &mut rule)?;
        Ok(rule.fs.location)
    }

    /// Deletes the rule at a place.
    pub(super) fn delete_rule(&self, location: u32) -> Result<(), NetError> {
        let mut rule = RxNfc::new(ETHTOOL_SRXCLSRLDEL);
        rule.fs.location = location;
        self.rxnfc("delete a flow rule", &mut rule)
    }
}

/// The namespace of the calling thread.
pub(super) fn own_namespace() -> Result<NetNamespace, NetError> {
    use std::os::unix::fs::MetadataExt;

    let refused = |error: io::Error| NetError::errno("identify the network namespace", &error);
    let socket = datagram_socket().map_err(refused)?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: SO_NETNS_COOKIE writes one u64, and `length` says that there is room for no more.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(refused(io::Error::last_os_error()));
    }
    let inode = std::fs::metadata("/proc/thread-self/ns/net").map_err(refused)?.ino();
    Ok(NetNamespace { cookie, inode })
}

/// A request about an interface, without data.
pub(super) fn request_for(name: &str) -> Result<libc::ifreq, NetError> {
    if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(NetError::NoInterface(name.to_owned()));
    }
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: std::ptr::null_mut() };
    Ok(libc::ifreq { ifr_name, ifr_ifru })
}

/// A socket for ioctls about interfaces.
pub(super) fn datagram_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd: c_int = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A fixed-size string of the kernel's.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
