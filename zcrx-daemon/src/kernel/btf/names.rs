//! Type information with the kernel's ids and few names, for readers that look for the id of a name.

use std::collections::BTreeSet;

use super::{Btf, HEADER_LEN, MAGIC, Result, kind};

/// Version of the format.
const VERSION: u8 = 1;

impl Btf {
    /// Returns a blob in which only the functions and typedefs of these names have a name, under their ids; each other type is a
    /// nameless qualifier of `void`.
    ///
    /// aya reads every type with its members, and compares the names of all functions for each program. Fails where this type
    /// information is damaged.
    pub fn only_named(&self, names: &[String]) -> Result<Vec<u8>> {
        let names: BTreeSet<&[u8]> = names.iter().map(String::as_bytes).collect();
        let mut types = Vec::with_capacity(self.positions.len() * 3 * size_of::<u32>());
        // The first string is the empty one.
        let mut strings = vec![0];
        for &position in &self.positions {
            let record = self.record_at(position as usize)?;
            let mut words = [0, kind::VOLATILE << 24, 0];
            if let kind::FUNC | kind::TYPEDEF = record.kind {
                let name = self.string(record.name)?;
                if names.contains(name) {
                    words = [strings.len() as u32, record.kind << 24, record.value];
                    strings.extend_from_slice(name);
                    strings.push(0);
                }
            }
            types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        }
        let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
        let mut blob = MAGIC.to_ne_bytes().to_vec();
        blob.extend([VERSION, 0]);
        for word in [HEADER_LEN as u32, 0, types_len, types_len, strings_len] {
            blob.extend_from_slice(&word.to_ne_bytes());
        }
        blob.append(&mut types);
        blob.append(&mut strings);
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::super::blob::Builder;
    use super::*;

    #[test]
    fn named_types_keep_their_ids_and_others_lose_their_names() {
        let mut builder = Builder::new();
        let number = builder.integer(4);
        builder.structure("task", 8, &[("pid", number, 0)]);
        builder.function("wanted", number, &[number]);
        builder.function("unwanted", number, &[]);
        builder.typedef("btf_trace_wanted", number);
        builder.typedef("wanted_too", number);
        let whole = Btf::parse(&builder.build()).expect("a blob");
        let names = ["wanted", "btf_trace_wanted"].map(str::to_owned);
        let only = whole.only_named(&names).expect("it can be read");
        let few = Btf::parse(&only).expect("a blob");
        assert_eq!(few.positions.len(), whole.positions.len());
        let named = |btf: &Btf| -> Vec<(u32, String)> {
            let records = (1..=btf.positions.len() as u32).map(|id| (id, btf.record(id).expect("a record")));
            let functions = records.filter(|(_, record)| matches!(record.kind, kind::FUNC | kind::TYPEDEF));
            functions
                .map(|(id, record)| {
                    (id, String::from_utf8_lossy(btf.string(record.name).expect("a name")).into_owned())
                })
                .collect()
        };
        let expected: Vec<_> = named(&whole).into_iter().filter(|(_, name)| names.contains(name)).collect();
        assert_eq!(named(&few), expected);
        assert_eq!(expected.len(), 2);
        aya::Btf::parse(&only, aya::Endianness::default()).expect("aya reads it");
    }
}
