//! The kernel's type information with one field in the wrong place, for programs that start while it is there.
//!
//! A field that keeps its name and type and changes its meaning is what no reader of type information can see. Here the place is
//! what changes, and the kernel stays as it is: the figure that is read is another one, or none.

use std::fs;

use anyhow::{Context, Result};

use super::btf::Blob;
use super::random::Random;
use super::work;

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
/// Byte offset in a member's record at which the member's place stands.
const PLACE: usize = 8;
/// By how many bits a field moves that has no sibling of its type.
const STEP: u32 = 64;

/// The altered information, in the place of the kernel's until it is dropped.
#[derive(Debug)]
pub(crate) struct MovedField {
    /// What was done.
    pub what: String,
}

impl MovedField {
    /// Exchanges a field with another one of its type in the same structure, or moves it where there is none. `None` if this kernel has no
    /// such field.
    pub(crate) fn of(structure: &str, path: &str, random: &mut Random) -> Result<Option<Self>> {
        let mut blob = Blob::of_kernel()?;
        let Some(field) = blob.field(structure, path)? else { return Ok(None) };
        let own = blob.word(field.at + PLACE)?;
        let siblings: Vec<_> = field.siblings.iter().filter(|sibling| sibling.kind == field.kind).collect();
        let what = if siblings.is_empty() {
            let moved = if own < STEP { own + STEP } else { own - STEP };
            blob.set(field.at + PLACE, moved);
            format!("{structure}.{path} is read {} bytes away", STEP / 8)
        } else {
            let other = random.one_of(&siblings);
            let theirs = blob.word(other.at + PLACE)?;
            blob.set(field.at + PLACE, theirs);
            blob.set(other.at + PLACE, own);
            format!("{structure}.{path} is read where {} is", other.name)
        };
        let altered = work().join("vmlinux.btf");
        fs::write(&altered, blob.bytes()).context("cannot write the altered type information")?;
        rustix::mount::mount_bind(&altered, KERNEL).context("cannot put it in the kernel's place")?;
        Ok(Some(Self { what }))
    }
}

impl Drop for MovedField {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(KERNEL, rustix::mount::UnmountFlags::DETACH) {
            eprintln!("{KERNEL} stays altered: {error}");
        }
    }
}
