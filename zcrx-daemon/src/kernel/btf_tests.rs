//! A hand-made blob for the rules, damaged copies of it for the errors, and the running kernel for real life.

use proptest::prelude::*;

use super::blob::Builder;
use super::*;

/// `struct inner { u32 a; u32 b; }; struct outer { u32 x; union { inner_t i; inner_t *p; }; u32 list[4]; atomic_t count; }` and
/// `void probed(inner_t *, u32, u32 *)`, `tracepoint traced`.
fn sample() -> Builder {
    let mut b = Builder::new();
    let int = b.integer(4);
    let inner = b.structure("inner", 8, &[("a", int, 0), ("b", int, 4)]);
    let constant = b.constant(inner);
    let inner_t = b.typedef("inner_t", constant);
    let pointer = b.pointer(int);
    let inner_pointer = b.pointer(inner_t);
    let union = b.compound("", kind::UNION, 8, &[("i", inner_t, 0), ("p", inner_pointer, 0)]);
    let list = b.array(int, 4);
    let counter = b.structure("", 4, &[("counter", int, 0)]);
    let atomic = b.typedef("atomic_t", counter);
    b.structure("outer", 36, &[("x", int, 0), ("", union, 8), ("list", list, 16), ("count", atomic, 32)]);
    b.packed("packed", 4, &[("flag", int, 3, 1)]);
    b.function("probed", 0, &[inner_pointer, int, pointer]);
    b.typedef("btf_trace_traced", pointer);
    b
}

const fn integer(offset: u32) -> Field {
    Field { offset, ty: Type::Integer { size: 4 } }
}

#[test]
fn fields_are_found_through_anonymous_members_typedefs_and_arrays() -> Result<()> {
    let btf = Btf::parse(&sample().build())?;
    assert_eq!(btf.field("outer", "x")?, Some(integer(0)));
    assert_eq!(btf.field("outer", "i")?, Some(Field { offset: 8, ty: Type::Other { size: 8 } }));
    assert_eq!(btf.field("outer", "i.b")?, Some(integer(12)));
    let pointer = Type::Pointer { to: Some("inner".to_owned()) };
    assert_eq!(btf.field("outer", "p")?, Some(Field { offset: 8, ty: pointer }));
    let array = Type::Array { size: 16, element: 4 };
    assert_eq!(btf.field("outer", "list")?, Some(Field { offset: 16, ty: array }));
    assert_eq!(btf.field("outer", "list[3]")?, Some(integer(28)));
    assert_eq!(btf.field("outer", "count")?, Some(integer(32)), "an atomic_t is an integer");
    Ok(())
}

#[test]
fn what_a_kernel_does_not_have_is_none() -> Result<()> {
    let btf = Btf::parse(&sample().build())?;
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
    let btf = Btf::parse(&sample().build())?;
    let pointer = |to: Option<&str>| Type::Pointer { to: to.map(str::to_owned) };
    let parameters = vec![pointer(Some("inner")), Type::Integer { size: 4 }, pointer(None)];
    assert_eq!(btf.function("probed")?, Some(Function { parameters, result: Type::Void }));
    assert!(btf.has_tracepoint("traced")?);
    Ok(())
}

#[test]
fn paths_follow_pointers() -> Result<()> {
    let btf = Btf::parse(&sample().build())?;
    assert_eq!(btf.field("outer", "p->b")?, Some(integer(4)), "the offset counts from the pointer's target");
    assert_eq!(btf.field("outer", "p->c")?, None);
    assert_eq!(btf.field("outer", "x->b")?, None, "an integer points nowhere");
    Ok(())
}

#[test]
fn functions_of_one_name_must_agree() -> Result<()> {
    let mut b = sample();
    b.function("twice", 0, &[]);
    b.function("twice", 0, &[]);
    assert!(Btf::parse(&b.build())?.function("twice")?.is_some());
    let int = b.integer(4);
    b.function("twice", 0, &[int]);
    assert!(matches!(Btf::parse(&b.build())?.function("twice"), Err(BtfError::Ambiguous { .. })));
    Ok(())
}

#[test]
fn unknown_kinds_are_passed_over_where_the_layout_tells_their_length() -> Result<()> {
    let mut b = sample();
    b.future(3);
    let int = b.integer(4);
    b.structure("after", 8, &[("y", int, 4)]);
    assert!(matches!(Btf::parse(&b.build()), Err(BtfError::Damaged { .. })), "no layout");
    b.layout = true;
    assert_eq!(Btf::parse(&b.build())?.field("after", "y")?, Some(integer(4)));
    Ok(())
}

#[test]
fn structures_with_more_than_65535_members_are_read() -> Result<()> {
    let mut b = Builder::new();
    let int = b.integer(1);
    let members: Vec<_> = (0..70_000).map(|at| (if at == 69_999 { "last" } else { "m" }, int, at)).collect();
    b.structure("long", 70_000, &members);
    let last = Btf::parse(&b.build())?.field("long", "last")?;
    assert_eq!(last.map(|field| field.offset), Some(69_999));
    Ok(())
}

#[test]
fn a_bit_field_is_an_error_and_no_offset() -> Result<()> {
    let btf = Btf::parse(&sample().build())?;
    assert!(matches!(btf.field("packed", "flag"), Err(BtfError::BitField { .. })));
    Ok(())
}

#[test]
fn circles_end() -> Result<()> {
    let mut b = Builder::new();
    b.add("loop_t", kind::TYPEDEF, 0, false, 1, &[]);
    b.structure("s", 8, &[("t", 1, 0), ("", 3, 0)]);
    b.structure("", 8, &[("", 3, 0)]);
    b.add("", kind::ARRAY, 0, false, 0, &[4, 4, 1]);
    b.structure("a", 8, &[("array", 4, 0)]);
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
    assert_eq!(btf.field("task_struct", "comm")?.map(|field| field.ty.size()), Some(16));
    assert_eq!(btf.function("schedule")?, Some(Function { parameters: Vec::new(), result: Type::Void }));
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
    let blob = sample().build();
    for len in 0..blob.len() {
        assert!(Btf::parse(&blob[..len]).is_err(), "cut to {len} of {} bytes", blob.len());
    }
}

proptest! {
    #[test]
    fn damage_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut blob = sample().build();
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
