//! Writes BTF for tests, record by record.

use super::{HEADER_LEN, HEADER_WITH_LAYOUT_LEN, LAYOUT, MAGIC, kind};

/// A blob in the making.
pub(crate) struct Builder {
    pub(super) types: Vec<u8>,
    pub(super) strings: Vec<u8>,
    next: u32,
    /// Whether the blob has a layout section, as Linux 7.3 writes it.
    pub(crate) layout: bool,
}

/// A kind that no kernel has yet.
pub(crate) const FUTURE_KIND: u32 = 20;
/// Bytes after the head of a record of that kind, and bytes per element.
const FUTURE_LAYOUT: (u8, u8) = (8, 4);

impl Builder {
    pub(crate) fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], next: 1, layout: false }
    }

    pub(super) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        offset
    }

    /// Adds a record and returns its id.
    pub(super) fn add(
        &mut self,
        name: &str,
        kind: u32,
        len: u32,
        flag: bool,
        value: u32,
        tail: &[u32],
    ) -> u32 {
        let name = self.name(name);
        let info = kind << 24 | len | u32::from(flag) << 31;
        for word in [name, info, value].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn integer(&mut self, bytes: u32) -> u32 {
        self.add("integer", kind::INT, 0, false, bytes, &[bytes * 8])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.add("", kind::PTR, 0, false, to, &[])
    }

    pub(crate) fn array(&mut self, element: u32, count: u32) -> u32 {
        self.add("", kind::ARRAY, 0, false, 0, &[element, element, count])
    }

    pub(crate) fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.add(name, kind::TYPEDEF, 0, false, of, &[])
    }

    pub(crate) fn constant(&mut self, of: u32) -> u32 {
        self.add("", kind::CONST, 0, false, of, &[])
    }

    /// A structure of which only the name is known.
    pub(crate) fn forward(&mut self, name: &str) -> u32 {
        self.add(name, kind::FWD, 0, false, 0, &[])
    }

    /// A structure with members (name, type, byte offset).
    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.compound(name, kind::STRUCT, size, members)
    }

    pub(super) fn compound(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let tail: Vec<u32> =
            members.iter().flat_map(|&(name, id, bytes)| [self.name(name), id, bytes * 8]).collect();
        self.add(name, kind, members.len() as u32, false, size, &tail)
    }

    /// A structure whose members (name, type, bit offset, bits) may be bit-fields.
    pub(crate) fn packed(&mut self, name: &str, size: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        let tail: Vec<u32> = members
            .iter()
            .flat_map(|&(name, id, bit, width)| [self.name(name), id, width << 24 | bit])
            .collect();
        self.add(name, kind::STRUCT, members.len() as u32, true, size, &tail)
    }

    pub(crate) fn function(&mut self, name: &str, result: u32, parameters: &[u32]) {
        let tail: Vec<u32> = parameters.iter().flat_map(|&id| [0, id]).collect();
        let prototype = self.add("", kind::FUNC_PROTO, parameters.len() as u32, false, result, &tail);
        self.add(name, kind::FUNC, 0, false, prototype, &[]);
    }

    /// A record of a kind that the reader does not know.
    pub(crate) fn future(&mut self, elements: u32) {
        let tail = vec![0xffff_ffff; 2 + elements as usize];
        self.add("future", FUTURE_KIND, elements, false, 0, &tail);
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let layout: Vec<u8> = if self.layout {
            let known = LAYOUT.iter().map(|&(info, element)| (info as u8, element as u8));
            known.chain([FUTURE_LAYOUT]).flat_map(|(info, element)| [info, element, 0, 0]).collect()
        } else {
            Vec::new()
        };
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut words = vec![HEADER_LEN as u32, 0, types, types, strings];
        if self.layout {
            words[0] = HEADER_WITH_LAYOUT_LEN as u32;
            // The section is aligned to four bytes.
            words.extend([(types + strings).next_multiple_of(4), layout.len() as u32]);
        }
        let mut blob = MAGIC.to_ne_bytes().to_vec();
        blob.extend_from_slice(&[1, 0]);
        blob.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        blob.extend_from_slice(&self.types);
        blob.extend_from_slice(&self.strings);
        if self.layout {
            blob.resize(blob.len().next_multiple_of(4), 0);
            blob.extend(layout);
        }
        blob
    }
}
