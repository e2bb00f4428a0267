//! The offsets of kernel fields that the programs read, from a kernel's type information.

use std::collections::BTreeMap;

use tracing::debug;
use zcrx_common::offsets::{ABSENT, Offsets, Place, Shape};

use crate::kernel::{Btf, BtfError, Field, Part, Type};

/// Every field that was found, and why the others were not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) offsets: Offsets,
    absent: BTreeMap<&'static str, String>,
}

impl Resolved {
    /// A kernel that has every field, for tests of what is made of them.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self { offsets: Offsets::NONE, absent: BTreeMap::new() }
    }

    /// Whether all of these fields were found.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| !self.absent.contains_key(name))
    }

    /// Why the programs do without a field; `None` for a field that was found.
    pub(super) fn why_absent(&self, name: &str) -> Option<&str> {
        self.absent.get(name).map(String::as_str)
    }
}

/// Looks every field up. A field counts as found only if its type is what the programs take it for: a field that was moved is
/// found where it is, one that became something else is absent. The programs do without absent fields.
pub(super) fn resolve(btf: &Part<Btf>) -> Resolved {
    let mut absent = BTreeMap::new();
    let offsets = Offsets::resolve(|name, shape, places| {
        let found = match btf {
            Ok(btf) => find(btf, shape, places),
            Err(reason) => Err(reason.clone()),
        };
        found.unwrap_or_else(|reason| {
            debug!("this kernel has no field for {name}: {reason}");
            absent.insert(name, reason);
            ABSENT
        })
    });
    Resolved { offsets, absent }
}

/// The offset of the first place that has a field of that shape, or why none has.
fn find(btf: &Btf, shape: Shape, places: &[Place]) -> Result<u32, String> {
    let mut reasons = Vec::new();
    for place in places {
        match at(btf, shape, *place) {
            Ok(Some(offset)) => return Ok(offset),
            Ok(None) => reasons.push(format!("no {}.{}", place.structure, place.path)),
            Err(Unusable::Shape(ty)) => {
                reasons.push(format!("{}.{} is a {ty}", place.structure, place.path));
            }
            Err(Unusable::Unreadable(error)) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join(", "))
}

/// Why a field that exists cannot be used.
enum Unusable {
    Shape(Type),
    Unreadable(BtfError),
}

fn at(btf: &Btf, shape: Shape, place: Place) -> Result<Option<u32>, Unusable> {
    if shape == Shape::Size {
        return btf.structure_size(place.structure).map_err(Unusable::Unreadable);
    }
    let Some(Field { offset, ty }) = btf.field(place.structure, place.path).map_err(Unusable::Unreadable)?
    else {
        return Ok(None);
    };
    if has_shape(&ty, shape) { Ok(Some(offset)) } else { Err(Unusable::Shape(ty)) }
}

fn has_shape(ty: &Type, shape: Shape) -> bool {
    match (shape, ty) {
        (Shape::Integer(bytes), Type::Integer { size }) => *size >= bytes,
        (Shape::Pointer(None), Type::Pointer { .. }) | (Shape::Structure, _) => true,
        (Shape::Pointer(Some(wanted)), Type::Pointer { to }) => to.as_deref() == Some(wanted),
        (Shape::Array { bytes, element }, Type::Array { size, element: each }) => {
            *size >= bytes && *each == element
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_types_every_field_is_absent_and_says_why() {
        let resolved = resolve(&Err("no types".to_owned()));
        assert_eq!(resolved.offsets, Offsets::NONE);
        assert_eq!(resolved.why_absent("task_tgid"), Some("no types"));
    }

    #[test]
    fn the_running_kernel_has_what_every_kernel_has() {
        let Ok(btf) = Btf::from_kernel() else {
            println!("skipped: this kernel shows no types");
            return;
        };
        let resolved = resolve(&Ok(btf));
        for name in ["syscall_arg2", "net_inum", "netdev_name", "task_state", "task_run_delay"] {
            assert_eq!(resolved.why_absent(name), None, "{name}");
        }
    }
}
