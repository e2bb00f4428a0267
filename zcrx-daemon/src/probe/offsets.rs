//! The offsets of kernel fields that the programs read, from the running kernel's type information.

use tracing::{debug, warn};
use zcrx_common::offsets::{ABSENT, Field, Offsets};

use crate::kernel::{Btf, BtfError, Part};

/// Looks every field up. Where the kernel shows no types, or a field is not there, the programs do without.
pub(super) fn resolve(btf: &Part<Btf>) -> Offsets {
    let btf = match btf {
        Ok(btf) => btf,
        Err(reason) => {
            warn!("kernel structures cannot be read: {reason}");
            return Offsets::NONE;
        }
    };
    let offsets = Offsets::resolve(|structure, path| match find(btf, structure, path) {
        Ok(field) => field,
        Err(error) => {
            warn!("{structure}.{path} cannot be read: {error}");
            None
        }
    });
    for (name, offset) in offsets.entries() {
        if offset == ABSENT {
            debug!("this kernel has no field for {name}");
        }
    }
    offsets
}

/// A field, or under the path `sizeof` the size of the structure.
fn find(btf: &Btf, structure: &str, path: &str) -> Result<Option<Field>, BtfError> {
    if path == "sizeof" {
        let size = btf.structure_size(structure)?;
        return Ok(size.map(|size| Field { offset: size, size: 4 }));
    }
    let field = btf.field(structure, path)?;
    Ok(field.map(|field| Field { offset: field.offset, size: field.size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_types_every_field_is_absent() {
        assert_eq!(resolve(&Err("no types".to_owned())), Offsets::NONE);
    }

    #[test]
    fn the_running_kernel_has_what_every_kernel_has() {
        let Ok(btf) = Btf::from_kernel() else {
            println!("skipped: this kernel shows no types");
            return;
        };
        let offsets = resolve(&Ok(btf));
        for (name, offset) in [
            ("syscall_arg2", offsets.syscall_arg2),
            ("net_inum", offsets.net_inum),
            ("netdev_name", offsets.netdev_name),
        ] {
            assert_ne!(offset, ABSENT, "{name}");
        }
    }
}
