//! A kernel described as plain data: structures, functions, and the ways in which the next version may differ.

use std::collections::BTreeMap;

use zcrx_common::offsets::{Place, Shape};

use crate::kernel::blob::Builder;
use crate::probe::prototype::{Expected, Function};

/// Numbers from a seed (splitmix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit.max(1))) as u32
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes.
    Integer(u32),
    /// A structure that holds nothing but an integer of so many bytes.
    Atomic(u32),
    /// To a structure of that name; `""` for `void`.
    Pointer(String),
    /// Bytes of an element, number of elements.
    Array(u32, u32),
    /// A structure within the structure, described under a name of its own.
    Inner(String),
    /// A bit-field of an integer.
    Bits,
    Void,
}

/// A member: its offset and what it is.
type Member = (u32, Kind);
/// Parameters and result.
type Prototype = (Vec<Kind>, Kind);

/// A kernel.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// By structure and member.
    structures: BTreeMap<String, BTreeMap<String, Member>>,
    functions: Vec<(String, Prototype)>,
}

/// Bytes that a member may take here; offsets are multiples of it.
const ROOM: u32 = 1024;

impl Model {
    /// A kernel that has every field of the table and every function of the catalogue, laid out at random.
    pub(super) fn current(
        fields: &[(&str, Shape, &[Place])],
        functions: impl Iterator<Item = &'static Function>,
        random: &mut Random,
    ) -> Self {
        let mut model = Self::default();
        for (_, shape, places) in fields {
            for place in *places {
                model.add(place, *shape, random);
            }
        }
        for function in functions {
            if model.prototypes(function.name).next().is_none() {
                let parameters = function.parameters.iter().map(|expected| of(*expected)).collect();
                model.functions.push((function.name.to_owned(), (parameters, of(function.result))));
            }
        }
        model
    }

    /// Adds what a path names, and what lies on the way.
    fn add(&mut self, place: &Place, shape: Shape, random: &mut Random) {
        let mut structure = place.structure.to_owned();
        self.structures.entry(structure.clone()).or_default();
        if shape == Shape::Size {
            return;
        }
        let steps: Vec<&str> = place.path.split("->").collect();
        for (step, path) in steps.iter().enumerate() {
            let parts: Vec<&str> = path.split('.').collect();
            for (position, part) in parts.iter().enumerate() {
                let last = position + 1 == parts.len();
                let within = format!("{structure}__{}", part.split('[').next().unwrap_or(part));
                let kind = match (last, step + 1 == steps.len(), part.split_once('[')) {
                    (_, _, Some(_)) => Kind::Array(8, 31),
                    (true, true, None) => of_shape(shape, random),
                    (true, false, None) => Kind::Pointer(within.clone()),
                    (false, _, None) => Kind::Inner(within.clone()),
                };
                let name = part.split('[').next().unwrap_or(part);
                let members = self.structures.entry(structure.clone()).or_default();
                let next = members.len() as u32 * ROOM + random.below(ROOM / 16) * 8;
                let member = members.entry(name.to_owned()).or_insert((next, kind.clone()));
                // One path may end where another goes on.
                if matches!(kind, Kind::Inner(_)) || step + 1 < steps.len() && last {
                    member.1 = kind;
                }
                self.structures.entry(within.clone()).or_default();
                structure = within;
            }
        }
    }

    /// The ways in which this kernel differs from the one before; returns them for messages.
    pub(super) fn alter(&mut self, random: &mut Random) -> Vec<String> {
        (0..=random.below(6)).map(|_| self.alter_once(random)).collect()
    }

    fn alter_once(&mut self, random: &mut Random) -> String {
        if random.one_in(3) {
            return self.alter_function(random);
        }
        let names: Vec<String> = self
            .structures
            .iter()
            .filter(|(_, members)| !members.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        let structure = names[random.below(names.len() as u32) as usize].clone();
        if random.one_in(12) {
            let members = self.structures.remove(&structure).unwrap_or_default();
            self.structures.insert(format!("{structure}_renamed"), members);
            return format!("{structure} is renamed");
        }
        let Some(members) = self.structures.get_mut(&structure) else { return String::new() };
        let keys: Vec<String> = members.keys().cloned().collect();
        let name = keys[random.below(keys.len() as u32) as usize].clone();
        let Some((offset, kind)) = members.remove(&name) else { return String::new() };
        let (offset, kind, kept, what) = match random.below(8) {
            0 => (offset, kind, None, "is gone"),
            1 => (offset, kind, Some(format!("{name}_new")), "is renamed"),
            2 | 3 => (random.below(1 << 16) & !7, kind, Some(name.clone()), "is moved"),
            4 => (offset, Kind::Pointer("unrelated".to_owned()), Some(name.clone()), "became a pointer"),
            5 => (offset, Kind::Integer(1 << random.below(4)), Some(name.clone()), "became an integer"),
            6 => (
                offset,
                Kind::Array(1 << random.below(4), random.below(600)),
                Some(name.clone()),
                "became an array",
            ),
            _ => (offset, Kind::Bits, Some(name.clone()), "became a bit-field"),
        };
        if let Some(kept) = kept {
            members.insert(kept, (offset, kind));
        }
        format!("{structure}.{name} {what}")
    }

    fn alter_function(&mut self, random: &mut Random) -> String {
        let place = random.below(self.functions.len() as u32) as usize;
        let name = self.functions[place].0.clone();
        let (parameters, result) = &mut self.functions[place].1;
        let at = random.below(parameters.len() as u32 + 1) as usize;
        let what = match random.below(6) {
            0 => {
                self.functions.remove(place);
                if self.functions.is_empty() {
                    self.functions.push(("other".to_owned(), (Vec::new(), Kind::Void)));
                }
                "is gone"
            }
            1 => {
                parameters.insert(at, Kind::Integer(4));
                "has one parameter more"
            }
            2 => {
                parameters.truncate(at);
                "has fewer parameters"
            }
            3 => {
                let to = if random.one_in(2) { "unrelated" } else { "" };
                if let Some(parameter) = parameters.get_mut(at) {
                    *parameter = Kind::Pointer(to.to_owned());
                }
                "has another parameter"
            }
            4 => {
                *result = if random.one_in(2) { Kind::Void } else { Kind::Integer(8) };
                "returns something else"
            }
            _ => {
                let twin = (vec![Kind::Integer(2)], Kind::Void);
                self.functions.push((name.clone(), twin));
                "has a namesake"
            }
        };
        format!("{name} {what}")
    }

    /// Offset and kind of a field.
    pub(super) fn field(&self, structure: &str, path: &str) -> Option<(u32, Kind)> {
        let mut structure = structure.to_owned();
        let mut found: Option<(u32, Kind)> = None;
        for step in path.split("->") {
            let mut base = 0;
            if let Some((_, kind)) = found.take() {
                let Kind::Pointer(to) = kind else { return None };
                structure = to;
            }
            for part in step.split('.') {
                if let Some((_, kind)) = found.take() {
                    let Kind::Inner(within) = kind else { return None };
                    structure = within;
                }
                let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                    Some((name, index)) => (name, Some(index.parse::<u32>().ok()?)),
                    None => (part, None),
                };
                let (offset, kind) = self.structures.get(&structure)?.get(name)?;
                base += offset;
                found = match (index, kind) {
                    (_, Kind::Bits) => return None,
                    (None, kind) => Some((base, kind.clone())),
                    (Some(index), Kind::Array(element, count)) if index < *count => {
                        base += index * element;
                        Some((base, Kind::Integer(*element)))
                    }
                    (Some(_), _) => return None,
                };
            }
        }
        found
    }

    /// Size of a structure.
    pub(super) fn size(&self, structure: &str) -> Option<u32> {
        let members = self.structures.get(structure)?;
        Some(members.values().map(|(offset, _)| offset + ROOM * 4).max().unwrap_or(ROOM))
    }

    /// Every prototype that a name has.
    pub(super) fn prototypes(&self, name: &str) -> impl Iterator<Item = (&Vec<Kind>, &Kind)> {
        self.functions
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, (parameters, result))| (parameters, result))
    }

    /// The kernel as BTF, in one of the forms that kernels write it.
    pub(super) fn write(&self, random: &mut Random) -> Vec<u8> {
        let mut writer = Writer { builder: Builder::new(), model: self, done: BTreeMap::new() };
        writer.builder.layout = random.one_in(2);
        if writer.builder.layout {
            writer.builder.future(random.below(5));
        }
        for name in self.structures.keys() {
            writer.structure(name);
        }
        for (name, (parameters, result)) in &self.functions {
            let parameters: Vec<u32> = parameters.iter().map(|kind| writer.kind(kind)).collect();
            let result = writer.kind(result);
            writer.builder.function(name, result, &parameters);
        }
        writer.builder.build()
    }
}

struct Writer<'a> {
    builder: Builder,
    model: &'a Model,
    /// Ids of structures that were written.
    done: BTreeMap<String, u32>,
}

impl Writer<'_> {
    fn structure(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.done.get(name) {
            return id;
        }
        let Some(members) = self.model.structures.get(name) else { return self.builder.forward(name) };
        let size = self.model.size(name).unwrap_or(0);
        // Bit-fields need a structure whose members all say how many bits they have.
        let packed = members.values().any(|(_, kind)| *kind == Kind::Bits);
        let types: Vec<(&str, u32, u32, u32)> = members
            .iter()
            .map(|(member, (offset, kind))| {
                let width = if *kind == Kind::Bits { 3 } else { 0 };
                (member.as_str(), self.kind(kind), offset * 8 + u32::from(width != 0), width)
            })
            .collect();
        let id = if packed {
            self.builder.packed(name, size, &types)
        } else {
            let plain: Vec<_> = types.iter().map(|&(name, id, bit, _)| (name, id, bit / 8)).collect();
            self.builder.structure(name, size, &plain)
        };
        self.done.insert(name.to_owned(), id);
        id
    }

    fn kind(&mut self, kind: &Kind) -> u32 {
        match kind {
            Kind::Integer(bytes) => {
                let integer = self.builder.integer(*bytes);
                self.builder.typedef("number_t", integer)
            }
            Kind::Bits => self.builder.integer(4),
            Kind::Atomic(bytes) => {
                let integer = self.builder.integer(*bytes);
                let atomic = self.builder.structure("", *bytes, &[("counter", integer, 0)]);
                self.builder.typedef("atomic_t", atomic)
            }
            Kind::Pointer(to) if to.is_empty() => self.builder.pointer(0),
            Kind::Pointer(to) => {
                // What is pointed to may come later, and point back: then only the name is known here.
                let target = match self.done.get(to) {
                    Some(&id) => id,
                    None if to.contains("__") => self.structure(to),
                    None => self.builder.forward(to),
                };
                let constant = self.builder.constant(target);
                self.builder.pointer(constant)
            }
            Kind::Array(element, count) => {
                let integer = self.builder.integer(*element);
                self.builder.array(integer, *count)
            }
            Kind::Inner(name) => self.structure(name),
            Kind::Void => 0,
        }
    }
}

fn of(expected: Expected) -> Kind {
    match expected {
        Expected::Structure(name) => Kind::Pointer(name.to_owned()),
        Expected::Pointer => Kind::Pointer(String::new()),
        Expected::Integer(bytes) => Kind::Integer(bytes),
        Expected::Nothing => Kind::Void,
    }
}

fn of_shape(shape: Shape, random: &mut Random) -> Kind {
    match shape {
        Shape::Integer(bytes) if random.one_in(4) => Kind::Atomic(bytes),
        Shape::Integer(bytes) => Kind::Integer(bytes),
        Shape::Pointer(to) => Kind::Pointer(to.unwrap_or_default().to_owned()),
        Shape::Array { bytes, element } => Kind::Array(element, bytes / element),
        Shape::Structure | Shape::Size => Kind::Integer(8),
    }
}
