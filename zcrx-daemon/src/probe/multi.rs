//! Programs attached as kprobe_multi, which aya cannot do: it loads every kprobe program for perf events.
//!
//! The same programs serve; what differs is how they are loaded. So the object is read once more, and its programs are
//! pointed to the maps that aya has made.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::{Ebpf, maps::Map};
use aya_obj::Object;

use super::{bpf, object};

/// Why a program could not be attached.
#[derive(Debug)]
pub(super) enum NotAttached {
    /// The object cannot be made ready.
    Object(String),
    /// The kernel did not take the program.
    Load(bpf::NotLoaded),
    /// The kernel took the program, and did not attach it.
    Link(io::Error),
}

/// One attached program.
pub(super) struct Attached {
    /// Its name in the object.
    pub(super) name: &'static str,
    pub(super) program: OwnedFd,
    /// Closed, it detaches the program.
    pub(super) link: OwnedFd,
}

/// Attaches, and holds what is attached.
#[derive(Default)]
pub(super) struct Multi {
    /// With its programs pointed to the maps; read when first needed.
    object: Option<Object>,
    attached: Vec<Attached>,
}

impl Multi {
    /// Attaches a program to a function, at its entry or its return.
    pub(super) fn attach(
        &mut self,
        ebpf: &Ebpf,
        name: &'static str,
        function: &str,
        on_return: bool,
    ) -> Result<(), NotAttached> {
        let object = match &mut self.object {
            Some(object) => object,
            none => none.insert(ready(ebpf).map_err(NotAttached::Object)?),
        };
        let missing = || NotAttached::Object(format!("the eBPF object has no program {name}"));
        let program = object.programs.get(name).ok_or_else(missing)?;
        let code = object.functions.get(&program.function_key()).ok_or_else(missing)?;
        let program =
            bpf::load_kprobe_multi(name, &code.instructions, &program.license).map_err(NotAttached::Load)?;
        let link = bpf::link_kprobe_multi(program.as_fd(), function, on_return).map_err(NotAttached::Link)?;
        self.attached.push(Attached { name, program, link });
        Ok(())
    }

    /// Detaches a program; one that is not attached has nothing to lose.
    pub(super) fn detach(&mut self, name: &str) {
        self.attached.retain(|attached| attached.name != name);
    }

    /// What is attached, when nothing more will be: the object is let go.
    pub(super) fn finish(self) -> Vec<Attached> {
        self.attached
    }
}

/// Reads the object and points its programs to the maps.
fn ready(ebpf: &Ebpf) -> Result<Object, String> {
    let words = |error: &dyn std::error::Error| object::words(error);
    let mut read = Object::parse(object::OBJECT).map_err(|error| words(&error))?;
    let code: HashSet<usize> = read.functions.keys().map(|(section, _)| *section).collect();
    // The relocation wants the maps while it changes the programs beside them.
    let maps = std::mem::take(&mut read.maps);
    let places: Vec<_> = maps
        .iter()
        .filter_map(|(name, map)| Some((name.as_str(), map_fd(ebpf.map(name)?)?.as_raw_fd(), map)))
        .collect();
    read.relocate_maps(places.into_iter(), &code).map_err(|error| words(&error))?;
    read.relocate_calls(&code).map_err(|error| words(&error))?;
    Ok(read)
}

/// The descriptor of one of the kinds of map that our programs have.
pub(super) fn map_fd(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}
