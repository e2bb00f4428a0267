//! The daemon that was built carries its eBPF programs.

use anyhow::{Context, Result, bail};

use super::summary::{Outcome, Tally};
use xtask_tools::command::run;
use xtask_tools::workspace::{cargo, target};

/// An ELF file's first bytes: 64 bit, little endian, version 1.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01";

/// `e_machine` of BPF, and where it stands.
const EM_BPF: [u8; 2] = 247_u16.to_le_bytes();
const E_MACHINE: usize = 18;

/// What the kernel must read in an object before it lets its programs call GPL-only helpers.
const LICENCE: &[u8] = b"Dual MIT/GPL\0";

/// Builds the daemon and looks into it.
pub(super) fn check() -> Result<Outcome> {
    // As the demo builds it, so that it is built once for both.
    run(cargo().args(["build", "--package", "zcrx-daemon", "--bin", "zcrxd"]))?;
    let path = target()?.join("debug/zcrxd");
    let daemon = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(object) = bpf_object(&daemon) else {
        bail!(
            "{} carries no eBPF object: `cargo xtask setup`, then build again, and see what the build script says",
            path.display()
        );
    };
    if !contains(object, LICENCE) {
        bail!("the eBPF object has no licence that the kernel takes for GPL compatible");
    }
    println!("{} carries an eBPF object", path.display());
    Ok(Outcome::Checked(Tally::one(true)))
}

/// The part of a file that begins with a BPF object; the daemon aligns it, since its reader asks for that.
fn bpf_object(file: &[u8]) -> Option<&[u8]> {
    (0..file.len()).step_by(align_of::<u64>()).map(|start| &file[start..]).find(|rest| {
        rest.starts_with(ELF) && rest.get(E_MACHINE..).is_some_and(|rest| rest.starts_with(&EM_BPF))
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bpf_object_is_distinguished_from_the_host_program_around_it() {
        let elf = |machine: u16| {
            let mut elf = ELF.to_vec();
            elf.resize(E_MACHINE, 0);
            elf.extend(machine.to_le_bytes());
            elf
        };
        let host = [elf(62), vec![0; 100]].concat();
        assert_eq!(bpf_object(&host), None);
        let both = [host, elf(247)].concat();
        assert_eq!(bpf_object(&both), Some(&*elf(247)));
    }
}
