//! Reads BTF, the type information that a kernel carries about itself.
//!
//! Answers what probes ask for: where a field lies, of what type the field is, and which parameters a function has. The crates
//! that read BTF do not serve: `btf` 0.5 takes 25 times as long, panics on a damaged blob and knows no dotted paths; `btf-rs`
//! is LGPL; aya keeps its reader private.

#[cfg(test)]
pub(crate) mod blob;
mod names;
mod query;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use query::{Field, Function, Type};

/// Where the kernel shows its BTF.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Header up to Linux 7.2.
const HEADER_LEN: usize = 24;
/// Header with the place of the layout section. Linux 7.3.
const HEADER_WITH_LAYOUT_LEN: usize = 32;
/// Longest chain of typedefs and qualifiers, and deepest nesting of anonymous members, that the reader follows. Kernels
/// stay far below; a damaged blob may hold a cycle.
const DEEPEST: usize = 32;

/// `BTF_KIND_*`.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Bytes after the head of a record, and bytes of each member, value or parameter after those: what the kinds of Linux 7.3
/// have, by kind.
const LAYOUT: [(usize, usize); 20] = [
    (0, 0),
    (4, 0),
    (0, 0),
    (12, 0),
    (0, 12),
    (0, 12),
    (0, 8),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),
    (4, 0),
    (0, 12),
    (0, 0),
    (4, 0),
    (0, 0),
    (0, 12),
];

/// Why BTF could not be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("no kernel type information: {}: {source} (CONFIG_DEBUG_INFO_BTF)", path.display())]
    Unavailable {
        /// Which file.
        path: PathBuf,
        /// What reading it said.
        source: std::io::Error,
    },
    /// The blob breaks a rule of the format.
    #[error("kernel type information is damaged: {what} at byte {position}")]
    Damaged {
        /// The rule.
        what: &'static str,
        /// Position in the section concerned.
        position: usize,
    },
    /// The field exists, but a byte offset cannot describe it.
    #[error("{structure}.{path} is a bit-field")]
    BitField {
        /// Structure asked for.
        structure: String,
        /// Path asked for.
        path: String,
    },
    /// Two functions of that name have different prototypes.
    #[error("this kernel has several functions {name} with different parameters")]
    Ambiguous {
        /// Function asked for.
        name: String,
    },
}

type Result<T> = std::result::Result<T, BtfError>;

const fn damaged(what: &'static str, position: usize) -> BtfError {
    BtfError::Damaged { what, position }
}

/// The type information of one kernel.
#[derive(Debug)]
pub struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// The blob's own layout section: `info_sz` and `elem_sz` by kind. Empty up to Linux 7.2.
    layout: Vec<(usize, usize)>,
    /// Position of each type's record in `types`, by id less one: id 0 is `void` and has none.
    positions: Vec<u32>,
    /// Id of the first structure of each name.
    structures: HashMap<Box<[u8]>, u32>,
}

/// The head of a type's record.
#[derive(Clone, Copy)]
struct Record {
    name: u32,
    kind: u32,
    /// Members, parameters or values that follow.
    len: usize,
    /// Members carry bit-field sizes.
    flag: bool,
    /// Size or type id, by kind.
    value: u32,
    /// Where what follows the head begins.
    tail: usize,
}

impl Btf {
    /// Reads the running kernel's BTF.
    pub fn from_kernel() -> Result<Self> {
        Self::from_file(Path::new(KERNEL))
    }

    /// Reads the BTF of a kernel from a file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let unavailable = |source| BtfError::Unavailable { path: path.to_owned(), source };
        Self::parse(&std::fs::read(path).map_err(unavailable)?)
    }

    /// Reads a blob in the byte order of this machine.
    pub fn parse(blob: &[u8]) -> Result<Self> {
        if blob.len() < HEADER_LEN {
            return Err(damaged("shorter than a header", blob.len()));
        }
        if u16::from_ne_bytes([blob[0], blob[1]]) != MAGIC {
            return Err(damaged("wrong magic number", 0));
        }
        let header = word(blob, 4)? as usize;
        let section = |offset: usize, what| {
            let start =
                header.checked_add(word(blob, offset)? as usize).ok_or_else(|| damaged(what, offset))?;
            let end =
                start.checked_add(word(blob, offset + 4)? as usize).ok_or_else(|| damaged(what, offset))?;
            blob.get(start..end).ok_or_else(|| damaged(what, start))
        };
        let types = section(8, "types end beyond the blob")?.to_vec();
        let strings = section(16, "strings end beyond the blob")?.to_vec();
        let layout = if header >= HEADER_WITH_LAYOUT_LEN {
            let bytes = section(24, "the layout ends beyond the blob")?;
            bytes.chunks_exact(4).map(|entry| (usize::from(entry[0]), usize::from(entry[1]))).collect()
        } else {
            Vec::new()
        };
        let mut btf = Self { types, strings, layout, positions: Vec::new(), structures: HashMap::new() };
        btf.index()?;
        Ok(btf)
    }

    /// Finds every record.
    fn index(&mut self) -> Result<()> {
        let mut position = 0;
        while position < self.types.len() {
            let record = self.record_at(position)?;
            self.positions.push(u32::try_from(position).map_err(|_| damaged("too many types", position))?);
            if record.kind == kind::STRUCT {
                let id = self.positions.len() as u32;
                let name = self.string(record.name)?;
                if !name.is_empty() {
                    let name = name.into();
                    self.structures.entry(name).or_insert(id);
                }
            }
            position = record.tail + self.tail_len(record, position)?;
        }
        if position == self.types.len() { Ok(()) } else { Err(damaged("a type is cut off", position)) }
    }

    /// Length of what follows a record's head. The layout section gives the length of kinds that are newer than this reader; such
    /// records are passed over.
    fn tail_len(&self, record: Record, position: usize) -> Result<usize> {
        let known = if record.kind == 0 { None } else { LAYOUT.get(record.kind as usize) };
        let (info, element) = known
            .or_else(|| self.layout.get(record.kind as usize).filter(|_| record.kind != 0))
            .ok_or_else(|| damaged("a kind of type that is not known and has no layout", position))?;
        Ok(info + element * if *element == 0 { 0 } else { record.len })
    }

    /// The record at a position. Up to Linux 7.2 the length has 16 bits and the kind 5; the other bits are zero there.
    fn record_at(&self, position: usize) -> Result<Record> {
        let info = word(&self.types, position + 4)?;
        Ok(Record {
            name: word(&self.types, position)?,
            kind: (info >> 24) & 0x7f,
            len: (info & 0xff_ffff) as usize,
            flag: info >> 31 == 1,
            value: word(&self.types, position + 8)?,
            tail: position + 12,
        })
    }

    /// The record of an id; `void` (id 0) has none and is not asked for.
    fn record(&self, id: u32) -> Result<Record> {
        let position = (id as usize).checked_sub(1).and_then(|index| self.positions.get(index));
        self.record_at(
            *position.ok_or_else(|| damaged("a type id that does not exist", id as usize))? as usize
        )
    }

    fn string(&self, offset: u32) -> Result<&[u8]> {
        let tail = self.strings.get(offset as usize..);
        let tail = tail.ok_or_else(|| damaged("a name beyond the strings", offset as usize))?;
        let end = tail.iter().position(|&byte| byte == 0);
        Ok(&tail[..end.ok_or_else(|| damaged("a name without end", offset as usize))?])
    }

    /// Whether a record has that name. Compares without looking for the end of the record's name: a search asks this of each type.
    fn is_named(&self, record: Record, name: &[u8]) -> bool {
        let tail = self.strings.get(record.name as usize..).and_then(|tail| tail.strip_prefix(name));
        tail.is_some_and(|tail| tail.first() == Some(&0))
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Result<u32> {
        for _ in 0..DEEPEST {
            if id == 0 {
                return Ok(0);
            }
            let record = self.record(id)?;
            match record.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = record.value;
                }
                _ => return Ok(id),
            }
        }
        Err(damaged("typedefs in a circle", id as usize))
    }

    /// Element type and length of an array.
    fn array(&self, record: Record) -> Result<(u32, u32)> {
        Ok((word(&self.types, record.tail)?, word(&self.types, record.tail + 8)?))
    }

    fn size_of(&self, id: u32) -> Result<u32> {
        let mut factor = 1_u32;
        let mut id = id;
        for _ in 0..DEEPEST {
            id = self.strip(id)?;
            if id == 0 {
                return Ok(0);
            }
            let record = self.record(id)?;
            let size = match record.kind {
                kind::PTR => size_of::<usize>() as u32,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                    record.value
                }
                kind::ARRAY => {
                    let (element, count) = self.array(record)?;
                    id = element;
                    factor = factor
                        .checked_mul(count)
                        .ok_or_else(|| damaged("an array too large", record.tail))?;
                    continue;
                }
                // A kind without a size, or one that is newer than this reader.
                _ => 0,
            };
            return size.checked_mul(factor).ok_or_else(|| damaged("a type too large", record.tail));
        }
        Err(damaged("arrays in a circle", id as usize))
    }
}

fn word(bytes: &[u8], position: usize) -> Result<u32> {
    match bytes.get(position..).and_then(|tail| tail.first_chunk()) {
        Some(chunk) => Ok(u32::from_ne_bytes(*chunk)),
        None => Err(damaged("cut off", position)),
    }
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
