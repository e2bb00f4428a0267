//! Programs attached as kprobe_multi, which aya cannot do: it loads every kprobe program for perf events.
//!
//! The same programs serve; what differs is how they are loaded. So the object is read once more, and its programs are
//! pointed to the maps that aya has made.

use std::{
    collections::{HashMap, HashSet},
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
pub(super) struct Multi {
    /// Every map that aya has made, by name. Descriptors of its own: readers take maps out of aya's object, and may close them.
    maps: HashMap<String, OwnedFd>,
    /// With its programs pointed to the maps; read when first needed.
    object: Option<Object>,
    attached: Vec<Attached>,
}

impl Multi {
    /// For programs that use the maps of this object. Must come before any map is taken out.
    pub(super) fn new(ebpf: &Ebpf) -> Self {
        let descriptor = |map: &Map| map_fd(map)?.try_clone_to_owned().ok();
        let maps = ebpf.maps().filter_map(|(name, map)| Some((name.to_owned(), descriptor(map)?)));
        Self { maps: maps.collect(), object: None, attached: Vec::new() }
    }

    /// Attaches a program to a function, at its entry or its return.
    pub(super) fn attach(
        &mut self,
        name: &'static str,
        function: &str,
        on_return: bool,
    ) -> Result<(), NotAttached> {
        let object = match &mut self.object {
            Some(object) => object,
            none => none.insert(ready(&self.maps).map_err(NotAttached::Object)?),
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
fn ready(descriptors: &HashMap<String, OwnedFd>) -> Result<Object, String> {
    let words = |error: &dyn std::error::Error| object::words(error);
    let mut read = Object::parse(object::OBJECT).map_err(|error| words(&error))?;
    let code: HashSet<usize> = read.functions.keys().map(|(section, _)| *section).collect();
    // The relocation wants the maps while it changes the programs beside them.
    let maps = std::mem::take(&mut read.maps);
    // The relocation takes any other map of the section for one that is missing here.
    let place = |(name, map)| {
        let descriptor = descriptors.get(name).ok_or_else(|| format!("no descriptor of the map {name}"))?;
        Ok((String::as_str(name), descriptor.as_raw_fd(), map))
    };
    let places = maps.iter().map(place).collect::<Result<Vec<_>, String>>()?;
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
