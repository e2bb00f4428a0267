//! A hand-made blob for the rules, damaged copies of it for the errors, and the running kernel for real life.

use proptest::prelude::*;

use super::*;

/// Puts a blob together, record by record.
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    next: u32,
}

impl Builder {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], next: 1 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        offset
    }

    /// Adds a record and returns its id.
    fn add(&mut self, name: &str, kind: u32, len: u32, flag: bool, value: u32, tail: &[u32]) -> u32 {
        let name = self.name(name);
        let info = kind << 24 | len | u32::from(flag) << 31;
        for word in [name, info, value].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.next += 1;
        self.next - 1
    }

    fn structure(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let tail: Vec<u32> =
            members.iter().flat_map(|&(name, id, bytes)| [self.name(name), id, bytes * 8]).collect();
        self.add(name, kind, members.len() as u32, false, size, &tail)
    }

    fn build(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.extend_from_slice(&MAGIC.to_ne_bytes());
        blob.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [HEADER_LEN as u32, 0, types, types, strings] {
            blob.extend_from_slice(&word.to_ne_bytes());
        }
        blob.extend_from_slice(&self.types);
        blob.extend_from_slice(&self.strings);
        blob
    }
}

/// `struct inner { u32 a; u32 b; }; struct outer { u32 x; union { inner_t i; u32 *p; }; u32 list[4]; }` and
/// `int probed(u32, u32)`, `tracepoint traced`.
fn sample() -> Vec<u8> {
    let mut b = Builder::new();
    let int = b.add("unsigned int", kind::INT, 0, false, 4, &[32]);
    let inner = b.structure("inner", kind::STRUCT, 8, &[("a", int, 0), ("b", int, 4)]);
    let constant = b.add("", kind::CONST, 0, false, inner, &[]);
    let inner_t = b.add("inner_t", kind::TYPEDEF, 0, false, constant, &[]);
    let pointer = b.add("", kind::PTR, 0, false, int, &[]);
    let union = b.structure("", kind::UNION, 8, &[("i", inner_t, 0), ("p", pointer, 0)]);
    let list = b.add("", kind::ARRAY, 0, false, 0, &[int, int, 4]);
    b.structure("outer", kind::STRUCT, 32, &[("x", int, 0), ("", union, 8), ("list", list, 16)]);
    let bits = [b.name("flag"), int, 1 << 24 | 3];
    b.add("packed", kind::STRUCT, 1, true, 4, &bits);
    let prototype = b.add("", kind::FUNC_PROTO, 2, false, int, &[0, int, 0, int]);
    b.add("probed", kind::FUNC, 0, false, prototype, &[]);
    b.add("btf_trace_traced", kind::TYPEDEF, 0, false, pointer, &[]);
    b.build()
}

const fn field(offset: u32, size: u32) -> Field {
    Field { offset, size }
}

#[test]
fn fields_are_found_through_anonymous_members_typedefs_and_arrays() -> Result<()> {
    let btf = Btf::parse(&sample())?;
    assert_eq!(btf.field("outer", "x")?, Some(field(0, 4)));
    assert_eq!(btf.field("outer", "i")?, Some(field(8, 8)));
    assert_eq!(btf.field("outer", "i.b")?, Some(field(12, 4)));
    assert_eq!(btf.field("outer", "p")?, Some(field(8, size_of::<usize>() as u32)));
    assert_eq!(btf.field("outer", "list")?, Some(field(16, 16)));
    assert_eq!(btf.field("outer", "list[3]")?, Some(field(28, 4)));
    Ok(())
}

#[test]
fn what_a_kernel_does_not_have_is_none() -> Result<()> {
    let btf = Btf::parse(&sample())?;
    for (structure, path) in [
        ("nothing", "x"),
        ("outer", "y"),
        ("outer", "i.c"),
        ("outer", "p.a"),
        ("outer", "list[4]"),
        ("outer", "x[0]"),
    ] {
        assert_eq!(btf.field(structure, path)?, None, "{structure}.{path}");
    }
    assert_eq!(btf.function("outer")?, None);
    assert!(!btf.has_tracepoint("probed")?);
    Ok(())
}

#[test]
fn functions_and_tracepoints_are_found() -> Result<()> {
    let btf = Btf::parse(&sample())?;
    assert_eq!(btf.function("probed")?, Some(Function { arity: 2 }));
    assert!(btf.has_tracepoint("traced")?);
    Ok(())
}

#[test]
fn a_bit_field_is_an_error_and_no_offset() -> Result<()> {
    let btf = Btf::parse(&sample())?;
    assert!(matches!(btf.field("packed", "flag"), Err(BtfError::BitField { .. })));
    Ok(())
}

#[test]
fn circles_end() -> Result<()> {
    let mut b = Builder::new();
    b.add("loop_t", kind::TYPEDEF, 0, false, 1, &[]);
    b.structure("s", kind::STRUCT, 8, &[("t", 1, 0), ("", 3, 0)]);
    b.structure("", kind::STRUCT, 8, &[("", 3, 0)]);
    b.add("", kind::ARRAY, 0, false, 0, &[4, 4, 1]);
    b.structure("a", kind::STRUCT, 8, &[("array", 4, 0)]);
    let btf = Btf::parse(&b.build())?;
    for (structure, path) in [("s", "t"), ("s", "nothing"), ("a", "array")] {
        assert!(matches!(btf.field(structure, path), Err(BtfError::Damaged { .. })), "{structure}.{path}");
    }
    Ok(())
}

#[test]
fn the_running_kernel_knows_its_tasks() -> Result<()> {
    let btf = match Btf::from_kernel() {
        Err(BtfError::Unavailable { source, .. }) => {
            println!("skipped: this kernel shows no BTF: {source}");
            return Ok(());
        }
        other => other?,
    };
    assert_eq!(btf.field("task_struct", "comm")?.map(|field| field.size), Some(16));
    assert_eq!(btf.function("schedule")?, Some(Function { arity: 0 }));
    assert!(btf.has_tracepoint("sched_switch")?);
    Ok(())
}

/// Asks for everything, so that every reader walks over the damage.
fn use_all(blob: &[u8]) {
    if let Ok(btf) = Btf::parse(blob) {
        for (structure, path) in
            [("outer", "i.b"), ("outer", "list[3]"), ("outer", "none"), ("packed", "flag")]
        {
            drop(btf.field(structure, path));
        }
        drop(btf.function("probed"));
        drop(btf.has_tracepoint("traced"));
    }
}

#[test]
fn every_cut_is_an_error() {
    let blob = sample();
    for len in 0..blob.len() {
        assert!(Btf::parse(&blob[..len]).is_err(), "cut to {len} of {} bytes", blob.len());
    }
}

proptest! {
    #[test]
    fn damage_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut blob = sample();
        for (index, byte) in changes {
            let index = index.index(blob.len());
            blob[index] = byte;
        }
        use_all(&blob);
    }

    #[test]
    fn noise_never_panics(mut blob in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Some(magic) = blob.get_mut(..2) {
            magic.copy_from_slice(&MAGIC.to_ne_bytes());
        }
        use_all(&blob);
    }
}
