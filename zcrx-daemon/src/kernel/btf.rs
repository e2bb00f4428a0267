//! Reads BTF, the type information that a kernel carries about itself.
//!
//! Only what probes ask for: where a field lies, and whether a function exists with the prototype that a
//! probe was written for. The crates that read BTF were looked at: `btf` 0.5 takes 25 times as long, panics on
//! a damaged blob and knows no dotted paths; `btf-rs` is LGPL; aya keeps its own reader private.

use std::collections::HashMap;

use thiserror::Error;

/// Where the kernel shows its BTF.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
/// Longest chain of typedefs and qualifiers, and deepest nesting of anonymous members, that is followed. A
/// kernel stays far below; a damaged blob may hold a cycle.
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
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Why BTF could not be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The kernel shows none.
    #[error("no kernel type information: {path}: {source} (CONFIG_DEBUG_INFO_BTF)")]
    Unavailable {
        /// Where it was looked for.
        path: &'static str,
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
}

type Result<T> = std::result::Result<T, BtfError>;

const fn damaged(what: &'static str, position: usize) -> BtfError {
    BtfError::Damaged { what, position }
}

/// A field, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Distance from the start of the structure that was asked for.
    pub offset: u32,
    /// Size.
    pub size: u32,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Number of its parameters.
    pub arity: usize,
}

/// The type information of one kernel.
#[derive(Debug)]
pub struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Position of each type's record in `types`, by id less one: id 0 is `void` and has none.
    positions: Vec<u32>,
    /// Id of the first structure of each name.
    structures: HashMap<Box<[u8]>, u32>,
}

/// The head of a type's record.
#[derive(Clone, Copy)]
struct Type {
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
    /// Reads the running kernel's.
    pub fn from_kernel() -> Result<Self> {
        let blob = std::fs::read(KERNEL).map_err(|source| BtfError::Unavailable { path: KERNEL, source })?;
        Self::parse(&blob)
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
            let start = header + word(blob, offset)? as usize;
            let end = start + word(blob, offset + 4)? as usize;
            blob.get(start..end).ok_or(damaged(what, start))
        };
        let types = section(8, "types end beyond the blob")?.to_vec();
        let strings = section(16, "strings end beyond the blob")?.to_vec();
        let mut btf = Self { types, strings, positions: Vec::new(), structures: HashMap::new() };
        btf.index()?;
        Ok(btf)
    }

    /// Finds every record.
    fn index(&mut self) -> Result<()> {
        let mut position = 0;
        while position < self.types.len() {
            let ty = self.type_at(position)?;
            self.positions.push(u32::try_from(position).map_err(|_| damaged("too many types", position))?);
            if ty.kind == kind::STRUCT {
                let id = self.positions.len() as u32;
                let name = self.string(ty.name)?;
                if !name.is_empty() {
                    let name = name.into();
                    self.structures.entry(name).or_insert(id);
                }
            }
            position = ty.tail + Self::tail_len(ty, position)?;
        }
        if position == self.types.len() { Ok(()) } else { Err(damaged("a type is cut off", position)) }
    }

    /// Length of what follows a record's head.
    fn tail_len(ty: Type, position: usize) -> Result<usize> {
        Ok(match ty.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * ty.len,
            kind::ENUM | kind::FUNC_PROTO => 8 * ty.len,
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            _ => return Err(damaged("a kind of type that is not known", position)),
        })
    }

    fn type_at(&self, position: usize) -> Result<Type> {
        let info = word(&self.types, position + 4)?;
        Ok(Type {
            name: word(&self.types, position)?,
            kind: (info >> 24) & 0x1f,
            len: (info & 0xffff) as usize,
            flag: info >> 31 == 1,
            value: word(&self.types, position + 8)?,
            tail: position + 12,
        })
    }

    /// The type of an id; `void` (id 0) has no record and is not asked for.
    fn type_of(&self, id: u32) -> Result<Type> {
        let position = (id as usize).checked_sub(1).and_then(|index| self.positions.get(index));
        self.type_at(*position.ok_or(damaged("a type id that does not exist", id as usize))? as usize)
    }

    fn string(&self, offset: u32) -> Result<&[u8]> {
        let tail = self.strings.get(offset as usize..);
        let tail = tail.ok_or(damaged("a name beyond the strings", offset as usize))?;
        let end = tail.iter().position(|&byte| byte == 0);
        Ok(&tail[..end.ok_or(damaged("a name without end", offset as usize))?])
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Result<u32> {
        for _ in 0..DEEPEST {
            if id == 0 {
                return Ok(0);
            }
            let ty = self.type_of(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.value;
                }
                _ => return Ok(id),
            }
        }
        Err(damaged("typedefs in a circle", id as usize))
    }

    fn array(&self, ty: Type) -> Result<(u32, u32)> {
        Ok((word(&self.types, ty.tail)?, word(&self.types, ty.tail + 8)?))
    }

    fn size_of(&self, id: u32) -> Result<u32> {
        let mut factor = 1_u32;
        let mut id = id;
        for _ in 0..DEEPEST {
            id = self.strip(id)?;
            if id == 0 {
                return Ok(0);
            }
            let ty = self.type_of(id)?;
            let size = match ty.kind {
                kind::PTR => size_of::<usize>() as u32,
                kind::FUNC_PROTO | kind::FWD => 0,
                kind::ARRAY => {
                    let (element, count) = self.array(ty)?;
                    id = element;
                    factor = factor.checked_mul(count).ok_or(damaged("an array too large", ty.tail))?;
                    continue;
                }
                _ => ty.value,
            };
            return size.checked_mul(factor).ok_or(damaged("a type too large", ty.tail));
        }
        Err(damaged("arrays in a circle", id as usize))
    }

    /// Bit offset and type of a member, looking through anonymous members; `None` if there is none.
    fn member(&self, id: u32, name: &[u8], base: u32, depth: usize) -> Result<Option<Member>> {
        if depth > DEEPEST {
            return Err(damaged("structures in a circle", id as usize));
        }
        if id == 0 {
            return Ok(None);
        }
        let ty = self.type_of(id)?;
        if ty.kind != kind::STRUCT && ty.kind != kind::UNION {
            return Ok(None);
        }
        for index in 0..ty.len {
            let at = ty.tail + 12 * index;
            let member_name = self.string(word(&self.types, at)?)?;
            if member_name != name && !member_name.is_empty() {
                continue;
            }
            let id = self.strip(word(&self.types, at + 4)?)?;
            let offset = word(&self.types, at + 8)?;
            let (offset, width) = if ty.flag { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            let bit = base.checked_add(offset).ok_or(damaged("a member too far out", at))?;
            if member_name == name {
                return Ok(Some(Member { bit, width, id }));
            }
            if let Some(found) = self.member(id, name, bit, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Size of a structure, bytes. `None` if this kernel has none of that name.
    pub fn structure_size(&self, structure: &str) -> Result<Option<u32>> {
        self.structures.get(structure.as_bytes()).map(|&id| self.size_of(id)).transpose()
    }

    /// Where a field lies: `field("page_pool", "user.id")`, `field("pt_regs", "regs[2]")`. Members of anonymous
    /// structures and unions are found by their own names, as in C. `None` if this kernel has no such structure
    /// or field. Pointers are not followed.
    pub fn field(&self, structure: &str, path: &str) -> Result<Option<Field>> {
        let Some(&root) = self.structures.get(structure.as_bytes()) else { return Ok(None) };
        let (mut bit, mut id) = (0, root);
        for part in path.split('.') {
            let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                Some((name, index)) => (name, index.parse::<u32>().ok()),
                None => (part, None),
            };
            let Some(member) = self.member(id, name.as_bytes(), bit, 0)? else { return Ok(None) };
            (bit, id) = (member.bit, member.id);
            if member.width != 0 || bit % 8 != 0 {
                let (structure, path) = (structure.to_owned(), path.to_owned());
                return Err(BtfError::BitField { structure, path });
            }
            let Some(index) = index else { continue };
            let ty = if id == 0 { return Ok(None) } else { self.type_of(id)? };
            if ty.kind != kind::ARRAY {
                return Ok(None);
            }
            let (element, count) = self.array(ty)?;
            if index >= count {
                return Ok(None);
            }
            let distance = self.size_of(element)?.checked_mul(index).and_then(|bytes| bytes.checked_mul(8));
            bit = distance
                .and_then(|distance| bit.checked_add(distance))
                .ok_or(damaged("an array too large", ty.tail))?;
            id = self.strip(element)?;
        }
        Ok(Some(Field { offset: bit / 8, size: self.size_of(id)? }))
    }

    /// The function of that name, if the kernel has one that can be probed by name. Takes about a millisecond.
    pub fn function(&self, name: &str) -> Result<Option<Function>> {
        let Some(function) = self.find(kind::FUNC, name)? else { return Ok(None) };
        let prototype = self.type_of(function.value)?;
        if prototype.kind != kind::FUNC_PROTO {
            return Err(damaged("a function without prototype", function.tail));
        }
        Ok(Some(Function { arity: prototype.len }))
    }

    /// Whether the kernel has a tracepoint of that name. Takes about a millisecond.
    pub fn has_tracepoint(&self, name: &str) -> Result<bool> {
        Ok(self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))?.is_some())
    }

    /// The first type of a kind with that name.
    fn find(&self, kind: u32, name: &str) -> Result<Option<Type>> {
        for &position in &self.positions {
            let ty = self.type_at(position as usize)?;
            if ty.kind == kind && self.string(ty.name)? == name.as_bytes() {
                return Ok(Some(ty));
            }
        }
        Ok(None)
    }
}

/// A member of a structure.
struct Member {
    bit: u32,
    /// Width in bits; 0 for an ordinary member.
    width: u32,
    /// Its type, stripped.
    id: u32,
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
