//! Questions to BTF: fields by path, functions by name.

use std::fmt;

use super::{Btf, BtfError, DEEPEST, Record, Result, damaged, kind, word};

/// A type as far as a program that reads a value of the type has to know it. Typedefs and qualifiers are looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// An integer, an enumeration, or a structure that holds nothing else (`atomic_t`, `refcount_t`).
    Integer {
        /// Bytes.
        size: u32,
    },
    /// A pointer.
    Pointer {
        /// Name of the structure or union that it points to; `None` for others, functions and `void` among them.
        to: Option<String>,
    },
    /// An array.
    Array {
        /// Bytes of all elements.
        size: u32,
        /// Bytes of an element.
        element: u32,
    },
    /// Another structure or union, a floating point number, or a type that BTF does not describe.
    Other {
        /// Bytes, 0 if unknown.
        size: u32,
    },
    /// No value.
    Void,
}

impl Type {
    /// Size of a value, bytes.
    pub const fn size(&self) -> u32 {
        match self {
            Self::Integer { size } | Self::Array { size, .. } | Self::Other { size } => *size,
            Self::Pointer { .. } => size_of::<usize>() as u32,
            Self::Void => 0,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { size } => write!(f, "integer of {size} bytes"),
            Self::Pointer { to: Some(to) } => write!(f, "pointer to {to}"),
            Self::Pointer { to: None } => f.write_str("pointer"),
            Self::Array { size, .. } => write!(f, "array of {size} bytes"),
            Self::Other { size } => write!(f, "value of {size} bytes"),
            Self::Void => f.write_str("void"),
        }
    }
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Distance in bytes from the start of the structure that was asked for, or of the last one that the path points to.
    pub offset: u32,
    /// Its type.
    pub ty: Type,
}

/// A function's prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Types of its parameters, in order.
    pub parameters: Vec<Type>,
    /// Type of its result.
    pub result: Type,
}

/// A member of a structure.
struct Member {
    bit: u32,
    /// Width in bits; 0 for an ordinary member.
    width: u32,
    /// Its type, stripped.
    id: u32,
}

impl Btf {
    /// Size of a structure, bytes. `None` if this kernel has none of that name.
    pub fn structure_size(&self, structure: &str) -> Result<Option<u32>> {
        self.structures.get(structure.as_bytes()).map(|&id| self.size_of(id)).transpose()
    }

    /// Where a field lies: `field("page_pool", "user.id")`, `field("pt_regs", "regs[2]")`,
    /// `field("io_zcrx_ifq", "rq.ring->tail")`. Members of anonymous structures and unions are found by their own names, as in
    /// C. After `->` the path goes on in the structure that the pointer points to, and the offset counts from there. `None` if
    /// this kernel has no such structure or field.
    pub fn field(&self, structure: &str, path: &str) -> Result<Option<Field>> {
        let Some(&root) = self.structures.get(structure.as_bytes()) else { return Ok(None) };
        let (mut bit, mut id) = (0, root);
        for (step, path_here) in path.split("->").enumerate() {
            if step > 0 {
                let Some(target) = self.pointee(id)? else { return Ok(None) };
                (bit, id) = (0, target);
            }
            for part in path_here.split('.') {
                match self.step(id, bit, part)? {
                    None => return Ok(None),
                    Some(member) if member.width != 0 || member.bit % 8 != 0 => {
                        let (structure, path) = (structure.to_owned(), path.to_owned());
                        return Err(BtfError::BitField { structure, path });
                    }
                    Some(member) => (bit, id) = (member.bit, member.id),
                }
            }
        }
        Ok(Some(Field { offset: bit / 8, ty: self.describe(id, 0)? }))
    }

    /// One part of a path: a member, or an element of one (`regs[2]`).
    fn step(&self, id: u32, bit: u32, part: &str) -> Result<Option<Member>> {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, index.parse::<u32>().ok()),
            None => (part, None),
        };
        let Some(member) = self.member(id, name.as_bytes(), bit, 0)? else { return Ok(None) };
        let Some(index) = index else { return Ok(Some(member)) };
        if member.id == 0 {
            return Ok(None);
        }
        let record = self.record(member.id)?;
        if record.kind != kind::ARRAY {
            return Ok(None);
        }
        let (element, count) = self.array(record)?;
        if index >= count {
            return Ok(None);
        }
        let distance = self.size_of(element)?.checked_mul(index).and_then(|bytes| bytes.checked_mul(8));
        let bit = distance.and_then(|distance| member.bit.checked_add(distance));
        let bit = bit.ok_or_else(|| damaged("an array too large", record.tail))?;
        Ok(Some(Member { bit, width: member.width, id: self.strip(element)? }))
    }

    /// Bit offset and type of a member, looking through anonymous members; `None` if there is none.
    fn member(&self, id: u32, name: &[u8], base: u32, depth: usize) -> Result<Option<Member>> {
        if depth > DEEPEST {
            return Err(damaged("structures in a circle", id as usize));
        }
        if id == 0 {
            return Ok(None);
        }
        let record = self.record(id)?;
        if record.kind != kind::STRUCT && record.kind != kind::UNION {
            return Ok(None);
        }
        for index in 0..record.len {
            let at = record.tail + 12 * index;
            let member_name = self.string(word(&self.types, at)?)?;
            if member_name != name && !member_name.is_empty() {
                continue;
            }
            let id = self.strip(word(&self.types, at + 4)?)?;
            let offset = word(&self.types, at + 8)?;
            let (offset, width) = if record.flag { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            let bit = base.checked_add(offset).ok_or_else(|| damaged("a member too far out", at))?;
            if member_name == name {
                return Ok(Some(Member { bit, width, id }));
            }
            if let Some(found) = self.member(id, name, bit, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a pointer points to, stripped; `None` for other types.
    fn pointee(&self, id: u32) -> Result<Option<u32>> {
        if id == 0 {
            return Ok(None);
        }
        let record = self.record(id)?;
        if record.kind == kind::PTR { self.strip(record.value).map(Some) } else { Ok(None) }
    }

    /// A type, as programs have to know it.
    fn describe(&self, id: u32, depth: usize) -> Result<Type> {
        let id = self.strip(id)?;
        if id == 0 {
            return Ok(Type::Void);
        }
        let record = self.record(id)?;
        Ok(match record.kind {
            kind::INT | kind::ENUM | kind::ENUM64 => Type::Integer { size: record.value },
            kind::PTR => Type::Pointer { to: self.name_of_structure(record.value)? },
            kind::ARRAY => {
                let (element, _) = self.array(record)?;
                Type::Array { size: self.size_of(id)?, element: self.size_of(element)? }
            }
            // atomic_t, refcount_t, atomic_long_t: one member of the same size.
            kind::STRUCT if record.len == 1 && depth < DEEPEST => {
                let member = self.describe(word(&self.types, record.tail + 4)?, depth + 1)?;
                match member {
                    Type::Integer { size } if size == record.value => member,
                    _ => Type::Other { size: record.value },
                }
            }
            _ => Type::Other { size: self.size_of(id)? },
        })
    }

    fn name_of_structure(&self, id: u32) -> Result<Option<String>> {
        let id = self.strip(id)?;
        if id == 0 {
            return Ok(None);
        }
        let record = self.record(id)?;
        let named = matches!(record.kind, kind::STRUCT | kind::UNION | kind::FWD);
        let name = if named { self.string(record.name)? } else { b"" };
        Ok((!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()))
    }

    /// The prototype of the function of that name, if the kernel has one that can be probed by name. Takes about a millisecond.
    pub fn function(&self, name: &str) -> Result<Option<Function>> {
        let mut found = None;
        for &position in &self.positions {
            let record = self.record_at(position as usize)?;
            if record.kind != kind::FUNC || !self.is_named(record, name.as_bytes()) {
                continue;
            }
            let function = self.prototype(record)?;
            match &found {
                Some(other) if *other != function => {
                    return Err(BtfError::Ambiguous { name: name.to_owned() });
                }
                _ => found = Some(function),
            }
        }
        Ok(found)
    }

    fn prototype(&self, function: Record) -> Result<Function> {
        let prototype = self.record(function.value)?;
        if prototype.kind != kind::FUNC_PROTO {
            return Err(damaged("a function without prototype", function.tail));
        }
        let parameter = |index| self.describe(word(&self.types, prototype.tail + 8 * index + 4)?, 0);
        let parameters = (0..prototype.len).map(parameter).collect::<Result<_>>()?;
        Ok(Function { parameters, result: self.describe(prototype.value, 0)? })
    }

    /// Whether the kernel has a tracepoint of that name. Takes about a millisecond.
    pub fn has_tracepoint(&self, name: &str) -> Result<bool> {
        let name = format!("btf_trace_{name}");
        for &position in &self.positions {
            let record = self.record_at(position as usize)?;
            if record.kind == kind::TYPEDEF && self.is_named(record, name.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
