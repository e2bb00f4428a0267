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

const MAGIC: u16 = 0xeb9f;

impl Btf {
    /// That of the running kernel; `None` if it has none.
    pub(crate) fn of_kernel() -> Result<Option<Self>> {
        match fs::read("/sys/kernel/btf/vmlinux") {
            Ok(image) => Self::parse(&image).map(Some).context("/sys/kernel/btf/vmlinux"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("/sys/kernel/btf/vmlinux"),
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

    fn parse(image: &[u8]) -> Result<Self> {
        let magic = image.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
        ensure!(magic == Some(MAGIC), "no type information of a little-endian kernel");
        // Lengths and offsets count from the end of the header.
        let header = word(image, 4)?;
        let section = |at: usize| -> Result<&[u8]> {
            let begin = header + word(image, at)?;
            image.get(begin..begin + word(image, at + 4)?).context("a section is cut off")
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut btf = Self::default();
        let mut at = 0;
        while at < types.len() {
            let (name, info) = (word(types, at)?, word(types, at + 4)?);
            let (kind, members) = (info >> 24 & 0x1f, info & 0xffff);
            // What follows the twelve bytes that all have.
            let more = match kind {
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
            let names = match kind {
                12 => Some(&mut btf.functions),
                4..=6 | 8 | 19 => Some(&mut btf.types),
                _ => None,
            };
            if let Some(names) = names {
                names.insert(text(strings, name)?);
            }
            at += 12 + more;
        }
        Ok(btf)
    }
}

fn word(bytes: &[u8], at: usize) -> Result<usize> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk).context("cut off")?;
    Ok(u32::from_le_bytes(*bytes) as usize)
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
        let btf = Btf::parse(&image)?;
        assert!(btf.has_function("f") && !btf.has_type("f"));
        assert!(btf.has_type("s") && !btf.has_function("s"));
        assert!(!btf.has_type("i"), "the name of an int is nothing to probe");
        assert!(Btf::parse(&image[..image.len() - 1]).is_err());
        Ok(())
    }
}
