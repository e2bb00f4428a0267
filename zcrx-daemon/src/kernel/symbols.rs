//! Looks up kernel symbols.
//!
//! The table has some 150,000 lines, and the kernel needs about 5,000 instructions to print each: one pass serves all names.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
};

use super::Part;

const KALLSYMS: &str = "/proc/kallsyms";

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Full name, with the suffix that a compiler added when it made a variant: `io_zcrx_queue_cqe.isra.0`.
    pub name: String,
    /// Address; `None` where the kernel hides it.
    pub address: Option<u64>,
}

/// Those of the symbols asked for that this kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    found: BTreeMap<String, Symbol>,
}

impl Symbols {
    /// Looks for all `names` in one pass over /proc/kallsyms.
    pub fn look_up(names: &[&str]) -> Part<Self> {
        let file = File::open(KALLSYMS).map_err(|error| format!("{KALLSYMS}: {error}"))?;
        Self::parse(BufReader::with_capacity(1 << 16, file), names)
            .map_err(|error| format!("{KALLSYMS}: {error}"))
    }

    fn parse(mut reader: impl BufRead, names: &[&str]) -> std::io::Result<Self> {
        let names: HashSet<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let mut found: BTreeMap<String, Symbol> = BTreeMap::new();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? != 0 {
            // Almost all lines end here: bytes are compared, and only a line that was asked for becomes text.
            if let Some(name) = name(&line)
                && names.contains(first_part(name))
                && let Ok(line) = std::str::from_utf8(&line)
            {
                keep(line, &mut found);
            }
            line.clear();
        }
        Ok(Self { found })
    }

    /// The symbol of that name, or a compiler's variant of it (`.isra.0`, `.constprop.0`): the same code, whose
    /// parameters may be fewer and in other places.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.found.get(name)
    }
}

/// The name in a line: `ADDRESS KIND NAME`, and for a module's symbol a tab and the module after it.
fn name(line: &[u8]) -> Option<&[u8]> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let rest = words.nth(2)?;
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// What comes before the suffixes that a compiler adds.
fn first_part(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
    &name[..end]
}

/// Keeps the symbol of a line, unless it is a part of a function or a variant beside the function itself.
fn keep(line: &str, found: &mut BTreeMap<String, Symbol>) {
    let mut words = line.split_ascii_whitespace();
    let (Some(address), Some(_kind), Some(name)) = (words.next(), words.next(), words.next()) else { return };
    let Some(base) = base(name) else { return };
    let address = u64::from_str_radix(address, 16).ok().filter(|&address| address != 0);
    if name == base || !found.contains_key(base) {
        found.insert(base.to_owned(), Symbol { name: name.to_owned(), address });
    }
}

/// The name of the function that a symbol is; `None` for what a compiler split off from one (`.cold`, `.part.0`), which
/// does not begin where the function does.
fn base(name: &str) -> Option<&str> {
    let Some((base, suffix)) = name.split_once('.') else { return Some(name) };
    let is_variant = |part: &str| {
        matches!(part, "isra" | "constprop" | "llvm") || part.bytes().all(|byte| byte.is_ascii_digit())
    };
    suffix.split('.').all(is_variant).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "ffffffff81000000 T schedule\n\
        0000000000000000 t hidden\n\
        ffffffff82000000 t inlined.isra.0\n\
        ffffffff83000000 t both.cold\n\
        ffffffff83000001 t split.part.0\n\
        ffffffff83000002 t twice.constprop.0.isra.0\n\
        ffffffff84000000 t both\n\
        ffffffff85000000 t both.part.0\n\
        ffffffffc0000000 t in_module\t[zcnic]\n\
        broken line\n";

    #[test]
    fn names_are_found_plain_suffixed_and_without_address() -> std::io::Result<()> {
        let symbols = Symbols::parse(
            TABLE.as_bytes(),
            &["schedule", "hidden", "inlined", "both", "split", "twice", "in_module"],
        )?;
        let seen = |name: &str| symbols.get(name).map(|symbol| (symbol.name.as_str(), symbol.address));
        assert_eq!(seen("schedule"), Some(("schedule", Some(0xffff_ffff_8100_0000))));
        assert_eq!(seen("hidden"), Some(("hidden", None)));
        assert_eq!(seen("inlined"), Some(("inlined.isra.0", Some(0xffff_ffff_8200_0000))));
        assert_eq!(seen("both"), Some(("both", Some(0xffff_ffff_8400_0000))));
        assert_eq!(seen("in_module"), Some(("in_module", Some(0xffff_ffff_c000_0000))));
        assert_eq!(seen("twice"), Some(("twice.constprop.0.isra.0", Some(0xffff_ffff_8300_0002))));
        assert_eq!(seen("split"), None, "a part of a function is not the function");
        assert_eq!(seen("no"), None);
        Ok(())
    }

    #[test]
    fn what_was_not_asked_for_is_not_kept() -> std::io::Result<()> {
        assert_eq!(Symbols::parse(TABLE.as_bytes(), &[])?, Symbols::default());
        Ok(())
    }
}
