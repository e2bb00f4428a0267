//! Looks up kernel symbols.
//!
//! The table has some 150,000 lines and the kernel takes its time to print them: one pass serves all names.

use std::{
    collections::BTreeMap,
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
        let mut found: BTreeMap<String, Symbol> = BTreeMap::new();
        let mut line = String::new();
        while {
            line.clear();
            reader.read_line(&mut line)?
        } != 0
        {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(_kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Some(base) = base(name) else { continue };
            if !names.contains(&base) {
                continue;
            }
            let address = u64::from_str_radix(address, 16).ok().filter(|&address| address != 0);
            let symbol = Symbol { name: name.to_owned(), address };
            // The plain name is the function; variants count only where there is no such.
            if name == base || !found.contains_key(base) {
                found.insert(base.to_owned(), symbol);
            }
        }
        Ok(Self { found })
    }

    /// The symbol of that name, or a compiler's variant of it (`.isra.0`, `.constprop.0`): the same code, whose
    /// parameters may be fewer and in other places.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.found.get(name)
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
