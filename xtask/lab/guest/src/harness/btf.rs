//! What the kernel's type information has, read without zcrxd's reader or anybody's library.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

/// Names of functions and of types, which is all that is needed to know what can be probed.
#[derive(Debug, Default)]
pub(crate) struct Btf {
    functions: BTreeSet<String>,
    types: BTreeSet<String>,
}

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;

impl Btf {
    /// That of the running kernel; `None` if it has none.
    pub(crate) fn of_kernel() -> Result<Option<Self>> {
        match fs::read(KERNEL) {
            Ok(image) => Self::parse(image).map(Some).context(KERNEL),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(KERNEL),
        }
    }

    /// Whether there is a function of that name.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// Whether there is a structure, union, enum or typedef of that name.
    pub(crate) fn has_type(&self, name: &str) -> bool {
        self.types.contains(name)
    }

    fn parse(image: Vec<u8>) -> Result<Self> {
        let blob = Blob::parse(image)?;
        let mut btf = Self::default();
        for &at in &blob.records {
            let names = match blob.kind(at)? {
                Kind::FUNC => &mut btf.functions,
                Kind::STRUCT | Kind::UNION | Kind::ENUM | Kind::TYPEDEF | Kind::ENUM64 => &mut btf.types,
                _ => continue,
            };
            names.insert(blob.name(at)?);
        }
        Ok(btf)
    }
}

/// `BTF_KIND_*`.
struct Kind;

impl Kind {
    const PTR: u32 = 2;
    const STRUCT: u32 = 4;
    const UNION: u32 = 5;
    const ENUM: u32 = 6;
    const TYPEDEF: u32 = 8;
    const VOLATILE: u32 = 9;
    const CONST: u32 = 10;
    const RESTRICT: u32 = 11;
    const FUNC: u32 = 12;
    const TYPE_TAG: u32 = 18;
    const ENUM64: u32 = 19;
}

/// The image, with the place of each record.
pub(crate) struct Blob {
    image: Vec<u8>,
    /// Positions of the types' records, the type with id 1 first.
    records: Vec<usize>,
    /// Where names begin.
    strings: usize,
}

/// A member of a structure, in the image.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Position of its record.
    pub at: usize,
    /// Its name.
    pub name: String,
    /// Id of its type.
    pub kind: u32,
}

/// A field that a path leads to.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Position of its record.
    pub at: usize,
    /// Id of its type.
    pub kind: u32,
    /// Other members of the structure in which it is.
    pub siblings: Vec<Member>,
}

impl Blob {
    /// That of the running kernel.
    pub(crate) fn of_kernel() -> Result<Self> {
        Self::parse(fs::read(KERNEL).context(KERNEL)?)
    }

    fn parse(image: Vec<u8>) -> Result<Self> {
        let magic = image.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
        ensure!(magic == Some(MAGIC), "no type information of a little-endian kernel");
        // Lengths and offsets count from the end of the header.
        let header = word(&image, 4)? as usize;
        let section = |at: usize| -> Result<std::ops::Range<usize>> {
            let begin = header + word(&image, at)? as usize;
            let end = begin + word(&image, at + 4)? as usize;
            ensure!(end <= image.len(), "a section is cut off");
            Ok(begin..end)
        };
        let (types, strings) = (section(8)?, section(16)?.start);
        let mut records = Vec::new();
        let mut at = types.start;
        while at < types.end {
            records.push(at);
            let info = word(&image, at + 4)?;
            let (kind, members) = (info >> 24 & 0x1f, info as usize & 0xffff);
            // What follows the twelve bytes that all have.
            at += 12
                + match kind {
                    // INT, VAR, DECL_TAG
                    1 | 14 | 17 => 4,
                    // ARRAY
                    3 => 12,
                    // STRUCT, UNION, DATASEC, ENUM64
                    4 | 5 | 15 | 19 => 12 * members,
                    // ENUM, FUNC_PROTO
                    6 | 13 => 8 * members,
                    // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
                    2 | 7..=12 | 16 | 18 => 0,
                    other => bail!("unknown kind {other} of type at {at}"),
                };
        }
        Ok(Self { image, records, strings })
    }

    /// The image.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.image
    }

    /// A word of the image.
    pub(crate) fn word(&self, at: usize) -> Result<u32> {
        word(&self.image, at)
    }

    /// Changes a word of the image.
    pub(crate) fn set(&mut self, at: usize, word: u32) {
        self.image[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// The field of a structure that a path leads to, as `rq.ring->tail` does; `None` where there is no such field.
    pub(crate) fn field(&self, structure: &str, path: &str) -> Result<Option<Field>> {
        let mut found = None;
        let mut within = self.structure(structure)?;
        for name in path.split(['.', '>']).map(|name| name.trim_end_matches('-')) {
            let Some(record) = within else { return Ok(None) };
            let Some(field) = self.member(record, name)? else { return Ok(None) };
            within = self.behind(field.kind)?;
            found = Some(field);
        }
        Ok(found)
    }

    fn structure(&self, name: &str) -> Result<Option<usize>> {
        for &at in &self.records {
            if self.kind(at)? == Kind::STRUCT && self.name(at)? == name {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A member of a structure, also of one without a name in it.
    fn member(&self, record: usize, name: &str) -> Result<Option<Field>> {
        let members = self.members(record)?;
        for (index, member) in members.iter().enumerate() {
            if member.name == name {
                let (at, kind) = (member.at, member.kind);
                let siblings = members.iter().enumerate().filter(|(other, _)| *other != index);
                let siblings = siblings.map(|(_, sibling)| sibling.clone()).collect();
                return Ok(Some(Field { at, kind, siblings }));
            }
            if member.name.is_empty()
                && let Some(inner) = self.behind(member.kind)?
                && let Some(field) = self.member(inner, name)?
            {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    fn members(&self, record: usize) -> Result<Vec<Member>> {
        let info = self.word(record + 4)?;
        let places = (0..info as usize & 0xffff).map(|index| record + 12 + 12 * index);
        places.map(|at| Ok(Member { at, name: self.name(at)?, kind: self.word(at + 4)? })).collect()
    }

    /// The record of a structure or union behind names, qualifiers and pointers.
    fn behind(&self, mut kind: u32) -> Result<Option<usize>> {
        loop {
            let Some(&at) = (kind as usize).checked_sub(1).and_then(|index| self.records.get(index)) else {
                return Ok(None);
            };
            match self.kind(at)? {
                Kind::STRUCT | Kind::UNION => return Ok(Some(at)),
                Kind::PTR
                | Kind::TYPEDEF
                | Kind::VOLATILE
                | Kind::CONST
                | Kind::RESTRICT
                | Kind::TYPE_TAG => kind = self.word(at + 8)?,
                _ => return Ok(None),
            }
        }
    }

    fn kind(&self, record: usize) -> Result<u32> {
        Ok(self.word(record + 4)? >> 24 & 0x1f)
    }

    /// The name of a type or of a member: its offset comes first in either record.
    fn name(&self, record: usize) -> Result<String> {
        text(&self.image, self.strings + self.word(record)? as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk).context("cut off")?;
    Ok(u32::from_le_bytes(*bytes))
}

fn text(strings: &[u8], at: usize) -> Result<String> {
    let bytes = strings.get(at..).and_then(|rest| rest.split(|&byte| byte == 0).next());
    Ok(String::from_utf8_lossy(bytes.context("a name is cut off")?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_types_are_distinguished() -> Result<()> {
        const STRINGS: &[u8] = b"\0f\0s\0i\0";
        let (structure, int, function) =
            ([3, 4 << 24 | 1, 4, 5, 2, 0], [5, 1 << 24, 4, 32], [1, 12 << 24, 9]);
        let words = structure.into_iter().chain(int).chain(function);
        let types: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let mut image = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, STRINGS.len() as u32] {
            image.extend(word.to_le_bytes());
        }
        image.extend(types);
        image.extend(STRINGS);
        let cut = image[..image.len() - STRINGS.len() - 1].to_vec();
        let btf = Btf::parse(image)?;
        assert!(btf.has_function("f") && !btf.has_type("f"));
        assert!(btf.has_type("s") && !btf.has_function("s"));
        assert!(!btf.has_type("i"), "the name of an int is nothing to probe");
        assert!(Btf::parse(cut).is_err());
        Ok(())
    }
}
