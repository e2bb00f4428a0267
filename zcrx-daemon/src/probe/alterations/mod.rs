//! Kernels that do not exist yet: type information altered at random, and what the probes make of it.
//!
//! A kernel is described as plain data. Alterations change the description: fields are moved, renamed, given another
//! type or dropped; functions gain, lose and change parameters or go. The description is written as BTF and read by the
//! daemon's reader. Each field's offset and each function's verdict then have to be what the description itself says:
//! right, or off with a reason; never wrong.

mod kernel;

use zcrx_common::offsets::{ABSENT, Offsets, Place, Shape};

use self::kernel::{Kind, Model, Random};
use super::catalogue;
use super::offsets::resolve;
use super::prototype::{Expected, Function, Verdict, verify};
use crate::kernel::Btf;

/// Kernels that one test tries, unless `ZCRX_ALTERATIONS` says otherwise.
const KERNELS: u64 = 500;

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn functions() -> impl Iterator<Item = &'static Function> {
    catalogue::probes().flat_map(|probe| probe.alternatives).flat_map(|alternative| alternative.functions)
}

/// The fields of the table, with their shapes and places.
fn fields() -> Vec<(&'static str, Shape, &'static [Place])> {
    let mut fields = Vec::new();
    Offsets::resolve(|name, shape, places| {
        fields.push((name, shape, places));
        ABSENT
    });
    fields
}

/// What the description says of a field: the offset at the first place that has the shape.
fn expected_offset(model: &Model, shape: Shape, places: &[Place]) -> u32 {
    let at = |place: &Place| {
        if shape == Shape::Size {
            return model.size(place.structure);
        }
        let (offset, kind) = model.field(place.structure, place.path)?;
        let fits = match (shape, &kind) {
            (Shape::Integer(bytes), Kind::Integer(size) | Kind::Atomic(size)) => *size >= bytes,
            (Shape::Pointer(None), Kind::Pointer(_)) | (Shape::Structure, _) => true,
            (Shape::Pointer(Some(to)), Kind::Pointer(target)) => target == to,
            (Shape::Array { bytes, element }, Kind::Array(each, count)) => {
                *each == element && each * count >= bytes
            }
            _ => false,
        };
        fits.then_some(offset)
    };
    places.iter().find_map(at).unwrap_or(ABSENT)
}

/// What the description says of a function.
fn is_as_expected(model: &Model, function: &Function) -> bool {
    let is = |expected: &Expected, kind: &Kind| match (expected, kind) {
        (Expected::Structure(name), Kind::Pointer(to)) => name == to,
        (Expected::Integer(bytes), Kind::Integer(size) | Kind::Atomic(size)) => bytes == size,
        (Expected::Pointer, Kind::Pointer(_)) | (Expected::Nothing, Kind::Void) => true,
        _ => false,
    };
    let mut prototypes = model.prototypes(function.name).peekable();
    prototypes.peek().is_some()
        && prototypes.all(|(parameters, result)| {
            parameters.len() == function.parameters.len()
                && function.parameters.iter().zip(parameters).all(|(expected, kind)| is(expected, kind))
                && is(&function.result, result)
        })
}

/// Tries kernels from a seed.
fn try_kernels(seed: u64) {
    let kernels = number_from("ZCRX_ALTERATIONS", KERNELS);
    let (mut found, mut absent, mut accepted, mut refused) = (0_u64, 0_u64, 0_u64, 0_u64);
    for number in 0..kernels {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let mut model = Model::current(&fields(), functions(), &mut random);
        let altered = model.alter(&mut random);
        let what = || format!("seed {seed}, kernel {number}: {altered:?}");
        let btf = Btf::parse(&model.write(&mut random)).map_err(|error| error.to_string());
        assert_eq!(btf.as_ref().err(), None, "{}", what());
        let resolved = resolve(&btf);
        for ((name, shape, places), (same, offset)) in fields().into_iter().zip(resolved.offsets.entries()) {
            assert_eq!(name, same);
            assert_eq!(offset, expected_offset(&model, shape, places), "{name}: {}", what());
            assert_eq!(offset == ABSENT, resolved.why_absent(name).is_some_and(|why| !why.is_empty()));
            if offset == ABSENT { absent += 1 } else { found += 1 }
        }
        for function in functions() {
            let expected = is_as_expected(&model, function);
            match verify(function, &btf) {
                Verdict::AsExpected => assert!(expected, "{}: {}", function.name, what()),
                Verdict::Unknown => {
                    assert_eq!(model.prototypes(function.name).count(), 0, "{}", what());
                }
                Verdict::Different(reason) => {
                    assert!(!expected && !reason.is_empty(), "{}: {reason}: {}", function.name, what());
                }
            }
            if expected { accepted += 1 } else { refused += 1 }
        }
    }
    println!("{found} fields found, {absent} absent; {accepted} functions accepted, {refused} refused");
    assert!(found > 0 && absent > kernels && accepted > 0 && refused > kernels / 2, "nothing was altered");
}

#[test]
fn altered_kernels_are_right_or_off_seed_1() {
    try_kernels(1);
}

#[test]
fn altered_kernels_are_right_or_off_seed_2() {
    try_kernels(2);
}

#[test]
fn altered_kernels_are_right_or_off_seed_3() {
    try_kernels(3);
}

#[test]
fn altered_kernels_are_right_or_off_seed_of_choice() {
    try_kernels(number_from("ZCRX_SEED", 4));
}

/// Damaged blobs: whatever the reader makes of them, it must not panic, and a blob that it refuses turns every field off.
#[test]
fn damaged_kernels_turn_everything_off() {
    let mut random = Random::new(5);
    let blob = Model::current(&fields(), functions(), &mut random).write(&mut random);
    for _ in 0..KERNELS {
        let cut = random.below(blob.len() as u32) as usize;
        let btf = Btf::parse(&blob[..cut]).map_err(|error| error.to_string());
        assert!(btf.is_err(), "cut to {cut} of {} bytes", blob.len());
        assert_eq!(resolve(&btf).offsets, Offsets::NONE);
    }
}
