//! Whether a kernel's function is the one that the programs were written for.
//!
//! A program reads parameters from registers. If a function has gained a parameter or changed one, the program would read
//! something else without noticing, whatever mechanism it is attached by. So the prototype in the kernel's type information has to
//! be the expected one before anything is attached.

use crate::kernel::{Btf, Function as Found, Part, Type};

/// What a parameter or a result has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A pointer to a structure of that name.
    Structure(&'static str),
    /// A pointer to anything.
    Pointer,
    /// An integer of so many bytes.
    Integer(u32),
    /// No result.
    Nothing,
}

impl Expected {
    fn is(self, ty: &Type) -> bool {
        match (self, ty) {
            (Self::Structure(name), Type::Pointer { to }) => to.as_deref() == Some(name),
            (Self::Integer(bytes), Type::Integer { size }) => *size == bytes,
            (Self::Pointer, Type::Pointer { .. }) | (Self::Nothing, Type::Void) => true,
            _ => false,
        }
    }
}

/// A kernel function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Kernels that have it under this name.
    pub(super) kernels: &'static str,
    /// Its parameters.
    pub(super) parameters: &'static [Expected],
    /// Its result.
    pub(super) result: Expected,
    /// Whether a compiler's variant (`.isra.0`) serves where a program goes by address: only if the programs read no
    /// parameter, since a variant may have fewer.
    pub(super) variants: bool,
}

/// How the kernel's type information answers for a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the expected prototype.
    AsExpected,
    /// It has none of that name. The compiler may have inlined it or made a variant of it.
    Unknown,
    /// It must not be used, for the reason given.
    Different(String),
}

/// Compares a function's prototype with the expected one.
pub(super) fn verify(function: &Function, btf: &Part<Btf>) -> Verdict {
    let found = match btf {
        Ok(btf) => btf.function(function.name),
        Err(_) => return Verdict::Unknown,
    };
    match found {
        Ok(Some(found)) => compare(function, &found).map_or(Verdict::AsExpected, Verdict::Different),
        Ok(None) => Verdict::Unknown,
        Err(error) => Verdict::Different(error.to_string()),
    }
}

/// What is different, if anything is.
fn compare(function: &Function, found: &Found) -> Option<String> {
    let name = function.name;
    let (has, wanted) = (found.parameters.len(), function.parameters.len());
    if has != wanted {
        return Some(format!(
            "{name} has {has} parameters on this kernel, not {wanted}: its meaning may have changed"
        ));
    }
    for (place, (expected, ty)) in (1..).zip(function.parameters.iter().zip(&found.parameters)) {
        if !expected.is(ty) {
            return Some(format!(
                "parameter {place} of {name} is a {ty} on this kernel: its meaning may have changed"
            ));
        }
    }
    if function.result.is(&found.result) {
        None
    } else {
        Some(format!("{name} returns a {} on this kernel: its meaning may have changed", found.result))
    }
}
